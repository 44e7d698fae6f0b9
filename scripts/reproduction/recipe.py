"""How the masks of a variant are made from archived attention."""

from dataclasses import dataclass

import numpy as np
import torch

from dataset_diffusion.attention.aggregate import class_evidence
from dataset_diffusion.masks import class_scores, min_max
from dataset_diffusion.tensors import resize
from dataset_diffusion.types import AttentionMaps, ClassScores
from scripts.reproduction.archive import CLASS_PROMPT, FINE, ArchivedAttention
from scripts.reproduction.guided_filter import refine_scores


@dataclass(frozen=True)
class Recipe:
    """Which of the attention is averaged, and what is made of it. The defaults are the reference's.

    `self_resolutions`: of several, each spreads the evidence, and the results are averaged. `layers` and `quarters` are
    those that are averaged (indices; None: all). `refined`: the scores follow the image's edges. `class_thresholds`:
    each class has its threshold.
    """

    text: str = CLASS_PROMPT
    cross_resolution: int = FINE
    self_resolutions: tuple[int, ...] = (FINE,)
    power: int = 1
    layers: tuple[int, ...] | None = None
    quarters: tuple[int, ...] | None = None
    refined: bool = False
    class_thresholds: bool = False


@dataclass(frozen=True)
class ArchivedImage:
    """An image [H, W, 3] uint8 with its archived attention; `labels` [H, W] is its exact mask, if known."""

    image: np.ndarray
    class_ids: tuple[int, ...]
    attention: ArchivedAttention
    labels: np.ndarray | None = None


def make_scores(item: ArchivedImage, recipe: Recipe) -> ClassScores:
    """The scores of an image's classes, by the functions that dd-generate uses."""
    size = item.image.shape[:2]
    cross = _mean(item.attention.cross[recipe.text, recipe.cross_resolution], recipe)
    spans = [(row,) for row in range(len(item.class_ids))]  # Archived cross-attention is that of whole classes.
    evidence = [
        class_evidence(AttentionMaps(cross, _mean(item.attention.self_attention[side], recipe)), spans, recipe.power)
        for side in recipe.self_resolutions
    ]
    if len(evidence) > 1:
        finest = max((e.shape[1:] for e in evidence), key=lambda shape: shape[0])
        evidence = [torch.stack([resize(min_max(e), (finest[0], finest[1])) for e in evidence]).mean(dim=0)]
    scores = class_scores(evidence[0], item.class_ids, (size[0], size[1]))
    if recipe.refined:
        scores = refine_scores(item.image, scores, evidence[0].shape[1])
    return scores


def shift_scores(scores: ClassScores, thresholds: np.ndarray, common: float) -> ClassScores:
    """Scores of which `common` is the threshold, where class k's was `thresholds[k]` (indexed by label)."""
    own = torch.tensor([float(thresholds[class_id]) for class_id in scores.class_ids])
    return ClassScores((scores.scores + (common - own)[:, None, None]).clamp(0, 1), scores.class_ids)


def _mean(values: np.ndarray, recipe: Recipe) -> torch.Tensor:
    """The mean over the chosen layers and quarters of [L, Q, ...]."""
    if recipe.layers is not None:
        values = values[list(recipe.layers)]
    if recipe.quarters is not None:
        values = values[:, list(recipe.quarters)]
    return torch.from_numpy(values.mean(axis=(0, 1)))
