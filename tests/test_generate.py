import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion import files as files_module
from dataset_diffusion import generate as generate_module
from dataset_diffusion.dataset.report import write as report_module
from dataset_diffusion.errors import InputError
from dataset_diffusion.generate import generate
from dataset_diffusion.generators.family import Spans
from dataset_diffusion.labelled.faults import find_faults
from dataset_diffusion.processes import Stopped
from dataset_diffusion.prompts.seeds import next_seed
from dataset_diffusion.settings.generate import (
    GenerateSettings,
    MaskSettings,
    ModelSettings,
    PromptSettings,
    SamplerSettings,
    VocabularySettings,
)
from dataset_diffusion.types import AttentionMaps, Prompt, Sample
from dataset_diffusion.vocabulary import load_vocabulary
from tests.clip import real_clip_tokenizer
from tests.tiny_pipeline import build_tiny_pipeline

SETTINGS = GenerateSettings(output_dir="data", num_images=7, seed=0, batch_size=3, model=ModelSettings(path="fake"))
REVISION = {"id": "fake", "revision": "1"}


class FakeGenerator:
    """Makes noise from the prompt's seed and matching attention, without a model; `calls` has each batch's ids."""

    calls: list[list[str]]
    device = torch.device("cpu")

    def __init__(self, *_: object) -> None:
        pass

    def class_spans(self, prompt: Prompt) -> Spans:
        return tuple((index,) for index in range(len(prompt.class_ids)))

    def sample(self, prompts: Sequence[Prompt]) -> list[Sample]:
        FakeGenerator.calls.append([prompt.sample_id for prompt in prompts])
        return [self._sample(prompt) for prompt in prompts]

    def _sample(self, prompt: Prompt) -> Sample:
        generator = torch.Generator().manual_seed(prompt.seed)
        cross = torch.rand(3, 8, 8, generator=generator)
        self_attention = torch.rand(64, 64, generator=generator).softmax(dim=1)
        image = torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8)
        return Sample(prompt, image.numpy(), AttentionMaps(cross, self_attention))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeGenerator]:
    """Generates without a model, in an empty working directory."""
    FakeGenerator.calls = []
    pipe = SimpleNamespace(device=torch.device("cpu"))
    monkeypatch.setattr(generate_module, "load_pipeline", lambda *_: pipe)
    monkeypatch.setattr(generate_module, "load_tokenizer", lambda *_: real_clip_tokenizer())
    monkeypatch.setattr(generate_module, "model_fingerprint", lambda *_: REVISION)
    monkeypatch.setattr(generate_module, "Generator", FakeGenerator)
    monkeypatch.chdir(tmp_path)
    return FakeGenerator


