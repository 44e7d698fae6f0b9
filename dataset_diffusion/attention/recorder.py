"""Record attention while a Stable Diffusion UNet runs. The only code that hooks a model.

The paper calls it class-prompt cross-attention: keys come from the class words alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import AttentionSettings
from dataset_diffusion.types import AttentionMaps

LEAST_CROSS_RESOLUTION = 16
"""A quarter of a small model's latent would be too coarse to place an object."""


@dataclass(frozen=True)
class AttentionLayer:
    """An attention layer of a UNet: its dotted name, its kind, and the (height, width) of its map."""

    name: str
    is_cross: bool
    size: tuple[int, int]

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
        skeleton(latents, torch.zeros(()), encoder_hidden_states=text)
    return tuple(
        AttentionLayer(name, module.is_cross_attention, sizes[name.partition(".transformer_blocks.")[0]])
        for name, module in skeleton.named_modules()
        if isinstance(module, Attention) and name.endswith((".attn1", ".attn2"))
    )


def _observe_size(sizes: dict[str, tuple[int, int]], name: str, _module: nn.Module, args: tuple[Any, ...]) -> None:
    height, width = args[0].shape[-2:]
    sizes[name] = (height, width)


def select_layers(
    layers: Sequence[AttentionLayer], settings: AttentionSettings, latent_size: tuple[int, int]
) -> tuple[AttentionLayer, ...]:
    """Keep the layers that the settings ask for: one resolution for cross-attention, and one for self-attention.

    Where the settings leave it open, it is the one nearest to a quarter of the latent's side, but at least 16, for
    cross-attention, and to half of it for self-attention: 16 and 32 for 64 x 64 latents, as in the paper. Raises
    InputError if the model has no attention at a resolution that the settings name.
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
        at = ", ".join(map(str, available))
        raise InputError(f"attention.{setting}={wanted}: this model has attention at {at}; name one of them, or null")
    resolution = wanted or min(available, key=lambda side: abs(side - default))
    return [layer for layer in layers if layer.resolution == resolution]


class AttentionRecorder:
    """Within its `with` block, average the attention of `layers` of a UNet over heads, layers and UNet calls.

    `class_embeddings` [B, T, C] are the encoded class prompts, one for each sample of the batch. The image queries of
    the conditional half are matched with their keys, which never reaches the image: what the UNet computes is the same
    to the bit. With classifier-free guidance the UNet's batch is the unconditional half followed by the conditional
    one (2B); without it there is only the latter (B).

    All self-attention layers given must have one size, and so must all cross-attention layers. Memory is one float32
    sum for each kind, [B, N, N] and [B, N, T], whatever the number of steps, and the scores of one head.
    """

    def __init__(self, unet: nn.Module, layers: Sequence[AttentionLayer], class_embeddings: Tensor) -> None:
        self._class_embeddings = class_embeddings
        self._modules = [(unet.get_submodule(layer.name), layer.is_cross) for layer in layers]
        batch, tokens, _ = class_embeddings.shape
        self._cross_size = _common_size([layer for layer in layers if layer.is_cross])
        cross_positions = self._cross_size[0] * self._cross_size[1]
        self._cross = _RunningMean((batch, cross_positions, tokens), class_embeddings.device)
        height, width = _common_size([layer for layer in layers if not layer.is_cross])
        self._self = _RunningMean((batch, height * width, height * width), class_embeddings.device)
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for module, is_cross in self._modules:
            hook = self._record_cross if is_cross else self._record_self
            self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def maps(self) -> list[AttentionMaps]:
        """The means so far, one AttentionMaps for each sample of the batch, on the model's device."""
        cross = self._cross.mean().transpose(1, 2).unflatten(2, self._cross_size).contiguous()
        return [AttentionMaps(*pair) for pair in zip(cross, self._self.mean(), strict=True)]

    def _record_self(self, layer: Attention, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Tensor) -> None:
        hidden = self._conditional_half(args, kwargs)
        self._self.add(layer, hidden, hidden)

    def _record_cross(self, layer: Attention, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Tensor) -> None:
        self._cross.add(layer, self._conditional_half(args, kwargs), self._class_embeddings)

    def _conditional_half(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        hidden = args[0] if args else kwargs["hidden_states"]
        batch = len(self._class_embeddings)
        if len(hidden) not in (batch, 2 * batch):
            raise ValueError(f"the UNet ran a batch of {len(hidden)}, but there are {batch} class prompts")
        return hidden[-batch:]


class _RunningMean:
    """The mean of attention probabilities over heads and calls; sums in float32 and divides last."""

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self._sum = torch.zeros(shape, dtype=torch.float32, device=device)
        self._count = 0

    @torch.no_grad()
    def add(self, layer: Attention, hidden: Tensor, context: Tensor) -> None:
        """Add the probabilities of every head of `layer`; queries come from `hidden`, keys from `context`."""
        query, key = queries_and_keys(layer, hidden, context)
        for head in range(layer.heads):  # one head at a time: all of them at once would take `heads` times the memory
            self._sum += attention_probabilities(query[:, head], key[:, head], layer.scale)
        self._count += layer.heads

    def mean(self) -> Tensor:
        if self._count == 0:
            raise RuntimeError("no attention was recorded: the UNet has not run inside the recorder's `with` block")
        return self._sum / self._count


def queries_and_keys(layer: Attention, hidden: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Project as the layer itself does, in its own dtype.

    `hidden` [B, N, C] gives queries [B, heads, N, d]; `context` [B, T, C'], for self-attention `hidden` itself, gives
    keys [B, heads, T, d].
    """
    is_self = context is hidden
    if layer.group_norm is not None:
        hidden = layer.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
    if is_self:
        context = hidden
    elif layer.norm_cross is not None:
        context = layer.norm_encoder_hidden_states(context)
    query = layer.head_to_batch_dim(layer.to_q(hidden), out_dim=4)
    key = layer.head_to_batch_dim(layer.to_k(context), out_dim=4)
    if layer.norm_q is not None:
        query = layer.norm_q(query)
    if layer.norm_k is not None:
        key = layer.norm_k(key)
    return query, key


def attention_probabilities(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """`softmax(scale * query @ key^T)` in float32 whatever the dtype: [B, N, d], [B, T, d] -> [B, N, T].

    Stable Diffusion 2's scores overflow float16, and sums of hundreds of bfloat16 probabilities would lose theirs.
    """
    scores = query.float() @ key.float().transpose(1, 2)
    return torch.softmax(scores * scale, dim=-1)


def _common_size(layers: Sequence[AttentionLayer]) -> tuple[int, int]:
    sizes = {layer.size for layer in layers}
    if len(sizes) != 1:
        raise ValueError(f"the layers of a kind must have one map size, have {sorted(sizes)}")
    return sizes.pop()
