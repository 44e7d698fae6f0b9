"""An evaluation as text for people, and as JSON for programs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dataset_diffusion.metrics import SegmentationMetrics, segmentation_metrics, worst_confusions

NUM_WORST_CONFUSIONS = 10
ABSENT = "absent"


def format_table(confusion: np.ndarray, label_names: Sequence[str]) -> str:
    """The metrics of a confusion matrix [C, C] as an aligned table, one line per label, in percent.

    Labels that occur neither in the truth nor in the prediction are shown as absent and left out of the means.
    """
    metrics = segmentation_metrics(confusion)
    true = confusion.sum(axis=1)
    true_share = true / max(int(true.sum()), 1)
    rows = [("class", "IoU", "accuracy", "of all pixels")]
    rows += [
        (name, _percent(iou), _percent(accuracy), _percent(share))
        for name, iou, accuracy, share in zip(label_names, metrics.iou, metrics.accuracy, true_share, strict=True)
    ]
    rows.append(("mean", _percent(metrics.miou), _percent(metrics.mean_accuracy), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = "-" * len(lines[0])
    lines = [line.rstrip() for line in (lines[0], rule, *lines[1:-1], rule, lines[-1])]
    return "\n".join([*lines, "", _summary(metrics)])


def format_worst_confusions(confusion: np.ndarray, label_names: Sequence[str]) -> str:
    """The most frequent mistakes, one per line: what share of a label's pixels was taken for which other label."""
    worst = worst_confusions(confusion, NUM_WORST_CONFUSIONS)
    if not worst:
        return "no pixel was misclassified"
    names = [(label_names[entry.true_label], label_names[entry.predicted_label]) for entry in worst]
    width = max(len(true) for true, _ in names)
    lines = [
        f"  {true.ljust(width)}  {_percent(entry.share):>5} % of its pixels taken for {predicted}"
        for entry, (true, predicted) in zip(worst, names, strict=True)
    ]
    return "\n".join(["worst confusions:", *lines])


def metrics_record(confusion: np.ndarray, label_names: Sequence[str]) -> dict[str, Any]:
    """The metrics of a confusion matrix [C, C] as JSON values: fractions in [0, 1], None where a label is absent.

    `confusion_matrix` has the counts that the metrics are computed from; rows are true labels, columns predicted ones.
    """
    metrics = segmentation_metrics(confusion)
    return {
        "miou": _number(metrics.miou),
        "pixel_accuracy": _number(metrics.pixel_accuracy),
        "mean_accuracy": _number(metrics.mean_accuracy),
        "iou": {name: _number(iou) for name, iou in zip(label_names, metrics.iou, strict=True)},
        "accuracy": {name: _number(accuracy) for name, accuracy in zip(label_names, metrics.accuracy, strict=True)},
        "confusion_matrix": confusion.tolist(),
    }


def _summary(metrics: SegmentationMetrics) -> str:
    present = int(np.count_nonzero(~np.isnan(metrics.iou)))
    return (
        f"mIoU {_percent(metrics.miou)} over {present} of {len(metrics.iou)} labels, "
        f"pixel accuracy {_percent(metrics.pixel_accuracy)}, mean accuracy {_percent(metrics.mean_accuracy)}"
    )


def _percent(fraction: float) -> str:
    return ABSENT if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
