"""Trainings of a few iterations: what they leave behind, and that a killed one ends as if nothing had happened."""

import dataclasses
import json
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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataset_diffusion.errors import InputError
from dataset_diffusion.segmentation.checkpoints import latest_checkpoint, load_strictly, read_segmentor
from dataset_diffusion.segmentation.config import POLY_POWER, ema_momentum
from dataset_diffusion.segmentation.predict import Segmentor, load_segmentor
from dataset_diffusion.segmentation.train import RELABELLED_DIR, train
from dataset_diffusion.settings.train import TrainSettings
from tests.segmentation.tiny_voc import (
    LABEL_NAMES,
    PALETTE,
    TINY,
    overrides,
    random_model,
    tiny_settings,
    write_tiny_voc,
)

COMMAND = [sys.executable, "-m", "dataset_diffusion.cli.train"]


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_voc(tmp_path_factory.mktemp("data") / "voc")


@pytest.fixture
def work_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder to train in; emptied at once, because checkpoints are large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path)


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
    """A training from its command line to its end."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    settings = tiny_settings(dataset_dir, folder)
    result = subprocess.run([*COMMAND, *overrides(settings)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [f"wrote {folder}/segmentor.pth"]
    yield Run(settings, folder, result.stderr)
    shutil.rmtree(folder)


def require_equal(left: Any, right: Any, where: str = "") -> None:
    """Equal to the last bit, in every entry."""
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            require_equal(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for position, (one, other) in enumerate(zip(left, right, strict=True)):
            require_equal(one, other, f"{where}[{position}]")
    else:
        assert left == right, where


def require_same_outcome(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left["meta"]["iter"] == right["meta"]["iter"]
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        require_equal(left[part], right[part], part)


def start_killed_after_a_checkpoint(settings: TrainSettings, checkpoints: int, delay: float) -> int:
    """Start `dd-train`, kill it with SIGKILL `delay` seconds after so many checkpoints, return the last's iteration."""
    folder, seen = Path(settings.work_dir), set()
    with subprocess.Popen([*COMMAND, *overrides(settings)], stderr=subprocess.DEVNULL) as process:
        while len(seen) < checkpoints:
            assert process.poll() is None, "it ended before it was to be killed"
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


def test_a_run_killed_at_random_ends_as_an_uninterrupted_one(uninterrupted: Run, dataset_dir, work_dir) -> None:
    moment = random.Random(os.urandom(8))
    settings = tiny_settings(dataset_dir, work_dir, checkpoint_interval=4)
    stopped_at = start_killed_after_a_checkpoint(settings, moment.randint(1, 2), moment.uniform(0, 0.3))
    assert 0 < stopped_at < settings.iterations
    # The folder may have been moved in the meantime.
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
    # The tenth of twelve iterations, after nine steps of the schedule.
    logged = scalars(uninterrupted.folder)["lr"][10]
    np.testing.assert_allclose(logged, initial[0] * (1 - 9 / 12) ** POLY_POWER, rtol=1e-5)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """TensorBoard's scalars by tag and step."""
    events = EventAccumulator(str(folder / "vis_data"))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_scalars_go_to_tensorboard(uninterrupted: Run) -> None:
    found = scalars(uninterrupted.folder)
    for tag in ("loss", "decode.loss_ce", "aux.loss_ce", "grad_norm", "lr"):
        assert list(found[tag]) == [10]
        assert np.isfinite(found[tag][10])


def test_progress_is_one_line_without_noise(uninterrupted: Run) -> None:
    lines = uninterrupted.output.replace("\r", "\n").strip().splitlines()
    assert all(line.startswith("training: ") for line in lines), lines
    assert "12/12" in lines[-1]
    assert "loss=" in lines[-1]


def test_the_export_is_the_average_of_the_last_weights(uninterrupted: Run) -> None:
    exported = read_segmentor(uninterrupted.folder / "segmentor.pth")
    checkpoint = uninterrupted.checkpoint
    require_equal(dict(exported.state_dict), checkpoint["state_dict"])
    # mmengine swaps them: under `ema_state_dict` are the weights that the optimizer moves.
    raw = checkpoint["ema_state_dict"]
    assert int(raw["steps"]) == 12
    name = "decode_head.conv_seg.weight"
    assert not torch.equal(exported.state_dict[name], raw[f"module.{name}"])
    assert exported.label_names == LABEL_NAMES
    assert exported.palette == PALETTE
    assert exported.architecture == TINY


def test_the_average_reaches_over_the_same_share_of_any_run() -> None:
    settings = tiny_settings(Path("data"), Path("run"), ema_horizon=0.05)
    for iterations in (60, 800, 20_000):
        momentum = ema_momentum(dataclasses.replace(settings, iterations=iterations))
        assert 0 < momentum < 1
        # What is left of the random start at the end of the run, and of the weights 5% before the end.
        assert (1 - momentum) ** iterations < 1e-6
        np.testing.assert_allclose((1 - momentum) ** (iterations * 0.05), np.exp(-1), rtol=0.15)


