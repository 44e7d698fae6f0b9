"""A dataset folder alone is enough to resume, grow, verify and repair it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion import generate as generate_module
from dataset_diffusion.cli import generate as cli
from dataset_diffusion.dataset import verify as verify_module
from dataset_diffusion.dataset.ledger import Ledger
from dataset_diffusion.errors import InputError
from tests.test_generate import tree
from tests.tiny_pipeline import build_tiny_pipeline

Run = Callable[..., None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture
def dd_generate(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command; the argument `make` stands for non-default settings that write the folder `data`."""
    monkeypatch.chdir(tmp_path)
    make = [
        f"model.path={model}",
        "prompts.template=generic",
        "sampler.num_inference_steps=1",
        "batch_size=2",
        "seed=5",
    ]
    make += ["output_dir=data", "seed=5", "sampler.negative_prompt='a, \"b\"'", "mask.threshold=0.7"]

    def run(*overrides: str) -> None:
        given = [part for override in overrides for part in (make if override == "make" else [override])]
        spelled = ["=".join(pair) for pair in dict(part.split("=", 1) for part in given).items()]
        monkeypatch.setattr(sys, "argv", ["dd-generate", *spelled])
        cli.main()

    return run


def test_a_folder_grows_with_its_own_settings(dd_generate: Run) -> None:
    dd_generate("make", "num_images=6")
    whole = tree(Path("data"))
    Path("data").rename("whole")
    dd_generate("make", "num_images=4")
    dd_generate("output_dir=data", "num_images=6")
    assert tree(Path("data")) == whole
    Path("data/JPEGImages/000002.jpg").unlink()
    dd_generate("output_dir=data")
    assert tree(Path("data")) == whole


