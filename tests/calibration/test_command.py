"""dd-calibrate, run as a command: settings for a user's own domain from a few labelled images."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.cli import calibrate as calibrate_module
from dataset_diffusion.generators.unet import UNetFamily
from dataset_diffusion.labelled.toy_scenes import write_scenes
from dataset_diffusion.toy.scenes import VALIDATION_SEEDS
from tests.tiny_families import BUILDERS
from tests.tiny_pipeline import build_tiny_pipeline

Calibrate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def calibrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Calibrate:
    """Runs the command in this process; errors that are not the user's fault are raised as exceptions."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dd-calibrate", *arguments])
        status = 0
        try:
            calibrate_module.main()
        except SystemExit as end:
            status = int(end.code or 0)
        return (status, *capsys.readouterr())

    return run


def write_folder(folder: Path, label: int) -> Path:
    """Two images of different shapes; the upper half of each belongs to one class."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for sample_id, (height, width) in {"a": (32, 32), "b": (40, 64)}.items():
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2] = label
        Image.fromarray(image).save(folder / "JPEGImages" / f"{sample_id}.jpg")
        Image.fromarray(labels).save(folder / "SegmentationClass" / f"{sample_id}.png")
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    model = build_tiny_pipeline(tmp_path_factory.mktemp("model"))
    return (f"model.path={model}", "sampler.num_inference_steps=2", "prompts.template=generic")


def test_the_proposed_settings_can_be_given_to_dd_generate(
    tmp_path: Path, settings: tuple[str, ...], calibrate: Calibrate
) -> None:
    folder = write_folder(tmp_path / "labelled", label=2)
    status, output, errors = calibrate(str(folder), "vocabulary.classes=[cat,dog]", *settings)
    assert status == 0, errors
    lines = output.splitlines()
    assert lines[0].startswith(f"2 images of {folder}")
    proposed = re.fullmatch(
        r"  attention\.power=(\d+) mask\.threshold=([\d.]+) mask\.uncertainty_threshold=([\d.]+)", lines[-1]
    )
    assert proposed
    assert float(proposed[3]) <= float(proposed[2])
    assert sum(line.startswith("  power ") for line in lines) == 7


@pytest.mark.parametrize(
    ("classes", "fault"),
    [
        ("[dog,cat]", "its label 1 is 'cat', but it is 'dog' in the vocabulary"),
        ("[cat]", "it has 3 labels, but there are 2 in the vocabulary"),
    ],
)
def test_a_folder_that_names_other_labels_is_refused(
    tmp_path: Path, settings: tuple[str, ...], calibrate: Calibrate, classes: str, fault: str
) -> None:
    folder = write_folder(tmp_path / "labelled", label=2)
    names = {"label_names": ["background", "cat", "dog"], "palette": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}
    (folder / "dataset.json").write_text(json.dumps({"vocabulary": names}))
    status, _, errors = calibrate(str(folder), f"vocabulary.classes={classes}", *settings)
    assert (status, errors.count("\n")) == (2, 1)
    assert fault in errors
    assert calibrate(str(folder), "vocabulary.classes=[cat,dog]", *settings)[0] == 0


@pytest.mark.parametrize(
    ("family", "options"),
    [("sdxl", []), ("sd3", ["attention.class_prompt=own"]), ("flux", ["attention.blocks=[0]"]), ("z_image", [])],
)
def test_models_of_other_families_can_be_calibrated(
    tmp_path: Path, calibrate: Calibrate, family: str, options: list[str]
) -> None:
    """On toy scenes, some with a single class and therefore no other word in their class prompt."""
    write_scenes(tmp_path / "labelled", VALIDATION_SEEDS[:4], "train")
    model = BUILDERS[family](tmp_path / "model")
    sampler = ["sampler.num_inference_steps=2", "sampler.image_size=[32,32]", "sampler.scheduler=null"]
    status, output, errors = calibrate(str(tmp_path / "labelled"), f"model.path={model}", *sampler, *options)
    assert status == 0, errors
    lines = output.splitlines()
    assert lines[0].startswith("4 images of ")
    assert lines[-1].startswith("  attention.power=")


@pytest.mark.parametrize(
    ("folder", "label", "message"),
    [
        ("missing", 1, "ImageSets/Segmentation/train.txt: no such file"),
        ("empty", 0, "no mask of split train has a class"),
        ("foreign", 9, "has label 9"),
    ],
)
def test_an_unusable_folder_gives_one_line(
    tmp_path: Path, settings: tuple[str, ...], calibrate: Calibrate, folder: str, label: int, message: str
) -> None:
    if folder != "missing":
        write_folder(tmp_path / folder, label)
    status, _, errors = calibrate(str(tmp_path / folder), "vocabulary.classes=[cat,dog]", *settings)
    assert status == 2
    last = errors.strip().splitlines()[-1]
    assert last.startswith("dd-calibrate: error: ")
    assert message in errors


def test_running_out_of_device_memory_gives_one_line(
    tmp_path: Path, settings: tuple[str, ...], calibrate: Calibrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "labelled", label=1)

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(UNetFamily, "denoise", fail)
    status, _, errors = calibrate(str(folder), "vocabulary.classes=[cat,dog]", *settings)
    assert status == 2
    assert "the device is out of memory; set model.cpu_offload=true" in errors.splitlines()[-1]


@pytest.mark.parametrize("arguments", [(), ("experiment=voc",)])
def test_a_missing_folder_argument_gives_one_line(calibrate: Calibrate, arguments: tuple[str, ...]) -> None:
    status, _, errors = calibrate(*arguments)
    assert status == 2
    assert errors.splitlines() == ["dd-calibrate: error: the folder of labelled images comes first; --help says more"]


def test_a_folder_without_the_split_gets_an_error_that_names_the_missing_file(
    tmp_path: Path, settings: tuple[str, ...], calibrate: Calibrate
) -> None:
    folder = write_folder(tmp_path / "labelled", label=1)
    splits = folder / "ImageSets" / "Segmentation"
    (splits / "train.txt").rename(splits / "val.txt")
    status, _, errors = calibrate(str(folder), "vocabulary.classes=[cat,dog]", *settings)
    assert status == 2
    assert errors.strip().endswith("train.txt: no such file; it lists the ids of the labelled images, one per line")


def test_help_shows_the_usage(calibrate: Calibrate) -> None:
    status, output, _ = calibrate("--help")
    assert status == 0
    assert "dd-calibrate DIR" in output
