"""Masks made from recorded attention, compared with exact ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dataset_diffusion.attention.aggregate import class_evidence, exponentiate, map_size
from dataset_diffusion.calibration.recording import RecordedImage
from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.metrics import SegmentationMetrics, confusion_matrix, segmentation_metrics
from dataset_diffusion.settings.generate import MaskSettings
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX, ClassScores

LabelledScores = tuple[np.ndarray, ClassScores]
"""An image's exact labels [H, W] uint8, and the scores of the classes in it."""


@dataclass(frozen=True)
class MaskQuality:
    """`metrics` over all labels, on the pixels that the masks label; `share_ignored` is the share that they do not.

    `metrics.pixel_accuracy` is the accuracy on the pixels that are kept. Pixels without an exact label (255) are not
    counted.
    """

    metrics: SegmentationMetrics
    share_ignored: float


def score(recorded: Iterable[RecordedImage], power: int) -> list[LabelledScores]:
    """The class scores of recorded images, as dd-generate computes them with attention.power set to `power`."""
    labelled = []
    for item in recorded:
        evidence = class_evidence(item.attention, item.spans, power)
        labelled.append((item.labels, class_scores(evidence, item.class_ids, item.labels.shape)))
    return labelled


def attention_on_objects(recorded: Iterable[RecordedImage], power: int) -> float:
    """How much of the self-attention, raised to a power, of positions within a class stays on it: a share in [0, 1].

    It shows how high the power can go: where the share approaches the class's share of the area, evidence is spread
    over the whole image. Only positions whose pixels all have the same class label are counted. Images must have a
    whole number of pixels for each position.
    """
    shares = []
    for item in recorded:
        attention = item.attention.self_attention
        height, width = map_size(len(attention), aspect=item.labels.shape[0] / item.labels.shape[1])
        rows, columns = item.labels.shape[0] // height, item.labels.shape[1] // width
        cells = item.labels.reshape(height, rows, width, columns).swapaxes(1, 2).reshape(height * width, -1)
        labels = cells[:, 0]
        within = (cells == labels[:, None]).all(axis=1) & (labels != BACKGROUND) & (labels != IGNORE_INDEX)
        same_label = torch.from_numpy((labels[:, None] == labels[within][None]).astype(np.float32))
        staying = exponentiate(attention.cpu(), same_label.T, power)  # [positions within, N]: what arrives from each
        shares += staying[np.arange(within.sum()), np.flatnonzero(within)].tolist()
    return float(np.mean(shares))


def mask_quality(
    labelled: Iterable[LabelledScores], masks: Sequence[MaskSettings], num_labels: int
) -> list[MaskQuality]:
    """The quality of the masks that each of several settings makes from the same scores."""
    made = (
        (exact, [label_mask(scores, each.threshold, each.uncertainty_threshold).labels for each in masks])
        for exact, scores in labelled
    )
    return label_quality(made, len(masks), num_labels)


def label_quality(
    made: Iterable[tuple[np.ndarray, Sequence[np.ndarray]]], num_masks: int, num_labels: int
) -> list[MaskQuality]:
    """The quality of `num_masks` ways to label images; `made` has each image's exact labels [H, W] and made ones."""
    confusions = np.zeros((num_masks, num_labels, num_labels), np.int64)
    num_ignored = np.zeros(num_masks, np.int64)
    num_pixels = 0
    for exact_labels, made_labels in made:
        exact = exact_labels != IGNORE_INDEX
        num_pixels += int(exact.sum())
        for index, labels in enumerate(made_labels):
            kept = exact & (labels != IGNORE_INDEX)
            confusions[index] += confusion_matrix(exact_labels[kept], labels[kept], num_labels)
            num_ignored[index] += int((exact & ~kept).sum())
    return [
        MaskQuality(segmentation_metrics(confusion), int(ignored) / max(1, num_pixels))
        for confusion, ignored in zip(confusions, num_ignored, strict=True)
    ]
