"""The command line of `dd-generate`, and the parts that all commands share."""

import errno
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dataset_diffusion import __version__
from dataset_diffusion.cli import generate as cli
from dataset_diffusion.cli.run import resume_line, run_command
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import GenerateSettings

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs each test in an empty directory, in which it may leave only the two folders named here."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield
    assert {path.name for path in Path().iterdir()} <= {"experiment", "multirun"}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[GenerateSettings]:
    """The settings with which `dd-generate` would work; exits like the command."""
    worked: list[GenerateSettings] = []
    monkeypatch.setattr(sys, "argv", ["dd-generate", *arguments])
    run_command("dd-generate", "generate", GenerateSettings, worked.append, cli.ABOUT)
    return worked


def failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The single stderr line of the real command's refusal, without "dd-generate: error: "."""
    monkeypatch.setattr(sys, "argv", ["dd-generate", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("dd-generate: error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("dd-generate: error: ").rstrip("\n")


def test_overrides_take_precedence_over_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    (config,) = run(monkeypatch, "experiment=voc", "num_images=5", "mask.threshold=0.7")
    assert (config.num_images, config.mask.threshold, config.sampler.num_inference_steps) == (5, 0.7, 100)


def test_flags_and_overrides_can_be_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("experiment").mkdir()
    Path("experiment/mine.yaml").write_text("# @package _global_\ndefaults: [toy]\nseed: 7\n")
    (config,) = run(monkeypatch, "num_images=5", "--config-dir", ".", "experiment=mine")
    assert (config.num_images, config.seed, config.vocabulary.name) == (5, 7, "voc")


def test_prompts_can_come_from_a_file_in_every_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    for experiment in ("toy", "voc", "coco"):
        (config,) = run(monkeypatch, f"experiment={experiment}", "prompts=file", "prompts.path=a.json")
        assert (config.prompts.source, config.prompts.path) == ("file", "a.json")


def test_the_vocabulary_can_be_chosen_in_every_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    for experiment, usual in (("toy", "voc"), ("voc", "voc"), ("coco", "coco")):
        assert run(monkeypatch, f"experiment={experiment}")[0].vocabulary.name == usual
        for name in ("voc", "coco"):
            (config,) = run(
                monkeypatch, "vocabulary.words={sofa: couch}", f"experiment={experiment}", f"vocabulary={name}"
            )
            assert (config.vocabulary.name, config.vocabulary.words) == (name, {"sofa": "couch"})
    (config,) = run(monkeypatch, "vocabulary.words.sofa=couch", "+vocabulary.words.tvmonitor=TV")
    assert config.vocabulary.words == {"sofa": "couch", "tvmonitor": "TV"}
    (config,) = run(monkeypatch, "vocabulary.classes=[cat,hot air balloon,zebra]")
    assert config.vocabulary.classes == ["cat", "hot air balloon", "zebra"]


def test_each_caption_source_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    fills = {
        "template": "template",
        "llm": "template",
        "coco": "template",
        "voc": "reuse",
        "images": "template",
        "file": "none",
    }
    for source, fill in fills.items():
        (config,) = run(monkeypatch, "experiment=voc", f"prompts={source}", "prompts.path=here")
        settings = config.prompts
        assert (settings.source, settings.mode, settings.fill) == (source, "caption_and_classes", fill)


def test_a_sweep_runs_once_for_each_value(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    configs = run(monkeypatch, "seed=1,2", "output_dir=data/${seed}", "-m")
    assert [(config.seed, config.output_dir) for config in configs] == [(1, "data/1"), (2, "data/2")]
    assert capsys.readouterr().out.splitlines()[0].startswith("dd-generate: seed=1 output_dir=")
    assert [path.name for path in Path("multirun").rglob("*.*")] == ["multirun.yaml"]


def test_the_settings_can_be_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "seed=4", "--cfg", "job") == []
    printed = OmegaConf.create(capsys.readouterr().out)
    assert (printed.seed, printed.num_images) == (4, 500)


def test_help_shows_the_values_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("experiment").mkdir()
    Path("experiment/mine.yaml").write_text("# @package _global_\ndefaults: [voc]\nseed: 7\n")
    assert run(monkeypatch, "--help", "--config-dir", ".", "experiment=mine", "num_images=12") == []
    text = capsys.readouterr().out
    assert "  num_images=12                     number of images" in text
    assert "  seed=7  " in text
    assert "  experiment=coco|mine|toy|voc" in text
    assert "  sampler.guidance_scale=7.5  " in text
    assert "Hydra" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_help_can_be_piped_to_a_reader_that_stops_early() -> None:
    command = [sys.executable, "-m", "dataset_diffusion.cli.generate", "--help"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_does_not_import_torch() -> None:
    code = "import sys, dataset_diffusion.cli.generate as cli; sys.argv = ['dd-generate', '--help']\n"
    code += "try: cli.main()\nfinally: print(sorted({'torch', 'diffusers', 'transformers'} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("dd-generate makes images")
    assert ended.stdout.endswith("[]\n")


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, "--version")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"dd-generate {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["num_image=3"], "num_image: no such setting; did you mean num_images?; --help lists the settings"),
        (
            ["guidance_scale=3"],
            "guidance_scale: no such setting; did you mean sampler.guidance_scale?; --help lists the settings",
        ),
        (["zebra=3"], "zebra: no such setting; --help lists the settings"),
        (["a.b.c=3"], "a.b.c: no such setting; --help lists the settings"),
        (["experiments=voc"], "experiments: no such setting; did you mean experiment?; --help lists the settings"),
        (["+threshold=3"], "threshold: no such setting; did you mean mask.threshold?; --help lists the settings"),
        (["~zebra"], "zebra: no such setting; --help lists the settings"),
        (["seed.zebra=1"], "seed.zebra: no such setting; --help lists the settings"),
        (["prompts=null"], "prompts=null: must be one of coco, file, images, llm, template, voc"),
        (["-m", "prompts=file,blip"], "prompts=blip: must be one of coco, file, images, llm, template, voc"),
        (["~num_images"], "num_images: is missing; give it as num_images=VALUE"),
        (["num_images=many"], "num_images=many: must be a whole number"),
        (["num_images=${zebra}"], "num_images: Interpolation key 'zebra' not found"),
        (["--help", "num_images=${zebra}"], "num_images: Interpolation key 'zebra' not found"),
        (["hydra.zebra=1"], "hydra.zebra: no such setting; --help lists the settings"),
        (["mask.threshold=1.5"], "mask.threshold=1.5: must lie in [0, 1]"),
        (
            ["experiment=imagenet"],
            "experiment=imagenet: must be one of coco, toy, voc, voc_fast, voc_flux, voc_sd35, voc_sdxl",
        ),
        (["prompts=blip"], "prompts=blip: must be one of coco, file, images, llm, template, voc"),
        (["vocabulary=pets"], "vocabulary=pets: must be one of coco, voc"),
        (
            ["vocabulary=pets.yaml"],
            "vocabulary=pets.yaml: must be one of coco, voc; for a file of your own, set vocabulary.name=pets.yaml",
        ),
        (["vocabulary.classes=cat"], "vocabulary.classes=cat: must be a list, e.g. 'vocabulary.classes=[one,two]'"),
        (["prompts=file"], "prompts.path=null: name the JSON file of captions (prompts.path=FILE)"),
        (["writer=zip"], "writer=zip: must be one of voc, coco"),
        (["seed=1,2"], "seed=1,2: has several values; add -m to run once with each, or quote the whole value"),
        (["toy"], "toy: must be key=value; quote unusual values, as in 'output_dir=\"a dir (1)\"'"),
        (["=3"], "=3: must be key=value; quote unusual values, as in 'output_dir=\"a dir (1)\"'"),
        (
            ["prompts.path=my file (1).json"],
            "prompts.path=my file (1).json: must be key=value; quote unusual values, as in 'output_dir=\"a dir (1)\"'",
        ),
        (
            ["--num-images", "3"],
            "--num-images: no such flag; settings are written without dashes: num_images=VALUE; "
            "dd-generate --help lists them",
        ),
        (
            ["-m", "--cfg", "job"],
            "--cfg prints the settings of one run, not of a sweep (-m); dd-generate --help lists them",
        ),
        (["model=toy"], "model=toy: is a group of settings, not a setting"),
    ],
)
def test_a_wrong_command_line_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert failure(monkeypatch, capsys, *arguments) == message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["vocabulary.name=pets"], "vocabulary.name=pets: not one of coco, voc"),
        (["vocabulary.name=pets.yaml"], "vocabulary.name=pets.yaml: no such file"),
        (["prompts=file", "prompts.path=nowhere.json"], "prompts.path=nowhere.json: no such file"),
        (["prompts.template=generic", "model.path=nowhere/model"], "model.path=nowhere/model: "),
        (["prompts.template=generic", "model.device=abacus"], "model.device=abacus: "),
        (["output_dir=/dev/null"], "output_dir=/dev/null: is a file; name a folder"),
        (["--config-dir", "nowhere"], "config directory"),
    ],
)
def test_missing_things_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    assert part in failure(monkeypatch, capsys, *arguments)


