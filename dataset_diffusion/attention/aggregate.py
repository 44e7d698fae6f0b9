"""Pure tensor functions that turn attention maps into evidence for each class.

The paper calls this self-attention exponentiation.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dataset_diffusion.tensors import resize
from dataset_diffusion.types import AttentionMaps


def class_evidence(maps: AttentionMaps, spans: Sequence[Sequence[int]], power: int) -> Tensor:
    """How strongly each image position belongs to each class: `A_S ** power @ a_c`.

    `spans` holds, for each of the K classes, the positions of its tokens in the class prompt. Returns [K, h, w]
    float32, not normalised, >= 0 up to the small overshoot of bicubic resizing. It has the resolution of the
    self-attention. With power 0, the classes' cross-attention is returned unchanged, at its own resolution.
    """
    evidence = class_attention(maps.cross, spans)
    if power == 0 or not spans:
        return evidence
    height, width = map_size(maps.self_attention.shape[0], aspect=evidence.shape[1] / evidence.shape[2])
    evidence = _resized(evidence, (height, width))
    return exponentiate(maps.self_attention, evidence.flatten(1), power).unflatten(1, (height, width))


def evidence_at_powers(maps: AttentionMaps, spans: Sequence[Sequence[int]], powers: Sequence[int]) -> list[Tensor]:
    """`class_evidence` at several powers, in ascending order, all at the resolution of the self-attention."""
    evidence = class_attention(maps.cross, spans)
    size = map_size(maps.self_attention.shape[0], aspect=evidence.shape[1] / evidence.shape[2])
    flat = _resized(evidence, size).flatten(1)
    found, reached = [], 0
    for power in powers:
        flat = exponentiate(maps.self_attention, flat, power - reached)
        reached = power
        found.append(flat.unflatten(1, size))
    return found


def _resized(evidence: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bicubically, as in the paper. Evidence that is finer by whole factors is averaged: nothing is skipped."""
    if evidence.shape[1] > size[0] and evidence.shape[1] % size[0] == evidence.shape[2] % size[1] == 0:
        return F.adaptive_avg_pool2d(evidence, size)
    return resize(evidence, size)


def class_attention(cross: Tensor, spans: Sequence[Sequence[int]]) -> Tensor:
    """Average the columns of each class's tokens: cross-attention [T, h, w] -> [K, h, w]."""
    if not spans:
        return cross.new_zeros((0, *cross.shape[1:]))
    return torch.stack([cross[list(span)].mean(dim=0) for span in spans])


def exponentiate(self_attention: Tensor, class_maps: Tensor, power: int) -> Tensor:
    """Spread each class's evidence to positions that look similar: `self_attention ** power @ map`.

    Row i of `self_attention` [N, N] is what position i attends to. Takes `class_maps` [K, N] and returns [K, N]. The
    matrix power is never formed: `power` products with K vectors are cheaper by a factor of N / K.
    """
    for _ in range(power):
        class_maps = class_maps @ self_attention.T
    return class_maps


def map_size(num_positions: int, aspect: float) -> tuple[int, int]:
    """The height and width of a map of `num_positions` whose height / width is nearest to `aspect`."""
    heights = [height for height in range(1, num_positions + 1) if num_positions % height == 0]
    height = min(heights, key=lambda height: abs(height**2 / num_positions - aspect))
    return height, num_positions // height