def tree(folder: Path) -> dict[str, str]:
    """All files below a folder, including hidden ones, with their SHA-256."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def lines(path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_the_folder_has_all_promised_files(fake: type[FakeGenerator]) -> None:
    summary = generate(SETTINGS, progress=False)
    ids = [f"{index:06d}" for index in range(7)]
    assert sorted(tree(Path("data"))) == sorted(
        [f"JPEGImages/{sample_id}.jpg" for sample_id in ids]
        + [f"SegmentationClass/{sample_id}.png" for sample_id in ids]
        + [f"evidence/{sample_id}.npy" for sample_id in ids]
        + ["ImageSets/Segmentation/train.txt", "prompts.jsonl", "prompts_report.txt", "manifest.jsonl", "dataset.json"]
        + ["contact_sheet.png", "report.html", "report.json"]
    )
    assert Path("data/ImageSets/Segmentation/train.txt").read_text().split() == ids
    assert find_faults(Path("data"), "train", num_labels=21) == []
    assert fake.calls == [ids[0:3], ids[3:6], ids[6:7]]
    assert (summary.num_images, summary.num_new) == (7, 7)
    assert str(summary).startswith("7 images and masks in data (7 new, ")


def test_a_removed_contact_sheet_and_report_are_written_again(fake: type[FakeGenerator]) -> None:
    generate(SETTINGS, progress=False)
    before = tree(Path("data"))
    for name in ("contact_sheet.png", "report.html"):
        Path("data", name).unlink()
        summary = generate(SETTINGS, progress=False)
        assert summary.num_new == 0
        assert tree(Path("data")) == before


def test_the_manifest_describes_the_files(fake: type[FakeGenerator]) -> None:
    generate(SETTINGS, progress=False)
    plan, manifest = lines("data/prompts.jsonl"), lines("data/manifest.jsonl")
    for planned, made in zip(plan, manifest, strict=True):
        assert (planned["id"], planned["seed"], planned["caption"]) == (made["id"], made["seed"], made["caption"])
        assert planned["source"] == made["source"] == "template"
        assert planned["class_ids"] == [entry["label"] for entry in made["classes"]]
        mask_path = Path(f"data/SegmentationClass/{made['id']}.png")
        assert made["mask_sha256"] == hashlib.sha256(mask_path.read_bytes()).hexdigest()
        with Image.open(mask_path) as mask:
            labels = np.asarray(mask)
        assert made["ignored"] == pytest.approx(np.mean(labels == 255), abs=1e-6)
        for entry in made["classes"]:
            assert entry["share"] == pytest.approx(np.mean(labels == entry["label"]), abs=1e-6)
            assert 0 <= entry["confidence"] <= 1


def test_the_description_records_how_the_folder_was_made(fake: type[FakeGenerator]) -> None:
    generate(SETTINGS, progress=False)
    description = json.loads(Path("data/dataset.json").read_text())
    assert description["settings"]["mask"] == {"threshold": 0.6, "uncertainty_threshold": 0.5}
    assert description["model"] == REVISION
    assert description["versions"]["torch"] == torch.__version__
    vocabulary = description["vocabulary"]
    assert vocabulary["name"] == "voc"
    assert vocabulary["label_names"][:2] == ["background", "aeroplane"]
    assert vocabulary["palette"][:2] == [[0, 0, 0], [128, 0, 0]]
    assert vocabulary["words"][-1] == "tv monitor"
    assert description["counts"]["images"] == 7
    plan = lines("data/prompts.jsonl")
    assert sum(description["counts"]["images_per_class"].values()) == sum(len(line["class_ids"]) for line in plan)


def test_a_finished_folder_is_left_alone(fake: type[FakeGenerator]) -> None:
    generate(SETTINGS, progress=False)
    before = {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")}
    fake.calls.clear()
    summary = generate(SETTINGS, progress=False)
    assert (summary.num_new, fake.calls) == (0, [])
    assert "complete already" in str(summary)
    assert {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")} == before


class Killed(BaseException):
    """Simulates the end of the process: no code that runs afterwards writes."""


def killing_at(write: int, before_rename: bool) -> Callable[[str, str], None]:
    """An os.replace that ends the run at its `write`-th call, before or after renaming."""
    rename, count = os.replace, 0

    def replace_or_die(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == write and before_rename:
            raise Killed
        rename(source, target)
        if count == write:
            raise Killed

    return replace_or_die


@pytest.mark.parametrize(("before_rename", "writer"), [(True, "voc"), (False, "voc"), (True, "coco")])
def test_a_run_killed_at_any_write_resumes_to_the_same_folder(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch, before_rename: bool, writer: str
) -> None:
    # Drawing takes most of the time and is not tested here.
    monkeypatch.setattr(generate_module, "draw_contact_sheet", lambda folder, records, *_: repr(list(records)).encode())
    monkeypatch.setattr(report_module, "draw_thumbnail", lambda *_: "")
    number = 3 if writer == "voc" else 1
    settings = replace(SETTINGS, num_images=number, batch_size=2, writer=writer)
    generate(settings, progress=False)
    whole = tree(Path("data"))
    num_writes = 0
    while True:
        shutil.rmtree("data")
        num_writes += 1
        with monkeypatch.context() as patch:
            patch.setattr(files_module.os, "replace", killing_at(num_writes, before_rename))
            try:
                generate(settings, progress=False)
                break
            except Killed:
                finished = tree(Path("data")).keys() >= {"ImageSets/Segmentation/train.txt"}
                assert not finished or tree(Path("data")) == whole
        fake.calls.clear()
        generate(settings, progress=False)
        assert tree(Path("data")) == whole
        assert len(fake.calls) <= 2
    # Two files per sample and the folder's own; with COCO also two masks per sample and three JSON files.
    assert num_writes > 2 * number + 8 + (5 if writer == "coco" else 0)


def test_missing_samples_are_regenerated_in_the_batches_of_an_uninterrupted_run(fake: type[FakeGenerator]) -> None:
    generate(SETTINGS, progress=False)
    whole = tree(Path("data"))
    Path("data/JPEGImages/000004.jpg").unlink()
    Path("data/SegmentationClass/000006.png").unlink()
    untouched = Path("data/JPEGImages/000003.jpg").stat().st_mtime_ns
    fake.calls.clear()
    assert generate(SETTINGS, progress=False).num_new == 2
    assert fake.calls == [["000003", "000004", "000005"], ["000006"]]
    assert tree(Path("data")) == whole
    assert Path("data/JPEGImages/000003.jpg").stat().st_mtime_ns == untouched


def test_a_sample_without_its_manifest_line_is_not_finished(fake: type[FakeGenerator]) -> None:
    generate(SETTINGS, progress=False)
    whole = tree(Path("data"))
    manifest = Path("data/manifest.jsonl")
    manifest.write_bytes(manifest.read_bytes()[:-40])
    Path("data/JPEGImages/000006.jpg").write_bytes(b"half of it")
    assert generate(SETTINGS, progress=False).num_new == 1
    assert tree(Path("data")) == whole


def test_a_folder_grows_as_if_made_in_one_run(fake: type[FakeGenerator]) -> None:
    generate(replace(SETTINGS, output_dir="data", num_images=12), progress=False)
    at_once = tree(Path("data"))
    shutil.rmtree("data")
    generate(SETTINGS, progress=False)
    fake.calls.clear()
    assert generate(replace(SETTINGS, num_images=12), progress=False).num_new == 5
    assert tree(Path("data")) == at_once
    assert "000000" not in {sample_id for batch in fake.calls for sample_id in batch}


def test_a_growing_folder_is_not_marked_complete(fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch) -> None:
    generate(SETTINGS, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(files_module.os, "replace", killing_at(1, before_rename=True))
        with pytest.raises(Killed):
            generate(replace(SETTINGS, num_images=12), progress=False)
    assert not Path("data/ImageSets/Segmentation/train.txt").exists()


def test_location_batch_size_and_device_can_change(fake: type[FakeGenerator]) -> None:
    generate(SETTINGS, progress=False)
    Path("data").rename("moved")
    elsewhere = replace(
        SETTINGS, output_dir="moved", batch_size=1, num_images=8, model=ModelSettings(path="fake", device="cpu")
    )
    assert generate(elsewhere, progress=False).num_new == 1


OWN_VOCABULARY = "classes: [cat, dog]\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed=1: the folder data was made with 0; use that, or name another output_dir"),
        (
            {"mask": MaskSettings(threshold=0.7)},
            "mask.threshold=0.7: the folder data was made with 0.6; use that, or name another output_dir",
        ),
        (
            {"sampler": SamplerSettings(scheduler="ddim")},
            "sampler.scheduler=ddim: the folder data was made with null; use that, or name another output_dir",
        ),
        (
            {"model": ModelSettings(path="fake", dtype="bfloat16")},
            "model.dtype=bfloat16: the folder data was made with float32; use that, or name another output_dir",
        ),
        (
            {"vocabulary": VocabularySettings(name="own.yaml")},
            "vocabulary=own: the folder data was made with voc (other classes, words or colours); "
            "use that, or name another output_dir",
        ),
        (
            {"num_images": 6},
            "num_images=6: the plan in data has 7 images; give at least that, or name another output_dir",
        ),
        ({"output_dir": "foreign"}, "output_dir=foreign: is not empty and has no dataset.json; name a new folder"),
        ({"output_dir": "foreign/file"}, "output_dir=foreign/file: is a file; name a folder"),
    ],
)
def test_a_folder_with_other_settings_is_refused_unchanged(
    fake: type[FakeGenerator], changes: dict[str, object], message: str
) -> None:
    generate(SETTINGS, progress=False)
    before = tree(Path("data"))
    Path("own.yaml").write_text(OWN_VOCABULARY)
    Path("foreign").mkdir()
    Path("foreign/file").write_text("mine")
    with pytest.raises(InputError) as error:
        generate(replace(SETTINGS, **changes), progress=False)
    assert str(error.value) == message
    assert tree(Path("data")) == before
    assert tree(Path("foreign")).keys() == {"file"}


def test_another_model_is_refused_before_the_folder_changes(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(SETTINGS, progress=False)
    before = tree(Path("data"))
    larger = replace(SETTINGS, num_images=8)
    monkeypatch.setattr(generate_module, "model_fingerprint", lambda *_: {"id": "fake", "revision": "2"})
    with pytest.raises(InputError, match=r"model\.revision=2: the folder data was made with 1"):
        generate(larger, progress=False)
    monkeypatch.setattr(generate_module, "model_fingerprint", lambda *_: {"id": "other", "revision": "2"})
    with pytest.raises(InputError, match=r"model\.path=other: the folder data was made with fake"):
        generate(larger, progress=False)
    assert tree(Path("data")) == before
    # The same weights from another place are the same model.
    monkeypatch.setattr(generate_module, "model_fingerprint", lambda *_: {"id": "other", "revision": "1"})
    assert generate(larger, progress=False).num_new == 1


def test_changed_captions_are_refused(fake: type[FakeGenerator]) -> None:
    settings = replace(SETTINGS, num_images=2, prompts=PromptSettings(source="file", fill="none", path="captions.json"))
    captions = [{"caption": "a cat", "class_prompt": "cat"}, {"caption": "a dog"}, {"caption": "nothing"}]
    Path("captions.json").write_text(json.dumps(captions))
    summary = generate(settings, progress=False)
    assert summary.plan.num_without_class == 1
    assert "captions left out because they have no class: 1" in str(summary)
    captions[1] = {"caption": "the dog"}
    Path("captions.json").write_text(json.dumps(captions))
    with pytest.raises(InputError, match=r"line \d of its prompts\.jsonl differs .*; restore the captions"):
        generate(settings, progress=False)


def test_a_model_that_cannot_be_loaded_leaves_no_folder(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InputError("model.path=x: no such folder")

    monkeypatch.setattr(generate_module, "load_pipeline", fail)
    with pytest.raises(InputError, match="no such folder"):
        generate(SETTINGS, progress=False)
    assert not Path("data").exists()


def test_running_out_of_device_memory_is_explained_and_keeps_finished_samples(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = FakeGenerator.sample

    def sample_once(self: FakeGenerator, prompts: Sequence[Prompt]) -> list[Sample]:
        if FakeGenerator.calls:
            raise torch.OutOfMemoryError
        return sample(self, prompts)

    monkeypatch.setattr(FakeGenerator, "sample", sample_once)
    settings = replace(SETTINGS, batch_size=4)
    with pytest.raises(InputError, match="batch_size=4: the device is out of memory; resume with batch_size=2"):
        generate(settings, progress=False)
    (part,) = Path("data/manifest.parts").glob("*.jsonl")
    assert len(lines(str(part))) == 4
    # With batch_size=1 the remedy is another one, which the started folder accepts.
    with pytest.raises(InputError, match=r"the device is out of memory; set model\.cpu_offload=true"):
        generate(replace(settings, batch_size=1), progress=False)


class UnluckyGenerator(FakeGenerator):
    """A generator whose images are not finite for some seeds."""

    bad_seeds: frozenset[int] = frozenset()

    def _sample(self, prompt: Prompt) -> Sample:
        return replace(super()._sample(prompt), is_finite=prompt.seed not in self.bad_seeds)


def seeds_of(settings: GenerateSettings, number: int, attempts: int) -> list[int]:
    prompt = generate_module.plan_dataset(settings, load_vocabulary("voc")).prompts[number]
    return [next_seed(prompt.seed, prompt.sample_id, attempt) for attempt in range(attempts)]


@pytest.mark.parametrize("failures", [1, 3])
def test_a_non_finite_image_is_regenerated_with_the_next_seed(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    generate(replace(SETTINGS, output_dir="lucky"), progress=False)
    seeds = seeds_of(SETTINGS, 4, failures + 1)
    monkeypatch.setattr(generate_module, "Generator", UnluckyGenerator)
    monkeypatch.setattr(UnluckyGenerator, "bad_seeds", frozenset(seeds[:-1]))
    generate(SETTINGS, progress=False)
    records = lines("data/manifest.jsonl")
    assert (records[4]["attempt"], records[4]["seed"]) == (failures, seeds[-1])
    lucky = lines("lucky/manifest.jsonl")
    assert [record == other for record, other in zip(records, lucky, strict=True)] == [i != 4 for i in range(7)]
    whole = tree(Path("data"))
    assert "failed.jsonl" not in whole
    # The seed depends only on the id and the attempt, so a regenerated image is the same.
    Path("data/JPEGImages/000004.jpg").unlink()
    generate(SETTINGS, progress=False)
    assert tree(Path("data")) == whole


def test_a_sample_that_is_never_finite_is_left_out_and_reported(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_module, "Generator", UnluckyGenerator)
    monkeypatch.setattr(UnluckyGenerator, "bad_seeds", frozenset(seeds_of(SETTINGS, 4, 4)))
    summary = generate(SETTINGS, progress=False)
    assert (summary.num_finished, summary.num_new, summary.num_failed) == (7, 6, 1)
    assert "no seed gave a finite image: 1 (data/failed.jsonl)" in str(summary)
    kept = ["000000", "000001", "000002", "000003", "000005", "000006"]
    assert Path("data/ImageSets/Segmentation/train.txt").read_text().split() == kept
    assert [record["id"] for record in lines("data/manifest.jsonl")] == kept
    assert [record["id"] for record in lines("data/failed.jsonl")] == ["000004"]
    assert find_faults(Path("data"), "train", num_labels=21) == []
    # The sample is not tried again at every start.
    whole = tree(Path("data"))
    fake.calls.clear()
    assert generate(SETTINGS, progress=False).num_failed == 1
    assert fake.calls == []
    assert tree(Path("data")) == whole


@pytest.mark.parametrize(("numbers", "what"), [((0, 1, 2), "the first batch"), ((3, 6), "2 samples of 7")])
def test_many_non_finite_images_are_reported_as_a_wrong_setting(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], what: str
) -> None:
    monkeypatch.setattr(generate_module, "Generator", UnluckyGenerator)
    bad = frozenset(seed for number in numbers for seed in seeds_of(SETTINGS, number, 4))
    monkeypatch.setattr(UnluckyGenerator, "bad_seeds", bad)
    with pytest.raises(InputError, match=rf"model\.dtype=float32: the images of {what} have non-finite values"):
        generate(SETTINGS, progress=False)


def test_other_versions_give_a_warning_and_are_recorded(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(SETTINGS, progress=False)
    before = json.loads(Path("data/dataset.json").read_text())["versions"]
    assert before["device"].startswith("cpu ")
    monkeypatch.setattr(generate_module, "describe_device", lambda _: "NVIDIA Abacus")
    larger = replace(SETTINGS, num_images=8)
    with pytest.raises(InputError, match=r"other versions: device NVIDIA Abacus .*; install those"):
        generate(replace(larger, strict=True), progress=False)
    generate(larger, progress=False)
    assert "device NVIDIA Abacus (was cpu " in capsys.readouterr().err
    records = lines("data/manifest.jsonl")
    assert [record.get("made_with") for record in records] == [None] * 7 + [{"device": "NVIDIA Abacus"}]
    assert json.loads(Path("data/dataset.json").read_text())["versions"] == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_the_batch_in_flight(
    fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    sample = FakeGenerator.sample

    def sample_and_be_stopped(self: FakeGenerator, prompts: Sequence[Prompt]) -> list[Sample]:
        os.kill(os.getpid(), number)
        return sample(self, prompts)

    monkeypatch.setattr(FakeGenerator, "sample", sample_and_be_stopped)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped) as stop:
        generate(SETTINGS, progress=False)
    assert stop.value.status == status
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    (part,) = Path("data/manifest.parts").glob("*.jsonl")
    assert len(lines(str(part))) == 3


def test_the_first_batch_gives_a_time_estimate(fake: type[FakeGenerator], capsys: pytest.CaptureFixture[str]) -> None:
    generate(SETTINGS)
    assert re.search(r"first batch: [\d.]+ s per image; the other 4 .* 1 seconds and 1 MB", capsys.readouterr().err)


def test_a_twice_killed_command_ends_with_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real command with a real pipeline, ended by SIGKILL."""
    model = build_tiny_pipeline(tmp_path / "model")
    settings = replace(
        SETTINGS,
        num_images=14,
        batch_size=2,
        model=ModelSettings(path=str(model)),
        sampler=SamplerSettings(num_inference_steps=4, scheduler="ddim"),
    )
    overrides = [
        "experiment=voc",
        "output_dir=data",
        "num_images=14",
        "batch_size=2",
        f"model.path={model}",
        "model.dtype=float32",
        "sampler.num_inference_steps=4",
        "sampler.scheduler=ddim",
        "sampler.negative_prompt=''",
        "prompts.classes_per_image=[0.6,0.3,0.1]",
        "attention={self_resolution: null, cross_resolution: null}",
    ]
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    generate(settings, progress=False)
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "killed")
    for already_made in (0, 4):
        with start_generate(overrides) as process:
            wait_for_samples(Path("data"), already_made + 1, process)
            time.sleep(random.SystemRandom().uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        assert not Path("data/ImageSets/Segmentation/train.txt").exists(), "it was killed too late to test anything"
    generate(settings, progress=False)
    assert tree(Path("data")) == tree(tmp_path / "whole" / "data")


def start_generate(overrides: Sequence[str]) -> "subprocess.Popen[bytes]":
    checkout = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "dataset_diffusion.cli.generate", *overrides]
    environment = {**os.environ, "PYTHONPATH": checkout}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def wait_for_samples(folder: Path, number: int, process: "subprocess.Popen[bytes]") -> None:
    while sum(part.read_bytes().count(b"\n") for part in folder.glob("manifest.parts/*.jsonl")) < number:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        time.sleep(0.005)
