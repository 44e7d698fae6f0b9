"""Trainings of a few iterations: their results, and that a killed one ends as if nothing had happened."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.segmentation.checkpoints import latest_checkpoint, load_strictly, read_segmentor
from dataset_diffusion.segmentation.config import POLY_POWER, ema_momentum
from dataset_diffusion.segmentation.segmentor import load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.train import TrainSettings
from tests.segmentation.outcome import require_equal, scalars
from tests.segmentation.tiny_voc import (
    LABEL_NAMES,
    PALETTE,
    TINY,
    overrides,
    random_model,
    tiny_settings,
)

COMMAND = [sys.executable, "-m", "dataset_diffusion.cli.train"]


@dataclasses.dataclass(frozen=True)
class Run:
    settings: TrainSettings
    folder: Path
    output: str

    @property
    def checkpoint(self) -> dict[str, Any]:
        latest = latest_checkpoint(self.folder)
        assert latest is not None
        return load_strictly(latest)


@pytest.fixture(scope="module")
def uninterrupted(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A training run from the command line to its end."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    settings = tiny_settings(dataset_dir, folder)
    result = subprocess.run([*COMMAND, *overrides(settings)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [f"wrote {folder}/segmentor.pth"]
    yield Run(settings, folder, result.stderr)
    shutil.rmtree(folder)


def require_same_outcome(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left["meta"]["iter"] == right["meta"]["iter"]
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        require_equal(left[part], right[part], part)


def start_killed_after_a_checkpoint(settings: TrainSettings, checkpoints: int, delay: float) -> int:
    """Start `dd-train`, SIGKILL it `delay` seconds after `checkpoints` checkpoints, return the last one's iteration."""
    folder, seen = Path(settings.work_dir), set()
    with subprocess.Popen([*COMMAND, *overrides(settings)], stderr=subprocess.DEVNULL) as process:
        while len(seen) < checkpoints:
            assert process.poll() is None, "it ended before it could be killed"
            pointer = folder / "last_checkpoint"
            if pointer.is_file():
                seen.add(pointer.read_text())
            time.sleep(0.02)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    latest = latest_checkpoint(folder)
    assert latest is not None
    return int(latest.stem.removeprefix("iter_"))


def test_a_run_killed_at_random_ends_like_an_uninterrupted_one(uninterrupted: Run, dataset_dir, work_dir) -> None:
    moment = random.Random(os.urandom(8))
    settings = tiny_settings(dataset_dir, work_dir, checkpoint_interval=2)
    stopped_at = start_killed_after_a_checkpoint(settings, moment.randint(1, 2), moment.uniform(0, 0.05))
    assert 0 < stopped_at < settings.iterations
    # The folder can have been moved in the meantime.
    moved = work_dir.parent / "moved"
    work_dir.rename(moved)
    train(dataclasses.replace(settings, work_dir=str(moved), resume=True))
    resumed = load_strictly(moved / "iter_12.pth")
    assert {int(state["step"]) for state in resumed["optimizer"]["state"].values()} == {12}
    require_same_outcome(resumed, uninterrupted.checkpoint)
    exported, expected = (read_segmentor(folder / "segmentor.pth") for folder in (moved, uninterrupted.folder))
    require_equal(exported.state_dict, expected.state_dict)


def test_the_schedule_is_adamw_with_polynomial_decay_and_a_slower_backbone(uninterrupted: Run) -> None:
    checkpoint, settings = uninterrupted.checkpoint, uninterrupted.settings
    groups = checkpoint["optimizer"]["param_groups"]
    initial = [group["initial_lr"] for group in groups]
    assert set(initial) == {settings.lr, settings.lr * settings.backbone_lr_mult}
    model = random_model()
    of_backbone = sum(1 for _ in model.backbone.parameters())
    assert initial.count(settings.lr * settings.backbone_lr_mult) == of_backbone
    assert {group["weight_decay"] for group in groups} == {settings.weight_decay}
    assert {group["lr"] for group in groups} == {0.0}
    # The tenth of twelve iterations comes after nine schedule steps.
    logged = scalars(uninterrupted.folder)["lr"][10]
    np.testing.assert_allclose(logged, initial[0] * (1 - 9 / 12) ** POLY_POWER, rtol=1e-5)


def test_scalars_go_to_tensorboard(uninterrupted: Run) -> None:
    found = scalars(uninterrupted.folder)
    for tag in ("loss", "decode.loss_ce", "aux.loss_ce", "grad_norm", "lr"):
        assert 10 in found[tag]
        assert np.isfinite(found[tag][10])


def test_progress_is_one_line_without_noise(uninterrupted: Run) -> None:
    lines = uninterrupted.output.replace("\r", "\n").strip().splitlines()
    assert all(line.startswith("training: ") for line in lines), lines
    assert "12/12" in lines[-1]
    assert "loss=" in lines[-1]


