"""How a variant's masks are made from archived attention."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from dataset_diffusion.attention.aggregate import class_evidence
from dataset_diffusion.masks import class_scores, label_mask, min_max
from dataset_diffusion.settings.generate import MaskSettings
from dataset_diffusion.tensors import resize
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX, AttentionMaps, ClassScores, LabelMask
from scripts.reproduction.archive import CLASS_PROMPT, FINE, ArchivedAttention
from scripts.reproduction.guided_filter import refine_scores


@dataclass(frozen=True)
class Recipe:
    """Which attention is averaged, and how masks are made from it. The defaults are the reference's.

    `self_resolutions`: if there are several, each spreads the evidence, and the results are averaged. `layers` and
    `quarters` select what is averaged (indices; None: all). `refined`: the scores follow the image's edges.
    `class_thresholds`: each class has its own threshold. With the text MORE_WORDS, pixels won by a class that was not
    requested are ignored; so are a class's connected regions smaller than `least_region`, a share of the image.
    """

    text: str = CLASS_PROMPT
    cross_resolution: int = FINE
    self_resolutions: tuple[int, ...] = (FINE,)
    power: int = 1
    layers: tuple[int, ...] | None = None
    quarters: tuple[int, ...] | None = None
    refined: bool = False
    class_thresholds: bool = False
    least_region: float = 0.0


@dataclass(frozen=True)
class ArchivedImage:
    """An image [H, W, 3] uint8 with its archived attention; `labels` [H, W] is its exact mask, if known."""

    image: np.ndarray
    class_ids: tuple[int, ...]
    attention: ArchivedAttention
    labels: np.ndarray | None = None


def make_scores(item: ArchivedImage, recipe: Recipe) -> ClassScores:
    """The scores of an image's classes, computed with the functions that dd-generate uses."""
    size = item.image.shape[:2]

    def mean(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(item.attention.mean(values, recipe.layers, recipe.quarters))

    cross = mean(item.attention.cross[recipe.text, recipe.cross_resolution])
    spans = [(row,) for row in range(len(cross))]  # Archived cross-attention is for whole classes.
    # Pixels won by a class that was not requested are labelled IGNORE_INDEX.
    class_ids = (*item.class_ids, *[IGNORE_INDEX] * (len(cross) - len(item.class_ids)))
    evidence = [
        class_evidence(AttentionMaps(cross, mean(item.attention.self_attention[side])), spans, recipe.power)
        for side in recipe.self_resolutions
    ]
    if len(evidence) > 1:
        finest = max((e.shape[1:] for e in evidence), key=lambda shape: shape[0])
        evidence = [torch.stack([resize(min_max(e), (finest[0], finest[1])) for e in evidence]).mean(dim=0)]
    scores = class_scores(evidence[0], class_ids, (size[0], size[1]))
    if recipe.refined:
        scores = refine_scores(item.image, scores, evidence[0].shape[1])
    return scores


def asked_alone(scores: ClassScores) -> ClassScores:
    """Only the scores of the requested classes."""
    num_asked = sum(class_id != IGNORE_INDEX for class_id in scores.class_ids)
    return ClassScores(scores.scores[:num_asked], scores.class_ids[:num_asked])


def make_mask(scores: ClassScores, recipe: Recipe, settings: MaskSettings) -> LabelMask:
    """The label mask for an image's scores, made with the function that dd-generate uses."""
    mask = label_mask(scores, settings.threshold, settings.uncertainty_threshold)
    return replace(mask, labels=ignore_small_regions(mask.labels, recipe.least_region))


def ignore_small_regions(labels: np.ndarray, least_share: float) -> np.ndarray:
    """Labels [H, W] uint8 in which a class's connected regions below `least_share` of the image are ignored."""
    kept = labels.copy()
    for class_id in set(np.unique(labels).tolist()) - {BACKGROUND, IGNORE_INDEX}:
        regions, _ = ndimage.label(labels == class_id)
        sizes = np.bincount(regions.ravel())
        kept[(regions > 0) & (sizes[regions] < least_share * labels.size)] = IGNORE_INDEX
    return kept


def shift_scores(scores: ClassScores, thresholds: np.ndarray, common: float) -> ClassScores:
    """Scores shifted so that `common` is the threshold where class k's was `thresholds[k]` (indexed by label)."""
    own = torch.tensor([float(thresholds[class_id]) for class_id in scores.class_ids])
    return ClassScores((scores.scores + (common - own)[:, None, None]).clamp(0, 1), scores.class_ids)
