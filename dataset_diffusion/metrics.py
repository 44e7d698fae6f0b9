"""Segmentation metrics from integer counts: count first, divide last.

Confusion matrices of disjoint sets of images add up to that of all images, so a result depends neither on the order of
the images nor on how they were batched or distributed over processes.
"""

from dataclasses import dataclass

import numpy as np

from dataset_diffusion.types import IGNORE_INDEX


@dataclass(frozen=True)
class SegmentationMetrics:
    """The metrics of a confusion matrix of C labels; fractions in [0, 1], float64.

    `iou` [C] is nan for a label that no pixel has, in neither the ground truth nor the prediction. `accuracy` [C] is
    nan for a label without a true pixel. The means leave the nans out, as mmseg's IoUMetric does; a label that is only
    ever predicted wrongly has IoU 0, and counts. `pixel_accuracy` is mmseg's aAcc, `mean_accuracy` its mAcc. With no
    pixels to count, all of them are nan.
    """

    iou: np.ndarray
    accuracy: np.ndarray
    miou: float
    mean_accuracy: float
    pixel_accuracy: float


@dataclass(frozen=True)
class Confusion:
    """A `share` in (0, 1] of the true pixels of label `true_label` was predicted as `predicted_label`."""

    true_label: int
    predicted_label: int
    share: float


def confusion_matrix(labels: np.ndarray, prediction: np.ndarray, num_labels: int) -> np.ndarray:
    """Count the pixels of each pair of true and predicted label.

    `labels` and `prediction` are uint8 arrays of the same shape; pixels whose true label is 255 are left out. Returns
    [C, C] int64 with C = num_labels; rows are true labels, columns predicted ones. Raises ValueError when the shapes
    differ or a label is out of range.
    """
    if labels.shape != prediction.shape:
        raise ValueError(f"labels of shape {labels.shape} but a prediction of shape {prediction.shape}")
    counted = labels != IGNORE_INDEX
    true, predicted = labels[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for what, values in (("true", true), ("predicted", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < num_labels:
            raise ValueError(f"a {what} label lies outside 0 ... {num_labels - 1}")
    counts = np.bincount(true * num_labels + predicted, minlength=num_labels**2)
    return counts.astype(np.int64).reshape(num_labels, num_labels)


def segmentation_metrics(confusion: np.ndarray) -> SegmentationMetrics:
    """Derive the metrics from a confusion matrix [C, C] of integers (rows: true labels)."""
    correct = np.diagonal(confusion)
    true = confusion.sum(axis=1)
    union = true + confusion.sum(axis=0) - correct
    iou = _divide(correct, union)
    accuracy = _divide(correct, true)
    return SegmentationMetrics(
        iou=iou,
        accuracy=accuracy,
        miou=_mean_of_present(iou),
        mean_accuracy=_mean_of_present(accuracy),
        pixel_accuracy=float(_divide(correct.sum(keepdims=True), true.sum(keepdims=True))[0]),
    )


def worst_confusions(confusion: np.ndarray, count: int) -> list[Confusion]:
    """The `count` pairs of different labels with the largest share of the true label's pixels, worst first.

    Ties are in the order of the labels; pairs that never occur are left out.
    """
    wrong = confusion.astype(np.float64)
    np.fill_diagonal(wrong, 0)
    shares = _divide(wrong, np.broadcast_to(confusion.sum(axis=1, keepdims=True), confusion.shape))
    shares = np.nan_to_num(shares)
    order = np.argsort(-shares, axis=None, kind="stable")[:count]
    pairs = [(int(flat) // len(confusion), int(flat) % len(confusion)) for flat in order]
    worst = [Confusion(true, predicted, float(shares[true, predicted])) for true, predicted in pairs]
    return [entry for entry in worst if entry.share > 0]


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient in float64, nan where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


def _mean_of_present(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