def test_the_export_has_the_averaged_weights(uninterrupted: Run) -> None:
    exported = read_segmentor(uninterrupted.folder / "segmentor.pth")
    checkpoint = uninterrupted.checkpoint
    require_equal(dict(exported.state_dict), checkpoint["state_dict"])
    # mmengine swaps them: `ema_state_dict` holds the weights that the optimizer updates.
    raw = checkpoint["ema_state_dict"]
    assert int(raw["steps"]) == 12
    name = "decode_head.conv_seg.weight"
    assert not torch.equal(exported.state_dict[name], raw[f"module.{name}"])
    assert exported.label_names == LABEL_NAMES
    assert exported.palette == PALETTE
    assert exported.architecture == TINY


def test_the_average_spans_the_same_share_of_any_run() -> None:
    settings = tiny_settings(Path("data"), Path("run"), ema_horizon=0.05)
    for iterations in (60, 800, 20_000):
        momentum = ema_momentum(dataclasses.replace(settings, iterations=iterations))
        assert 0 < momentum < 1
        # The weight, at the end of the run, of the random start and of the weights 5% before the end.
        assert (1 - momentum) ** iterations < 1e-6
        np.testing.assert_allclose((1 - momentum) ** (iterations * 0.05), np.exp(-1), rtol=0.15)


def test_mmsegmentation_can_use_the_exported_config(uninterrupted: Run, dataset_dir: Path) -> None:
    from mmengine.config import Config
    from mmseg.apis import inference_model, init_model

    exported = read_segmentor(uninterrupted.folder / "segmentor.pth")
    assert str(uninterrupted.folder) not in exported.config
    assert str(dataset_dir) not in exported.config
    model = init_model(Config.fromstring(exported.config, ".py"), device="cpu")
    model.load_state_dict(exported.state_dict)
    path = dataset_dir / "JPEGImages/image_0.jpg"
    expected = inference_model(model, str(path)).pred_sem_seg.data[0].numpy()
    image = np.array(Image.open(path))
    (labels,) = load_segmentor(uninterrupted.folder / "segmentor.pth", "cpu").predict([image])
    assert (labels == expected).mean() > 0.99  # OpenCV and Pillow decode a JPEG within 1 of 255


def test_a_folder_with_a_training_is_refused_for_another_one(uninterrupted: Run) -> None:
    with pytest.raises(
        InputError, match=r"already contains a training run; add resume=true to resume it, or name another work_dir"
    ):
        train(uninterrupted.settings)
    for change, old in (({"lr": 0.5}, "lr=0.001"), ({"iterations": 24}, "iterations=12")):
        (name,) = change
        with pytest.raises(InputError, match=rf"^{name}=.*has {old}; resume with that, or name another work_dir"):
            train(dataclasses.replace(uninterrupted.settings, resume=True, **change))


def test_a_finished_training_is_left_unchanged(uninterrupted: Run) -> None:
    before = {file: file.stat().st_mtime_ns for file in uninterrupted.folder.glob("*.pth")}
    train(dataclasses.replace(uninterrupted.settings, resume=True, checkpoint_interval=5))
    assert {file: file.stat().st_mtime_ns for file in uninterrupted.folder.glob("*.pth")} == before


class MakesFolder:
    """Creates a folder when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("attack", ["pickle", "config", "weights", "not a checkpoint"])
def test_checkpoints_to_resume_from_are_read_strictly(uninterrupted: Run, work_dir: Path, attack: str) -> None:
    shutil.copytree(uninterrupted.folder, work_dir)
    (work_dir / "segmentor.pth").unlink()
    settings = dataclasses.replace(uninterrupted.settings, work_dir=str(work_dir), resume=True)
    trap, content, path = work_dir / "trap", uninterrupted.checkpoint, work_dir / "iter_12.pth"
    if attack == "pickle":
        content["meta"]["hook_msgs"] = MakesFolder(trap)
        complaint = "could run code"
    elif attack == "config":
        # mmengine runs this text as Python when resuming.
        content["meta"]["config"] = f"import os\nos.mkdir({str(trap)!r})\n"
        complaint = None
    elif attack == "weights":
        content["state_dict"] = random_model(dataclasses.replace(TINY, num_labels=7)).state_dict()
        complaint = "do not fit this segmentor"
    else:
        content = content["state_dict"]
        complaint = "is not a checkpoint to resume from"
    torch.save(content, path)
    if complaint:
        with pytest.raises(InputError, match=complaint):
            train(settings)
    else:
        train(settings)
        assert (work_dir / "segmentor.pth").is_file()
    assert not trap.exists()