def test_the_config_text_is_mmsegmentations(uninterrupted: Run, dataset_dir: Path) -> None:
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


def test_a_folder_with_a_training_is_not_trained_in_again(uninterrupted: Run) -> None:
    with pytest.raises(InputError, match=r"holds a training already; go on with resume=true, or name another work_dir"):
        train(uninterrupted.settings)
    for change, old in (({"lr": 0.5}, "lr=0.001"), ({"iterations": 24}, "iterations=12")):
        (name,) = change
        with pytest.raises(InputError, match=rf"^{name}=.*has {old}; resume with that, or name another work_dir"):
            train(dataclasses.replace(uninterrupted.settings, resume=True, **change))


def test_a_finished_training_is_left_as_it_is(uninterrupted: Run) -> None:
    before = {file: file.stat().st_mtime_ns for file in uninterrupted.folder.glob("*.pth")}
    train(dataclasses.replace(uninterrupted.settings, resume=True, checkpoint_interval=5))
    assert {file: file.stat().st_mtime_ns for file in uninterrupted.folder.glob("*.pth")} == before


class MakesFolder:
    """Unpickling this makes a folder."""

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
        # mmengine runs this text as Python when it resumes.
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


def test_faults_of_the_data_end_it_before_a_model_is_built(tmp_path: Path, monkeypatch, capsys) -> None:
    data = write_tiny_voc(tmp_path / "voc", num_images=2)
    Image.fromarray(np.full((64, 64), 37, np.uint8)).save(data / "SegmentationClass/image_0.png")
    (data / "SegmentationClass/image_1.png").unlink()
    monkeypatch.setattr("dataset_diffusion.segmentation.train.build_segmentor", lambda config: pytest.fail("built"))
    with pytest.raises(InputError, match="2 faults"):
        train(tiny_settings(data, tmp_path / "run"))
    faults = capsys.readouterr().err
    assert "image_0.png" in faults
    assert "37" in faults
    assert "image_1.png" in faults
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "dataset.json: no such file"),
        ("{", "does not describe labels"),
        ('{"vocabulary": {"label_names": ["background"], "palette": [[0, 0, 0]]}}', "1 label names"),
    ],
)
def test_a_folder_must_say_its_labels(tmp_path: Path, content: str | None, complaint: str) -> None:
    data = write_tiny_voc(tmp_path / "voc", num_images=1)
    (data / "dataset.json").unlink()
    if content is not None:
        (data / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=complaint):
        train(tiny_settings(data, tmp_path / "run"))
    with pytest.raises(InputError, match=r"^dataset_dir=.*no such folder"):
        train(tiny_settings(tmp_path / "none", tmp_path / "run"))


def test_the_toy_validation_needs_the_toy_classes(dataset_dir: Path, work_dir: Path) -> None:
    work_dir.parent.mkdir(exist_ok=True)
    with pytest.raises(InputError, match="val_dir=toy: has VOC's classes"):
        train(tiny_settings(dataset_dir, work_dir, val_dir="toy"))


def test_a_loss_that_is_not_finite_ends_it(dataset_dir: Path, work_dir: Path) -> None:
    with pytest.raises(InputError, match=r"the loss is \w+ at iteration \d+ .*train with a smaller lr"):
        train(tiny_settings(dataset_dir, work_dir, lr=1e30, clip_norm=1e30))


def test_the_best_by_miou_is_exported(dataset_dir: Path, work_dir: Path, monkeypatch, capsys) -> None:
    # The second of three validations is made to be the best.
    scores = iter([20.0, 70.0, 30.0])
    monkeypatch.setattr("mmseg.evaluation.IoUMetric.compute_metrics", lambda self, results: {"mIoU": next(scores)})
    settings = tiny_settings(dataset_dir, work_dir, val_dir=str(dataset_dir), val_split="train", val_interval=4)
    train(settings)
    assert json.loads((work_dir / "best.json").read_text()) == {"iteration": 8, "mIoU": 70.0}
    best, last = load_strictly(work_dir / "best.pth"), load_strictly(work_dir / "iter_12.pth")
    assert best["meta"]["iter"] == 8
    exported = read_segmentor(work_dir / "segmentor.pth").state_dict
    require_equal(dict(exported), best["state_dict"])
    assert not torch.equal(exported["decode_head.conv_seg.weight"], last["state_dict"]["decode_head.conv_seg.weight"])
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("iteration")] == [
        "iteration 4: mIoU 20.00",
        "iteration 8: mIoU 70.00",
        "iteration 12: mIoU 30.00",
    ]
    assert scalars(work_dir)["mIoU"] == {4: 20.0, 8: 70.0, 12: 30.0}


