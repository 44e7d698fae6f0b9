"""Training options other than the schedule, and errors that end a training early."""

import fcntl
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import HELD_FILE, held_by_one_process
from dataset_diffusion.segmentation.checkpoints import load_strictly, read_segmentor
from dataset_diffusion.segmentation.segmentor import Segmentor, load_segmentor
from dataset_diffusion.segmentation.train import RELABELLED_DIR, train
from tests.segmentation.outcome import require_equal, scalars
from tests.segmentation.tiny_voc import LABEL_NAMES, tiny_settings, write_tiny_voc


def test_faults_in_the_data_end_a_training_before_a_model_is_built(tmp_path: Path, monkeypatch, capsys) -> None:
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


def test_a_work_folder_accepts_one_run_at_a_time(dataset_dir: Path, work_dir: Path) -> None:
    work_dir.mkdir()
    with (
        held_by_one_process(work_dir / HELD_FILE, "held"),
        pytest.raises(InputError, match="another dd-train is writing to it"),
    ):
        train(tiny_settings(dataset_dir, work_dir))
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "dataset.json: no such file"),
        ("{", "does not describe labels"),
        ('{"vocabulary": {"label_names": ["background"], "palette": [[0, 0, 0]]}}', "1 label names"),
    ],
)
def test_a_folder_must_describe_its_labels(tmp_path: Path, content: str | None, complaint: str) -> None:
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
    with pytest.raises(InputError, match=r"^val=toy: the toy world does not draw 'red'"):
        train(tiny_settings(dataset_dir, work_dir, val="toy"))


def test_a_validation_folder_with_other_labels_is_refused(dataset_dir: Path, tmp_path: Path) -> None:
    other = write_tiny_voc(tmp_path / "other", num_images=1, split="val")
    description = json.loads((other / "dataset.json").read_text())
    description["vocabulary"]["label_names"][1:] = ["green", "red"]
    (other / "dataset.json").write_text(json.dumps(description))
    settings = tiny_settings(dataset_dir, tmp_path / "run", val=str(other))
    with pytest.raises(InputError, match=r"^val=.*: its label 1 is 'green', but it is 'red' in the training data"):
        train(settings)
    assert not (tmp_path / "run").exists()


