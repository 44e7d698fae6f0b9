"""Why a power helps or harms: how much of the self-attention stays on an object, by the object's size.

A power spreads evidence along the self-attention. Evidence that leaves the object lands on something else, so a power
can only help as long as most of it stays. Real models have 4 to 16 times the toy model's positions, and so do objects
in them: objects of several sizes, on two grids, show what that changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from dataset_diffusion.attention.aggregate import exponentiate
from dataset_diffusion.masks import label_mask
from scripts.reproduction.archive import COARSE, FINE
from scripts.reproduction.recipe import ArchivedImage, Recipe, make_scores
from scripts.reproduction.statistics import Interval, interval

POWER_ROWS = {1: "reference", 2: "power 2", 4: "power 4", 8: "power 8"}
"""Powers, and the rows that use them."""
POWERS = tuple(POWER_ROWS)
SIZE_GROUPS = 4
"""Number of groups of objects, equal in count, from the smallest objects to the largest."""
POSITION_SHARE = 0.5
"""The share of a position's pixels that must belong to an object for the position to be the object's."""


@dataclass(frozen=True)
class ObjectFigures:
    """The figures of a class in a scene. `size` is its area in positions of the fine grid; `fine` and `coarse` are the
    shares of these grids' self-attention that stay on it at each of POWERS, in 0 ... 1, empty if it has no position;
    `iou` is the IoU of its mask at each of POWERS.
    """

    size: float
    fine: list[float]
    coarse: list[float]
    iou: list[float]


@dataclass(frozen=True)
class SizeGroup:
    """Means over objects of about the same size, between `smallest` and `largest` positions of the fine grid.

    `num_coarse` of the `num_objects` have a position of the coarse grid. `chance` is their share of the image: the
    share that would stay on them if all positions attended equally to all.
    """

    smallest: float
    largest: float
    num_objects: int
    num_coarse: int
    chance: float
    fine: list[Interval]
    coarse: list[Interval]
    iou: list[Interval]


def staying_shares(self_attention: np.ndarray, object_share: np.ndarray, powers: Sequence[int]) -> list[float]:
    """The share of the self-attention of an object's positions that is still on it after each number of steps.

    `self_attention` is [N, N]; `object_share` [h, w] is the share of each position's pixels that belong to the object,
    with N = h * w. Start evenly on the object's positions, walk `power` steps with the matrix whose rows are normalised
    to sum to 1, and sum what is on the object: m^T A^power m / m^T m. Empty if no position is the object's.
    """
    on_object = torch.from_numpy((object_share.ravel() >= POSITION_SHARE).astype(np.float32))
    if not on_object.any():
        return []
    steps = torch.from_numpy(self_attention / self_attention.sum(axis=1, keepdims=True))
    reached = [exponentiate(steps, on_object[None], power)[0] for power in powers]
    return [float(on_object @ ends / on_object.sum()) for ends in reached]


def object_figures(scene: ArchivedImage, thresholds: Mapping[int, float]) -> Iterator[ObjectFigures]:
    """The figures of each class of a rendered scene; `thresholds` are the reference's at each of POWERS."""
    assert scene.labels is not None  # a rendered scene has them
    labels = {
        power: label_mask(make_scores(scene, Recipe(power=power)), thresholds[power], thresholds[power]).labels
        for power in POWERS
    }
    attention = {side: scene.attention.mean(scene.attention.self_attention[side]) for side in (FINE, COARSE)}
    for class_id in scene.class_ids:
        exact = scene.labels == class_id
        shares = {side: _share_of_positions(exact, side) for side in (FINE, COARSE)}
        fine, coarse = (staying_shares(attention[side], shares[side], POWERS) for side in (FINE, COARSE))
        found = [labels[power] == class_id for power in POWERS]
        iou = [float((mask & exact).sum() / (mask | exact).sum()) for mask in found]
        yield ObjectFigures(float(exact.mean() * FINE**2), fine, coarse, iou)


def group_by_size(objects: Sequence[ObjectFigures]) -> list[SizeGroup]:
    """The objects in SIZE_GROUPS groups, with 95% intervals of the means; needs at least SIZE_GROUPS objects."""
    ordered = sorted(objects, key=lambda item: item.size)
    bounds = [len(ordered) * group // SIZE_GROUPS for group in range(SIZE_GROUPS + 1)]
    return [_size_group(ordered[start:end]) for start, end in pairwise(bounds)]


def _size_group(objects: Sequence[ObjectFigures]) -> SizeGroup:
    return SizeGroup(
        smallest=objects[0].size,
        largest=objects[-1].size,
        num_objects=len(objects),
        num_coarse=sum(bool(item.coarse) for item in objects),
        chance=float(np.mean([item.size for item in objects])) / FINE**2,
        fine=_means([item.fine for item in objects]),
        coarse=_means([item.coarse for item in objects]),
        iou=_means([item.iou for item in objects]),
    )


def _means(values: Sequence[Sequence[float]]) -> list[Interval]:
    """The mean at each power, over the objects that have values."""
    return [interval(column) for column in zip(*filter(None, values), strict=True)]


def _share_of_positions(mask: np.ndarray, side: int) -> np.ndarray:
    """The mean of a mask [H, W] in each position of a grid [side, side]; H and W are multiples of `side`."""
    height, width = mask.shape
    return mask.reshape(side, height // side, side, width // side).mean(axis=(1, 3))
