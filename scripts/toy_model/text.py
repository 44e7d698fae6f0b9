"""The text encoder's output for the UNet in training."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from dataset_diffusion.toy.captions import CaptionStyle, write_caption
from scripts.toy_model.scenes import Description

EMPTY_CHANCE = 0.1
"""Classifier-free guidance needs a model that has seen the empty prompt (Ho & Salimans, arXiv 2207.12598)."""
STYLES: dict[CaptionStyle, float] = {"caption": 0.25, "appended": 0.6, "classes": 0.15}
OTHER_PADDING_CHANCE = 0.2


def tokenise(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids [B, T] int64, padded and cut to the tokenizer's length."""
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    return encoded.input_ids


def training_captions(descriptions: Sequence[Description], rng: random.Random) -> list[str]:
    """A caption for each scene, in a randomly drawn style, or the empty prompt."""
    return [
        ""
        if rng.random() < EMPTY_CHANCE
        else write_caption(*description, rng, rng.choices(list(STYLES), list(STYLES.values()))[0])
        for description in descriptions
    ]


def training_states(
    encoder: CLIPTextModel, token_ids: Tensor, empty_ids: Tensor, rng: random.Random, end_token: int
) -> Tensor:
    """Encode captions [B, T] to [B, T, C], without their content in the end and padding tokens.

    A causal text encoder puts the whole sentence into the end and padding tokens. The UNet would then read it there,
    and the words' own attention would localise nothing. So in training these states come from the empty prompt or, for
    one sample in five, from another caption, from its end token on.
    """
    states = encoder(token_ids)[0]
    is_padding = token_ids == end_token
    batch, length = token_ids.shape
    order = torch.tensor(rng.sample(range(batch), batch), device=token_ids.device)
    end = is_padding.int().argmax(dim=1)
    behind_end = (torch.arange(length, device=token_ids.device) - end[:, None]).clamp(min=0)
    source = (end[order][:, None] + behind_end).clamp(max=length - 1)
    others = states[order].gather(1, source[..., None].expand_as(states))
    empty = encoder(empty_ids)[0].expand_as(states)
    takes_other = torch.tensor([rng.random() < OTHER_PADDING_CHANCE for _ in range(batch)], device=token_ids.device)
    padding = torch.where(takes_other[:, None, None], others, empty)
    return torch.where(is_padding[..., None], padding, states)
