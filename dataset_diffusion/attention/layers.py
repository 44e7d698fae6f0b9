"""Which attention layers of a model are recorded, and at which resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import AttentionSettings

LEAST_CROSS_RESOLUTION = 16
"""A quarter of a small model's latent would be too coarse to place an object."""
POOLED_SELF_RESOLUTION = 32
"""Transformers have one resolution, 64 for images of 1024; the paper's self-attention has 32 (arXiv 2309.14303)."""


@dataclass(frozen=True)
class AttentionLayer:
    """An attention layer: its dotted name in the model, the kind that is recorded, and its map's (height, width).

    A layer of joint attention, where image and text attend to each other, is listed twice: once for what the image
    attends to in the text (`is_cross`), and once for what it attends to in itself. `grid` is the height and width of
    its image positions where that differs from `size`; its self-attention is then pooled to `size`.
    """

    name: str
    is_cross: bool
    size: tuple[int, int]
    grid: tuple[int, int] | None = None

    @property
    def resolution(self) -> int:
        """The side of a square map; the shorter side of any other."""
        return min(self.size)


def find_attention_layers(unet: UNet2DConditionModel, latent_size: tuple[int, int]) -> tuple[AttentionLayer, ...]:
    """List the self- and cross-attention layers of a diffusers UNet that is given latents of `latent_size` (h, w).

    Map sizes depend on how the model rounds odd sizes, so they are observed in a forward pass of the same
    architecture without weights (on torch's meta device: no memory, a fraction of a second).
    """
    with torch.device("meta"), torch.no_grad():
        skeleton = type(unet).from_config(unet.config)
        sizes: dict[str, tuple[int, int]] = {}
        for name, module in skeleton.named_modules():
            if isinstance(module, Transformer2DModel):
                module.register_forward_pre_hook(partial(_observe_size, sizes, name))
        latents = torch.empty(1, unet.config.in_channels, *latent_size)
        text = torch.empty(1, 1, unet.config.cross_attention_dim)
        skeleton(latents, torch.zeros(()), encoder_hidden_states=text, added_cond_kwargs=_added_conditions(unet))
    return tuple(
        AttentionLayer(name, module.is_cross_attention, sizes[name.partition(".transformer_blocks.")[0]])
        for name, module in skeleton.named_modules()
        if isinstance(module, Attention) and name.endswith((".attn1", ".attn2"))
    )


def _added_conditions(unet: UNet2DConditionModel) -> dict[str, torch.Tensor] | None:
    """SDXL's UNet also takes the pooled text and six sizes of the image. Small models have other dimensions."""
    if unet.config.addition_embed_type != "text_time":
        return None
    sizes = 6
    width = unet.config.projection_class_embeddings_input_dim - sizes * unet.config.addition_time_embed_dim
    return {"text_embeds": torch.empty(1, width), "time_ids": torch.empty(1, sizes)}


def _observe_size(sizes: dict[str, tuple[int, int]], name: str, _module: nn.Module, args: tuple[Any, ...]) -> None:
    height, width = args[0].shape[-2:]
    sizes[name] = (height, width)


def select_layers(
    layers: Sequence[AttentionLayer], settings: AttentionSettings, latent_size: tuple[int, int]
) -> tuple[AttentionLayer, ...]:
    """Keep the layers that the settings ask for: one resolution for cross-attention, and one for self-attention.

    Where the settings leave it open, the available resolution nearest to a target is used: for cross-attention a
    quarter of the latent's side, but at least 16; for self-attention half of it. For 64 x 64 latents these are 16 and
    32, as in the paper. Raises InputError if the model has no attention at a resolution that the settings name.
    """
    side = min(latent_size)
    cross = [layer for layer in layers if layer.is_cross]
    self_attention = [layer for layer in layers if not layer.is_cross]
    return (
        *_at_resolution(cross, "cross_resolution", settings.cross_resolution, max(side / 4, LEAST_CROSS_RESOLUTION)),
        *_at_resolution(self_attention, "self_resolution", settings.self_resolution, side / 2),
    )


def _at_resolution(
    layers: Sequence[AttentionLayer], setting: str, wanted: int | None, default: float
) -> list[AttentionLayer]:
    available = sorted({layer.resolution for layer in layers}, reverse=True)
    if wanted is not None and wanted not in available:
        raise _no_such_resolution(setting, wanted, available)
    resolution = wanted or min(available, key=lambda side: abs(side - default))
    return [layer for layer in layers if layer.resolution == resolution]


def joint_layers(
    names: Sequence[str], grid: tuple[int, int], settings: AttentionSettings
) -> tuple[AttentionLayer, ...]:
    """The layers of a transformer whose joint attention modules `names` have image positions in a `grid` (h, w).

    Cross-attention has the grid's resolution. Self-attention is pooled to the resolution that the settings name, or to
    the one nearest to 32. Raises InputError for a resolution that the grid cannot be pooled to.
    """
    side = min(grid)
    if settings.cross_resolution not in (None, side):
        raise _no_such_resolution("cross_resolution", settings.cross_resolution, [side])
    factors = [factor for factor in range(1, side + 1) if grid[0] % factor == grid[1] % factor == 0]
    wanted = settings.self_resolution
    if wanted is not None and wanted not in {side // factor for factor in factors}:
        raise _no_such_resolution("self_resolution", wanted, [side // factor for factor in factors])
    target = wanted or POOLED_SELF_RESOLUTION
    factor = min(factors, key=lambda factor: abs(side // factor - target))
    pooled = (grid[0] // factor, grid[1] // factor)
    return (
        *(AttentionLayer(name, True, grid) for name in names),
        *(AttentionLayer(name, False, pooled, grid) for name in names),
    )


def _no_such_resolution(setting: str, wanted: int | None, available: Sequence[int]) -> InputError:
    at = ", ".join(map(str, available))
    return InputError(f"attention.{setting}={wanted}: this model has attention at {at}; name one of them, or null")
