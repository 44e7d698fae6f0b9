"""Weight each layer by the similarity of its self-attention to one computed from the model's dense features.

This follows the second step of arXiv 2603.06178.
"""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dataset_diffusion.attention.layers import AttentionLayer
from dataset_diffusion.errors import InputError

TEMPERATURE = 0.1
"""Divides cosines of -1 to 1: without it, their softmax is nearly uniform and every layer equally similar to it."""
MOST_POSITIONS = 48 * 48
"""Limit for self-attention maps, of which one per layer is kept during a call: 20 MiB in float32 for each image."""


def feature_attention(states: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """What each position would attend to if the most similar features counted most: [B, N, C] -> [B, n, n] float32.

    `states` are the features at the N positions of a `grid` (h, w); they are averaged over n cells in `size` rows and
    columns. Their mean over the image, which is the same everywhere, is subtracted. Each row is the softmax of the
    cosines between the features.
    """
    features = states.float().transpose(1, 2).unflatten(2, grid)
    features = F.adaptive_avg_pool2d(features, size).flatten(2).transpose(1, 2)
    features = F.normalize(features - features.mean(dim=1, keepdim=True), dim=2)
    return (features @ features.transpose(1, 2) / TEMPERATURE).softmax(dim=2)


def similarity(self_attention: Tensor, reference: Tensor) -> Tensor:
    """The mean cosine between corresponding rows of two attention maps [B, n, n]: [B], in 0 to 1."""
    return F.cosine_similarity(self_attention, reference, dim=2).mean(dim=1)


def layer_weights(similarities: Mapping[str, Tensor], blocks: Iterable[str]) -> dict[str, Tensor]:
    """The layers' weights [B], keyed by block; they sum to 1 for each image."""
    chosen = {block: similarities[block] for block in blocks}
    total = torch.stack(list(chosen.values())).sum(dim=0)
    return {block: value / total for block, value in chosen.items()}


def block_of(name: str) -> str:
    """The block that an attention module is in; a block's cross- and self-attention share one weight."""
    return name.rpartition(".")[0]


def guides(layers: Iterable[AttentionLayer]) -> list[AttentionLayer]:
    """The self-attention layers, beyond those in `layers`, that are needed to weight the cross-attention layers.

    Raises InputError for maps that are too large to be kept for each layer.
    """
    layers = list(layers)
    selves = [layer for layer in layers if not layer.is_cross]
    known = {block_of(layer.name) for layer in selves}
    missing = [
        AttentionLayer(f"{block_of(layer.name)}.attn1", False, layer.size)
        for layer in layers
        if layer.is_cross and block_of(layer.name) not in known
    ]
    for name, group in (("self_resolution", selves), ("cross_resolution", missing)):
        if any(layer.size[0] * layer.size[1] > MOST_POSITIONS for layer in group):
            height, width = group[0].size
            raise InputError(
                f"attention.aggregation=weighted_layers: keeps the self-attention of each layer, which at "
                f"{height}x{width} is too large; choose a smaller attention.{name}, or weighted"
            )
    return missing
