"""Pure functions from evidence to scores to a label mask (the paper's uncertainty regions)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dataset_diffusion.tensors import resize
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX, ClassScores, LabelMask

FLAT = 1e-5
"""A map whose range is below this share of its largest value is a constant map with rounding noise (float32)."""


def class_scores(evidence: Tensor, class_ids: Sequence[int], image_size: tuple[int, int]) -> ClassScores:
    """Normalise the evidence of each class to [0, 1] over the image, then resize it to the image.

    `evidence` [K, h, w] is float, and its row k belongs to `class_ids[k]`; `image_size` is (H, W). The order of the two
    steps is the paper's. Bicubic resizing overshoots: values below 0 are clamped; values above 1 are kept, because
    classes are compared there.
    """
    if len(evidence) != len(class_ids):
        raise ValueError(f"{len(evidence)} rows of evidence for {len(class_ids)} classes")
    scores = resize(min_max(evidence.float()), image_size).clamp(min=0)
    return ClassScores(scores=scores, class_ids=tuple(class_ids))


def min_max(maps: Tensor) -> Tensor:
    """Scale each map of [K, h, w] linearly to [0, 1]; a flat one, which does not tell where its class is, to zeros."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    is_flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
    return torch.where(is_flat, 0, (maps - low) / torch.where(is_flat, 1, high - low))


def label_mask(scores: ClassScores, threshold: float, uncertainty_threshold: float) -> LabelMask:
    """Give each pixel a label by its best score; if scores are equal, the earlier class wins.

    A pixel gets the class if the score is >= `threshold`, background if it is < `uncertainty_threshold`, and is ignored
    in between. Expects 0 <= uncertainty_threshold <= threshold <= 1. Without classes, everything is background.
    """
    values = scores.scores.cpu().numpy()
    if len(values) == 0:
        return LabelMask(np.full(values.shape[1:], BACKGROUND, np.uint8), class_ids=(), confidence=())
    best = values.max(axis=0)
    labels = np.array(scores.class_ids, np.uint8)[values.argmax(axis=0)]
    labels[best < threshold] = IGNORE_INDEX
    labels[best < uncertainty_threshold] = BACKGROUND
    confidence = tuple(
        mean_or_zero(class_values[labels == class_id].clip(max=1))
        for class_id, class_values in zip(scores.class_ids, values, strict=True)
    )
    return LabelMask(labels, scores.class_ids, confidence)


def mean_or_zero(values: np.ndarray) -> float:
    """The mean of float32 values, rounded only once; 0 if there are none."""
    return float(values.mean(dtype=np.float64)) if values.size else 0.0