def test_a_broken_user_config_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("experiment").mkdir()
    Path("experiment/broken.yaml").write_text("seed: [1,\n")
    line = failure(monkeypatch, capsys, "--config-dir", ".", "experiment=broken")
    assert "experiment/broken.yaml" in line
    assert "line 2" in line
    Path("experiment/odd.yaml").write_text("# @package _global_\ndefaults: [toy]\nmask: {treshold: 1}\n")
    line = failure(monkeypatch, capsys, "--config-dir", ".", "experiment=odd")
    assert line == "mask.treshold: no such setting; did you mean mask.threshold?"


def test_a_config_with_the_name_of_a_shipped_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("experiment").mkdir()
    Path("experiment/toy.yaml").write_text("# @package _global_\nseed: 7\n")
    line = failure(monkeypatch, capsys, "--config-dir", ".", "experiment=toy")
    assert line.endswith("experiment/toy.yaml would be used instead; give it another name")


def test_a_config_folder_can_have_any_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "my 'own' configs (1)"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment/mine.yaml").write_text("# @package _global_\ndefaults: [toy]\nseed: 7\n")
    assert run(monkeypatch, "--help", "--config-dir", str(folder), "experiment=mine") == []


def test_a_librarys_write_error_takes_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: GenerateSettings) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/events")

    monkeypatch.setattr(sys, "argv", ["dd-generate"])
    with pytest.raises(SystemExit) as end:
        run_command("dd-generate", "generate", GenerateSettings, work)
    assert end.value.code == 2
    assert capsys.readouterr().err == ("dd-generate: error: runs/events: cannot be written: No space left on device\n")


