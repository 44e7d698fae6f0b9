"""`dd-eval`: a segmentor's metrics on a dataset, printed and written to a folder."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dataset_diffusion.errors import InputError
from dataset_diffusion.evaluation.overlay import overlay_sheet
from dataset_diffusion.evaluation.prediction import PredictedImage, Predictor, predict_dataset
from dataset_diffusion.evaluation.tables import format_table, format_worst_confusions, metrics_record
from dataset_diffusion.files import encode_json, opened_folder, write_atomically
from dataset_diffusion.images import write_label_mask
from dataset_diffusion.labelled.opening import EvaluationDataset, open_dataset
from dataset_diffusion.metrics import confusion_matrix
from dataset_diffusion.settings.evaluate import USUAL_SPLIT, EvaluateSettings
from dataset_diffusion.settings.protocol import OWN_SIZE, TRAINED
from dataset_diffusion.versions import installed_versions

NUM_OVERLAYS = 24
RECORDED_PACKAGES = ("torch", "onedl-mmsegmentation", "onedl-mmcv", "onedl-mmengine", "numpy", "pillow", "pycocotools")


class PredictionWriter:
    """Writes `predictions/<id>.png` (palette PNGs) and finally `overlay.png` with some of them next to the truth.

    The constructor raises InputError if the folder has predictions for images that are not in the dataset.
    """

    def __init__(self, output_dir: Path, dataset: EvaluationDataset) -> None:
        self._output_dir, self._dataset = output_dir, dataset
        self._folder = output_dir / "predictions"
        strangers = sorted({file.stem for file in self._folder.glob("*.png")} - set(dataset.ids))
        if strangers:
            raise InputError(
                f"{self._folder}: has {strangers[0]}.png, which is not an image of "
                f"dataset={dataset.name}; remove the folder or use another output_dir"
            )
        self._overlay_indices = evenly_spaced(len(dataset.ids), NUM_OVERLAYS)
        self._overlays: list[PredictedImage] = []

    def add(self, item: PredictedImage) -> None:
        """Write one prediction."""
        write_label_mask(self._folder / f"{self._dataset.ids[item.index]}.png", item.prediction)
        if item.index in self._overlay_indices:
            self._overlays.append(item)

    def finish(self) -> None:
        """Write the overlay sheet, its images in dataset order."""
        overlays = sorted(self._overlays, key=lambda item: item.index)
        content = io.BytesIO()
        overlay_sheet(overlays, self._dataset.ids, self._dataset.label_names).save(content, format="PNG")
        write_atomically(self._output_dir / "overlay.png", content.getvalue())


def evaluate(settings: EvaluateSettings, load_segmentor: Callable[[Path, str, str, str], Predictor]) -> dict[str, Any]:
    """Evaluate as the settings say: print the tables, write `metrics.json` and return its content.

    `load_segmentor` reads a checkpoint file onto a device; its other arguments are `test_scale` and `test_mode`.

    Raises InputError if the checkpoint, the dataset or the output folder cannot be used.
    """
    checkpoint = Path(settings.checkpoint)
    if not checkpoint.is_file():
        raise InputError(f"checkpoint={checkpoint}: no such file; run dd-train, or name the segmentor.pth that it made")
    segmentor = load_segmentor(checkpoint, settings.device, settings.test_scale, settings.test_mode)
    dataset = open_dataset(settings, segmentor.label_names)
    require_same_labels(checkpoint, segmentor.label_names, dataset)
    output_dir = output_folder(settings)
    with opened_folder(output_dir, "dd-eval"):
        writer = PredictionWriter(output_dir, dataset) if settings.save_predictions else None
        every_image = range(len(dataset.ids))
        confusion = measure(segmentor, dataset, every_image, settings.tta, writer.add if writer else None)
        if writer:
            writer.finish()
        record = {
            "settings": asdict(settings),
            "protocol": segmentor.protocol(settings.tta),
            "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "versions": installed_versions(RECORDED_PACKAGES),
            "num_images": len(dataset.ids),
            "num_pixels": int(confusion.sum()),
            **metrics_record(confusion, dataset.label_names),
        }
        write_atomically(output_dir / "metrics.json", encode_json(record))
    _print_report(settings, dataset, confusion, output_dir, record["protocol"])
    return record


def measure(
    segmentor: Predictor,
    dataset: EvaluationDataset,
    indices: Sequence[int],
    tta: bool = False,
    on_prediction: Callable[[PredictedImage], None] | None = None,
) -> np.ndarray:
    """A segmentor's confusion matrix [C, C] int64 (rows: true labels) on a dataset's images at `indices`.

    The matrices of disjoint `indices` add up to the matrix of their union, so several processes can share the work.
    `on_prediction` is called with each image once it is predicted.
    """
    num_labels = len(dataset.label_names)
    confusion = np.zeros((num_labels, num_labels), dtype=np.int64)
    for item in predict_dataset(segmentor, dataset, indices, tta):
        confusion += confusion_matrix(item.labels, item.prediction, num_labels)
        if on_prediction:
            on_prediction(item)
    return confusion


def require_same_labels(checkpoint: Path, label_names: Sequence[str], dataset: EvaluationDataset) -> None:
    """Raise an InputError that names both and one difference unless segmentor and dataset have the same labels."""
    if tuple(label_names) == tuple(dataset.label_names):
        return
    ours, theirs = f"checkpoint={checkpoint}", f"dataset={dataset.name}"
    if len(label_names) != len(dataset.label_names):
        difference = f"{ours} has {len(label_names)} labels, but {theirs} has {len(dataset.label_names)}"
    else:
        pairs = zip(label_names, dataset.label_names, strict=True)
        label, (our_name, their_name) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        difference = f"label {label} is {our_name!r} in {ours}, but {their_name!r} in {theirs}"
    raise InputError(f"{difference}; evaluate on the classes that the checkpoint was trained on")


def output_folder(settings: EvaluateSettings) -> Path:
    """`settings.output_dir`, or a folder next to the checkpoint, named after the dataset and the protocol.

    The name includes every unusual choice, so that two evaluations of a checkpoint do not overwrite each other.
    """
    if settings.output_dir:
        return Path(settings.output_dir)
    dataset = settings.dataset
    name = Path(str(settings.data_root)).resolve().name if dataset.name == "folder" else dataset.name
    parts = [
        *([dataset.split] if dataset.split != USUAL_SPLIT else []),
        *(setting for setting in (settings.test_scale, settings.test_mode) if setting != TRAINED),
        *(["tta"] if settings.tta else []),
    ]
    return Path(settings.checkpoint).parent / "_".join(["eval", name, *parts])


def evenly_spaced(length: int, count: int) -> set[int]:
    """At most `count` distinct indices into a sequence of `length` items, from the first to the last."""
    return {int(index) for index in np.linspace(0, length - 1, min(count, length)).round()}


def _print_report(
    settings: EvaluateSettings,
    dataset: EvaluationDataset,
    confusion: np.ndarray,
    output_dir: Path,
    protocol: dict[str, Any],
) -> None:
    print(f"{settings.checkpoint} on {dataset.name}, {len(dataset.ids)} images, {_phrase(protocol)}; in percent\n")
    print(format_table(confusion, dataset.label_names))
    print()
    print(format_worst_confusions(confusion, dataset.label_names))
    written = ["metrics.json", *(["overlay.png", "predictions/"] if settings.save_predictions else [])]
    print(f"\nwrote {', '.join(str(output_dir / name) for name in written)}")


def _phrase(protocol: dict[str, Any]) -> str:
    """A few words that tell one protocol from another."""
    if "tta_scales" in protocol:
        size = f"{len(protocol['tta_scales'])} scales of the image's size, each also mirrored"
    elif protocol["test_scale"] == OWN_SIZE:
        size = "at their own size"
    else:
        size = "fitted into {} x {}".format(*protocol["test_scale"])
    return size if protocol["test_mode"] == "whole" else f"{size}, in windows of {protocol['window']}"
