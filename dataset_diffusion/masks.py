"""From evidence to scores to a label mask: pure functions (the paper's uncertainty regions)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dataset_diffusion.tensors import resize
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX, ClassScores, LabelMask

FLAT = 1e-5
"""A map whose range is below this share of its largest value is rounding noise of a constant one (float32)."""


def class_scores(evidence: Tensor, class_ids: Sequence[int], image_size: tuple[int, int]) -> ClassScores:
    """Normalise the evidence of each class to [0, 1] over the image, then resize it to the image.

    `evidence` [K, h, w], float, row k belonging to `class_ids[k]`; `image_size` is (H, W). The order of the two is the
    paper's. Bicubic resizing overshoots: below 0 it is clamped; above 1 it is kept, because there classes are compared.
    """
    if len(evidence) != len(class_ids):
        raise ValueError(f"{len(evidence)} rows of evidence for {len(class_ids)} classes")
    scores = resize(min_max(evidence.float()), image_size).clamp(min=0)
    return ClassScores(scores=scores, class_ids=tuple(class_ids))


def min_max(maps: Tensor) -> Tensor:
    """Map each of [K, h, w] linearly to [0, 1]; a flat one, which says nothing about where its class is, to zeros."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    is_flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
    return torch.where(is_flat, 0, (maps - low) / torch.where(is_flat, 1, high - low))


def label_mask(scores: ClassScores, threshold: float, uncertainty_threshold: float) -> LabelMask:
    """Give each pixel a label by its best score; of equal scores the earlier class wins.

    The class where the score is >= `threshold`, background where it is < `uncertainty_threshold`, ignored in between;
    expects 0 <= uncertainty_threshold <= threshold <= 1. Without classes everything is background.
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
    """The mean of float32 values, rounded only once; 0 of nothing."""
    return float(values.mean(dtype=np.float64)) if values.size else 0.0