def test_a_multi_line_error_is_printed_as_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(settings: GenerateSettings) -> None:
        raise InputError("file.json: line 3:\n  broken")

    monkeypatch.setattr(sys, "argv", ["dd-eval"])
    with pytest.raises(SystemExit) as end:
        run_command("dd-eval", "generate", GenerateSettings, work)
    assert end.value.code == 2
    assert capsys.readouterr().err == "dd-eval: error: file.json: line 3: broken\n"


@pytest.mark.parametrize("added", [[], ["resume=true"]])
def test_ctrl_c_ends_with_the_command_that_resumes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], added: list[str]
) -> None:
    def work(settings: GenerateSettings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["dd-generate", "output_dir=a folder", "seed=3"])
    again = resume_line("dd-generate", *added) if added else None
    with pytest.raises(SystemExit) as end:
        run_command("dd-generate", "generate", GenerateSettings, work, after_interrupt=again)
    assert end.value.code == 130
    command = shlex.join(["dd-generate", "output_dir=a folder", "seed=3", *added])
    assert capsys.readouterr().err == f"\ndd-generate: interrupted; to resume: {command}\n"


def test_sigterm_ends_with_the_command_that_resumes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(settings: GenerateSettings) -> None:
        forking = multiprocessing.get_context("fork")
        running = forking.Event()
        child = forking.Process(target=lambda: (running.set(), time.sleep(60)))
        child.start()
        running.wait()
        child.terminate()
        child.join()
        assert child.exitcode == -signal.SIGTERM  # a worker that a library forks still ends in silence
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sys, "argv", ["dd-train", "seed=3"])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        run_command("dd-train", "generate", GenerateSettings, work)
    assert end.value.code == 143
    assert capsys.readouterr().err == "\ndd-train: interrupted; to resume: dd-train seed=3\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_keeps_its_default_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = []
    monkeypatch.setattr(sys, "argv", ["dd-train"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    run_command("dd-train", "generate", GenerateSettings, lambda _: handlers.append(signal.getsignal(signal.SIGTERM)))
    assert handlers == [signal.SIG_DFL]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(settings: GenerateSettings) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["dd-generate"])
    with pytest.raises(ZeroDivisionError):
        run_command("dd-generate", "generate", GenerateSettings, work)
