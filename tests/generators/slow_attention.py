"""The oracle: attention computed slowly, in float64, from a module's inputs and its own weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Inputs = dict[str, Any]


@contextmanager
def observed(module: nn.Module) -> Iterator[list[Inputs]]:
    """The arguments of each call to a module."""
    calls: list[Inputs] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: Inputs) -> None:
        calls.append(({"hidden_states": args[0]} if args else {}) | kwargs)

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    yield calls
    handle.remove()


def project(linear: nn.Linear, states: Tensor, heads: int, norm: nn.Module | None) -> Tensor:
    """[B, N, C] -> [B, heads, N, d], with each head's vectors RMS-normalised by `norm`, if given."""
    bias = 0 if linear.bias is None else linear.bias.double()
    vectors = (states.double() @ linear.weight.double().T + bias).unflatten(2, (heads, -1)).transpose(1, 2)
    if norm is None:
        return vectors
    size = (vectors.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return vectors / size * norm.weight.double()


def rotate(vectors: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair of numbers of [B, heads, N, d] by angles [.., N, d / 2]."""
    first, second = vectors[..., 0::2], vectors[..., 1::2]
    turned = first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()
    return torch.stack(turned, dim=-1).flatten(-2)


def unet(module: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    image, text = inputs["hidden_states"], inputs.get("encoder_hidden_states")
    query = project(module.to_q, image, module.heads, None)
    return query, project(module.to_k, image if text is None else text, module.heads, None)


def sd3(module: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Image positions come before text."""
    image, text = inputs["hidden_states"], inputs["encoder_hidden_states"]
    query = project(module.to_q, image, module.heads, module.norm_q)
    key = project(module.to_k, image, module.heads, module.norm_k)
    query = torch.cat([query, project(module.add_q_proj, text, module.heads, module.norm_added_q)], dim=2)
    return query, torch.cat([key, project(module.add_k_proj, text, module.heads, module.norm_added_k)], dim=2)


def flux(module: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Text positions come before the image; `image_rotary_emb` holds cosines and sines, each number twice."""
    joined, text = inputs["hidden_states"], inputs.get("encoder_hidden_states")
    query = project(module.to_q, joined, module.heads, module.norm_q)
    key = project(module.to_k, joined, module.heads, module.norm_k)
    if text is not None:
        query = torch.cat([project(module.add_q_proj, text, module.heads, module.norm_added_q), query], dim=2)
        key = torch.cat([project(module.add_k_proj, text, module.heads, module.norm_added_k), key], dim=2)
    cosines, sines = inputs["image_rotary_emb"]
    angles = torch.atan2(sines.double(), cosines.double())[:, 0::2]
    return rotate(query, angles), rotate(key, angles)


def z_image(module: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """`freqs_cis` holds complex numbers of modulus 1."""
    joined = inputs["hidden_states"]
    angles = inputs["freqs_cis"].to(torch.complex128).angle()[:, None]
    query, key = (
        rotate(project(linear, joined, module.heads, norm), angles)
        for linear, norm in ((module.to_q, module.norm_q), (module.to_k, module.norm_k))
    )
    return query, key


QUERIES_AND_KEYS = {"sd": unet, "sdxl": unet, "sd3": sd3, "flux": flux, "z_image": z_image}


def mean_probabilities(
    family: str, module: Any, calls: Sequence[Inputs], rows: slice, image: slice, keys: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Per sample, the mean over calls and heads of the image's softmax over `keys`: [N, len(keys)]."""
    pairs = [QUERIES_AND_KEYS[family](module, call) for call in calls]
    found = []
    for sample, positions in enumerate(keys):
        maps = [
            (query[rows][sample, :, image] @ key[rows][sample][:, list(positions)].transpose(1, 2))
            .div(query.shape[-1] ** 0.5)
            .softmax(dim=-1)
            .mean(dim=0)
            for query, key in pairs
        ]
        found.append(torch.stack(maps).mean(dim=0))
    return found


def attention_inputs(block: Any, inputs: Inputs, text: Tensor) -> Inputs:
    """Inputs to the attention of a float64 SD3 or Flux block, given the image and `text` [B, T, C]."""
    image, time = (inputs[name][-len(text) :].double() for name in ("hidden_states", "temb"))
    rest = {"image_rotary_emb": inputs.get("image_rotary_emb")}
    if hasattr(block, "proj_mlp"):
        return {"hidden_states": block.norm(torch.cat([text, image], dim=1), emb=time)[0], **rest}
    is_last = getattr(block, "context_pre_only", False)
    normed = block.norm1_context(text, time) if is_last else block.norm1_context(text, emb=time)[0]
    return {"hidden_states": block.norm1(image, emb=time)[0], "encoder_hidden_states": normed, **rest}


def pass_text(family: str, block: Any, inputs: Inputs, text: Tensor) -> Tensor:
    """A float64 double block's output for a text [B, T, C] that attends only to itself and the image."""
    attention, given = block.attn, attention_inputs(block, inputs, text)
    query, key = QUERIES_AND_KEYS[family](attention, given)
    values = [
        project(attention.to_v, given["hidden_states"], attention.heads, None),
        project(attention.add_v_proj, given["encoder_hidden_states"], attention.heads, None),
    ]
    own = slice(0, text.shape[1]) if family == "flux" else slice(-text.shape[1], None)
    value = torch.cat(values[::-1] if family == "flux" else values, dim=2)
    seen = (query[:, :, own] @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=3) @ value
    _, gate, shift, scale, last_gate = block.norm1_context(text, emb=inputs["temb"][-len(text) :].double())
    text = text + gate[:, None] * attention.to_add_out(seen.transpose(1, 2).flatten(2))
    return text + last_gate[:, None] * block.ff_context(
        block.norm2_context(text) * (1 + scale[:, None]) + shift[:, None]
    )


def layer_weights(selves: Sequence[Tensor], states: Tensor, grid: tuple[int, int], cell: int) -> list[float]:
    """Weights, computed one by one, of layers with self-attention `selves` [n, n], from features [h * w, C] on `grid`.

    Features are averaged over `cell` x `cell` positions.
    """
    height, width = grid[0] // cell, grid[1] // cell
    lines = states.double().reshape(*grid, -1)
    features = [
        lines[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].flatten(0, 1).mean(dim=0)
        for row in range(height)
        for column in range(width)
    ]
    centre = sum(features) / len(features)
    features = [feature - centre for feature in features]

    def cosine(first: Tensor, second: Tensor) -> float:
        return float(first @ second / (first.norm() * second.norm()))

    rows = [torch.tensor([cosine(one, other) for other in features]).div(0.1).exp() for one in features]
    similarities = [
        sum(cosine(row.double() / row.double().sum(), own.double()) for row, own in zip(rows, map_, strict=True))
        for map_ in selves
    ]
    return [similarity / sum(similarities) for similarity in similarities]