def test_if_other_settings_are_given_none_are_taken_from_the_folder(
    dd_generate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    dd_generate("make", "num_images=2")
    with pytest.raises(SystemExit):
        dd_generate("output_dir=data", "num_images=3", "mask.threshold=0.6", "mask.uncertainty_threshold=0.5")
    assert "the folder data was made with" in capsys.readouterr().err


def test_verify_lists_faults_and_repair_fixes_them(dd_generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    dd_generate("make", "num_images=5")
    whole = tree(Path("data"))
    capsys.readouterr()
    dd_generate("output_dir=data", "verify=true")
    assert capsys.readouterr().out == "5 samples: 0 missing, 0 damaged files, 0 foreign files\n"

    Path("data/JPEGImages/000001.jpg").unlink()
    mask, image = Path("data/SegmentationClass/000003.png"), Path("data/JPEGImages/000004.jpg")
    with mask.open("r+b") as stream:
        stream.write(b"\x00")
    image.write_bytes(image.read_bytes()[:-1])
    Path("data/JPEGImages/holiday.jpg").write_bytes(b"mine")
    damaged = tree(Path("data"))
    with pytest.raises(SystemExit) as end:
        dd_generate("output_dir=data", "verify=true")
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "missing: 000001",
        f"damaged: {mask}: is not the file that was written",
        f"damaged: {image}: is not the file that was written",
        "foreign: data/JPEGImages/holiday.jpg",
        "5 samples: 1 missing, 2 damaged files, 1 foreign files",
    ]
    assert "dd-generate: error: output_dir=data: has faults; repair=true regenerates" in captured.err
    assert tree(Path("data")) == damaged

    dd_generate("output_dir=data", "repair=true")
    assert tree(Path("data")).items() - whole.items() == {
        ("JPEGImages/holiday.jpg", tree(Path("data"))["JPEGImages/holiday.jpg"])
    }


def test_a_mask_with_labels_beyond_the_vocabulary_is_damaged(
    dd_generate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even if its record has the hash of that mask."""
    dd_generate("make", "num_images=2")
    path, manifest = Path("data/SegmentationClass/000001.png"), Path("data/manifest.jsonl")
    with Image.open(path) as mask:
        mask.putpixel((0, 0), 77)
        mask.save(path)
    *first, last = map(json.loads, manifest.read_text().splitlines())
    last["mask_sha256"] = tree(Path("data"))["SegmentationClass/000001.png"]
    manifest.write_text("".join(json.dumps(record) + "\n" for record in [*first, last]))
    with pytest.raises(SystemExit):
        dd_generate("output_dir=data", "verify=true")
    assert "000001.png: has labels that are not in the vocabulary: [77]" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_damaged(dd_generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    dd_generate("make", "num_images=2")
    whole = tree(Path("data"))
    damaged = [Path("data/JPEGImages/000000.jpg"), Path("data/SegmentationClass/000001.png")]
    for path in damaged:
        path.unlink()
        path.symlink_to("nowhere")
    with pytest.raises(SystemExit) as end:
        dd_generate("output_dir=data", "verify=true")
    assert end.value.code == 2
    out = capsys.readouterr().out
    for path in damaged:
        assert f"damaged: {path}: cannot be read (No such file or directory)" in out
    dd_generate("output_dir=data", "repair=true")
    assert tree(Path("data")) == whole


def test_samples_are_verified_a_few_at_a_time(dd_generate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are not all read before the first check, because a million of them would not fit in memory."""
    dd_generate("make", "num_images=5")
    events, read = [], Ledger.record
    monkeypatch.setattr(verify_module, "AT_ONCE", 2)
    monkeypatch.setattr(verify_module, "_faults", lambda *_: events.append("checked") or [])
    monkeypatch.setattr(Ledger, "record", lambda *at: events.append("read") or read(*at))
    dd_generate("output_dir=data", "verify=true")
    assert events.count("checked") == 5
    assert all(events[:end].count("read") - events[:end].count("checked") <= 2 for end in range(len(events)))


def test_a_damaged_image_ends_a_run_with_the_repair_command(
    dd_generate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    dd_generate("make", "num_images=2")
    whole = tree(Path("data"))
    Path("data/JPEGImages/000001.jpg").write_bytes(b"junk")
    Path("data/ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(SystemExit) as end:
        dd_generate("output_dir=data")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "error: data/JPEGImages/000001.jpg: cannot be read as an image" in error
    assert "; dd-generate output_dir=data repair=true regenerates it" in error
    dd_generate("output_dir=data", "repair=true")
    assert tree(Path("data")) == whole


def test_a_folder_without_its_sample_list_is_not_sound(dd_generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    dd_generate("make", "num_images=2")
    split = Path("data/ImageSets/Segmentation/train.txt")
    content = split.read_bytes()
    split.unlink()
    with pytest.raises(SystemExit):
        dd_generate("output_dir=data", "verify=true")
    assert f"{split}: missing, although all samples are there" in capsys.readouterr().out
    dd_generate("output_dir=data", "repair=true")
    assert split.read_bytes() == content


def test_a_refused_command_leaves_a_complete_folder_complete(dd_generate: Run) -> None:
    dd_generate("make", "num_images=4")
    whole = tree(Path("data"))
    with pytest.raises(SystemExit):
        dd_generate("make", "num_images=2", "shard=0/2")
    assert tree(Path("data")) == whole


def test_a_folder_without_a_dataset_cannot_be_verified(dd_generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dd_generate("output_dir=nowhere", "verify=true")
    assert "output_dir=nowhere: holds no dataset with these settings" in capsys.readouterr().err
    assert not Path("nowhere").exists()


def test_masks_with_other_settings_need_no_model(
    dd_generate: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They equal the masks of a run with these settings, except for the rounding of the kept evidence."""
    dd_generate("make", "num_images=4", "mask.threshold=0.7", "attention.power=4")
    dd_generate("make", "num_images=4", "mask.threshold=0.5", "attention.power=1", "output_dir=sampled")
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "load_pipeline", None)
        other = ("mask.threshold=0.5", "attention.power=1")
        dd_generate("remask=data", "output_dir=other", *other)
        whole = tree(Path("other"))
        Path("other/SegmentationClass/000002.png").unlink()
        dd_generate("remask=data", "output_dir=other", *other)
        assert tree(Path("other")) == whole
        for image in Path("data/JPEGImages").iterdir():
            assert image.samefile(Path("other/JPEGImages") / image.name)
        dd_generate("output_dir=other", "verify=true")
    made, sampled = tree(Path("other")), tree(Path("sampled"))
    assert made.keys() == sampled.keys()
    for path in sorted(Path("sampled/SegmentationClass").iterdir()):
        with Image.open(path) as one, Image.open(Path("other/SegmentationClass") / path.name) as two:
            assert np.mean(np.asarray(one) == np.asarray(two)) > 0.97
    mask = "SegmentationClass/000001.png"
    assert made[mask] != tree(Path("data"))[mask]
    settings = json.loads(Path("other/dataset.json").read_text())["settings"]
    assert (settings["mask"]["threshold"], settings["attention"]["power"], settings["seed"]) == (0.5, 1, 5)


def test_masks_of_other_images_are_not_mixed(dd_generate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name, captions in (("data", ["a cat", "a dog"]), ("unlike", ["a dog", "a cat"])):
        Path(f"{name}.json").write_text(json.dumps([{"caption": caption} for caption in captions]))
        dd_generate("make", "num_images=2", f"output_dir={name}", "prompts=file", f"prompts.path={name}.json")
    dd_generate("remask=data", "output_dir=masks")
    Path("data/SegmentationClass/000001.png").unlink()
    before = tree(Path())
    for source, target, message in (
        ("unlike", "masks", "output_dir=masks: line 1 of its prompts.jsonl differs from that of remask=unlike; name"),
        ("data", "data", "output_dir=data: is the same folder as remask; choose another one"),
    ):
        with pytest.raises(SystemExit):
            dd_generate(f"remask={source}", f"output_dir={target}")
        assert message in capsys.readouterr().err
        assert tree(Path()) == before


def test_masks_of_a_grown_folder_are_not_marked_complete_too_early(
    dd_generate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    dd_generate("make", "num_images=2")
    dd_generate("remask=data", "output_dir=masks")
    dd_generate("output_dir=data", "num_images=4")
    split = Path("masks/ImageSets/Segmentation/train.txt")
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "_remask_sample", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dd_generate("remask=data", "output_dir=masks")
    assert not split.exists()
    dd_generate("remask=data", "output_dir=masks")
    assert split.read_text().split() == [f"{index:06d}" for index in range(4)]


def test_a_link_replaces_a_file_atomically(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(InputError, match="source: cannot be read"):
        generate_module._link(source, target)
    assert target.read_bytes() == b"old"
    source.write_bytes(b"new")
    for _ in range(2):  # The second time both names are the same file already.
        generate_module._link(source, target)
        assert target.samefile(source)
    assert sorted(tmp_path.iterdir()) == [source, target]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["remask=data", "output_dir=new", "attention.power=3"], "attention.power=3: evidence is kept only at"),
        (["remask=data", "output_dir=new", "seed=1"], "seed: cannot be given with remask; these can: attention.power"),
        (["remask=data"], "output_dir: is missing; name a new folder"),
        (["remask=nowhere", "output_dir=new"], "remask=nowhere: holds no dataset"),
    ],
)
def test_impossible_remasking_is_refused(
    dd_generate: Run, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    dd_generate("make", "num_images=1")
    with pytest.raises(SystemExit) as end:
        dd_generate(*overrides)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("new").exists()