def test_a_missing_device_leaves_no_work_folder(dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device=cuda:77: this machine"):
        train(tiny_settings(dataset_dir, tmp_path / "run", device="cuda:77"))
    assert not (tmp_path / "run").exists()


def test_the_lock_works_on_network_drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def as_on_nfs(descriptor: int, operation: int) -> None:
        fcntl.lockf(descriptor, operation)  # raises an OSError for a file that is not open for writing
        taken.append(operation)

    monkeypatch.setattr("dataset_diffusion.files.fcntl.flock", as_on_nfs)
    with held_by_one_process(tmp_path / HELD_FILE, "held"):
        assert len(taken) == 1


def test_running_out_of_device_memory_comes_with_a_remedy(dataset_dir: Path, work_dir: Path, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("dataset_diffusion.segmentation.train.IterationSeedHook.before_train_iter", full)
    with pytest.raises(InputError, match=r"batch_size=2: the device is out of memory; accumulation_steps=2"):
        train(tiny_settings(dataset_dir, work_dir))


def test_masks_that_cannot_be_written_are_reported_before_the_first_training(
    dataset_dir: Path, work_dir: Path, monkeypatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != dataset_dir)
    with pytest.raises(InputError, match=r"self_training=true: cannot write the new masks into"):
        train(tiny_settings(dataset_dir, work_dir, self_training=True))
    assert not work_dir.exists()


def test_a_non_finite_loss_ends_a_training(dataset_dir: Path, work_dir: Path) -> None:
    with pytest.raises(InputError, match=r"the loss is \w+ at iteration \d+ .*train with a smaller lr"):
        train(tiny_settings(dataset_dir, work_dir, lr=1e30, clip_norm=1e30))


def test_the_checkpoint_with_the_best_miou_is_exported(dataset_dir: Path, work_dir: Path, monkeypatch, capsys) -> None:
    # Make the second of three validations the best.
    scores = iter([20.0, 70.0, 30.0])
    monkeypatch.setattr("mmseg.evaluation.IoUMetric.compute_metrics", lambda self, results: {"mIoU": next(scores)})
    settings = tiny_settings(
        dataset_dir, work_dir, iterations=3, val=str(dataset_dir), val_split="train", val_interval=1
    )
    train(settings)
    assert json.loads((work_dir / "best.json").read_text()) == {"iteration": 2, "mIoU": 70.0}
    best, last = load_strictly(work_dir / "best.pth"), load_strictly(work_dir / "iter_3.pth")
    assert best["meta"]["iter"] == 2
    exported = read_segmentor(work_dir / "segmentor.pth").state_dict
    require_equal(dict(exported), best["state_dict"])
    assert not torch.equal(exported["decode_head.conv_seg.weight"], last["state_dict"]["decode_head.conv_seg.weight"])
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("iteration")] == [
        "iteration 1: mIoU 20.00",
        "iteration 2: mIoU 70.00",
        "iteration 3: mIoU 30.00",
    ]
    assert scalars(work_dir)["mIoU"] == {1: 20.0, 2: 70.0, 3: 30.0}


def test_a_best_result_without_a_training_checkpoint_is_ignored(dataset_dir: Path, work_dir: Path) -> None:
    work_dir.mkdir()
    (work_dir / "best.json").write_text('{"iteration": 1, "mIoU": 100.0}')
    (work_dir / "best.pth").write_bytes(b"of a training with other settings")
    settings = tiny_settings(dataset_dir, work_dir, iterations=1, val=str(dataset_dir), val_split="train")
    assert load_segmentor(train(settings), "cpu").label_names == LABEL_NAMES


def test_resuming_with_other_images_is_refused(dataset_dir: Path, tmp_path: Path) -> None:
    settings = tiny_settings(dataset_dir, tmp_path / "run", iterations=1, checkpoint_interval=1)
    train(settings)
    moved = shutil.copytree(dataset_dir, tmp_path / "moved")
    train(replace(settings, dataset_dir=str(moved), resume=True))
    masks = sorted((moved / "SegmentationClass").iterdir())
    shutil.copy(masks[0], masks[1])
    with pytest.raises(InputError, match=r"moved: images or masks differ from those that the training in"):
        train(replace(settings, dataset_dir=str(moved), resume=True))


def test_validation_measures_the_averaged_weights(dataset_dir: Path, work_dir: Path) -> None:
    settings = tiny_settings(dataset_dir, work_dir, val=str(dataset_dir), val_split="train", val_interval=12)
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


def test_self_training_trains_on_the_first_segmentors_predictions(dataset_dir, work_dir, monkeypatch, capsys) -> None:
    settings = tiny_settings(
        dataset_dir, work_dir, iterations=3, self_training=True, self_training_threshold=0.4, resume=True
    )
    first_masks = {file: file.read_bytes() for file in (dataset_dir / "SegmentationClass").iterdir()}

    # Killed while relabelling, after two masks.
    calls = []
    predict = Segmentor.predict_confident

    def stop_at_third(self: Segmentor, images: list, threshold: float, tta: bool = False) -> list[np.ndarray]:
        calls.append(tta)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, images, threshold, tta)

    with monkeypatch.context() as context:
        context.setattr(Segmentor, "predict_confident", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    assert calls == [True] * 3
    assert "holds no training to resume" in capsys.readouterr().out
    (relabelled_dir,) = dataset_dir.glob(f"{RELABELLED_DIR}_*")
    written = {file.name: file.stat().st_mtime_ns for file in relabelled_dir.iterdir()}
    assert len(written) == 2
    first_file = work_dir / "first_training/segmentor.pth"
    first_time = first_file.stat().st_mtime_ns

    exported = train(settings)
    assert "holds no training to resume" not in capsys.readouterr().out
    assert exported == work_dir / "segmentor.pth"
    assert first_file.stat().st_mtime_ns == first_time
    masks = sorted(relabelled_dir.iterdir())
    assert [mask.name for mask in masks] == [f"image_{number}.png" for number in range(6)]
    assert written.items() <= {mask.name: mask.stat().st_mtime_ns for mask in masks}.items()
    teacher = load_segmentor(first_file, "cpu")
    for mask in masks:
        image = np.array(Image.open(dataset_dir / f"JPEGImages/{mask.stem}.jpg"))
        confidence, labels = teacher.predict_probabilities(image, tta=True).max(dim=0)
        expected = torch.where(confidence >= 0.4, labels, 255).numpy()
        np.testing.assert_array_equal(np.array(Image.open(mask)), expected)
    # The first masks are unchanged, and the second training did not use them.
    assert {file: file.read_bytes() for file in (dataset_dir / "SegmentationClass").iterdir()} == first_masks
    first, second = (read_segmentor(file).state_dict for file in (first_file, exported))
    assert not torch.equal(first["decode_head.conv_seg.weight"], second["decode_head.conv_seg.weight"])
    require_equal(read_segmentor(work_dir / "second_training/segmentor.pth").state_dict, second)


def test_bfloat16_trains_float32_weights(dataset_dir: Path, work_dir: Path) -> None:
    exported = train(tiny_settings(dataset_dir, work_dir, iterations=2, precision="bfloat16"))
    state = read_segmentor(exported).state_dict
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