def test_validation_measures_the_averaged_weights(dataset_dir: Path, work_dir: Path) -> None:
    settings = tiny_settings(dataset_dir, work_dir, val_dir=str(dataset_dir), val_split="train", val_interval=12)
    exported = train(settings)
    said = json.loads((work_dir / "best.json").read_text())["mIoU"]
    segmentor = load_segmentor(exported, "cpu")
    confusion = np.zeros((3, 3))
    for number in range(6):
        image = np.array(Image.open(dataset_dir / f"JPEGImages/image_{number}.jpg"))
        labels = np.array(Image.open(dataset_dir / f"SegmentationClass/image_{number}.png"))
        (predicted,) = segmentor.predict([image])
        np.add.at(confusion, (labels[labels != 255], predicted[labels != 255]), 1)
    hits = confusion.diagonal()
    iou = hits / (confusion.sum(axis=0) + confusion.sum(axis=1) - hits)
    assert abs(100 * np.nanmean(iou) - said) < 0.5


def test_self_training_trains_on_what_the_first_segmentor_saw(dataset_dir, work_dir, monkeypatch) -> None:
    settings = tiny_settings(
        dataset_dir, work_dir, iterations=3, self_training=True, self_training_threshold=0.4, resume=True
    )
    first_masks = {file: file.read_bytes() for file in (dataset_dir / "SegmentationClass").iterdir()}

    # Killed while it relabels: after two masks.
    calls = []
    predict = Segmentor.predict_probabilities

    def stop_at_third(self: Segmentor, image: np.ndarray, tta: bool = False) -> torch.Tensor:
        calls.append(tta)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, image, tta)

    with monkeypatch.context() as context:
        context.setattr(Segmentor, "predict_probabilities", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    assert calls == [True] * 3
    written = {file.name: file.stat().st_mtime_ns for file in (work_dir / RELABELLED_DIR).iterdir()}
    assert len(written) == 2
    first_file = work_dir / "first_training/segmentor.pth"
    first_time = first_file.stat().st_mtime_ns

    exported = train(settings)
    assert exported == work_dir / "segmentor.pth"
    assert first_file.stat().st_mtime_ns == first_time
    masks = sorted((work_dir / RELABELLED_DIR).iterdir())
    assert [mask.name for mask in masks] == [f"image_{number}.png" for number in range(6)]
    assert written.items() <= {mask.name: mask.stat().st_mtime_ns for mask in masks}.items()
    teacher = load_segmentor(first_file, "cpu")
    for mask in masks:
        image = np.array(Image.open(dataset_dir / f"JPEGImages/{mask.stem}.jpg"))
        confidence, labels = teacher.predict_probabilities(image, tta=True).max(dim=0)
        expected = torch.where(confidence >= 0.4, labels, 255).numpy()
        np.testing.assert_array_equal(np.array(Image.open(mask)), expected)
    # The first masks are as they were, and the second training did not see them.
    assert {file: file.read_bytes() for file in (dataset_dir / "SegmentationClass").iterdir()} == first_masks
    first, second = (read_segmentor(file).state_dict for file in (first_file, exported))
    assert not torch.equal(first["decode_head.conv_seg.weight"], second["decode_head.conv_seg.weight"])
    require_equal(read_segmentor(work_dir / "second_training/segmentor.pth").state_dict, second)


def test_two_processes_train_under_torchrun(dataset_dir: Path, work_dir: Path) -> None:
    settings = tiny_settings(
        dataset_dir,
        work_dir,
        iterations=3,
        self_training=True,
        val_dir=str(dataset_dir),
        val_split="train",
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*launcher, "-m", "dataset_diffusion.cli.train", *overrides(settings)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"wrote {work_dir}/segmentor.pth"]
    assert result.stderr.count("3/3") >= 2  # once for each training, not for each process
    for folder in ("first_training", "second_training"):
        checkpoint = load_strictly(work_dir / folder / "iter_3.pth")
        assert {int(state["step"]) for state in checkpoint["optimizer"]["state"].values()} == {3}
    assert len(list((work_dir / RELABELLED_DIR).glob("*.png"))) == 6
    image = np.array(Image.open(dataset_dir / "JPEGImages/image_0.jpg"))
    assert load_segmentor(work_dir / "segmentor.pth", "cpu").predict([image])[0].shape == (64, 64)


def test_bfloat16_trains_float32_weights(dataset_dir: Path, work_dir: Path) -> None:
    exported = train(tiny_settings(dataset_dir, work_dir, iterations=2, precision="bfloat16"))
    state = read_segmentor(exported).state_dict
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
