"""The supported model families, by the class of their pipelines."""

from typing import Any

from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.family import Family
from dataset_diffusion.generators.flux import Flux
from dataset_diffusion.generators.sd3 import StableDiffusion3
from dataset_diffusion.generators.sdxl import StableDiffusionXL
from dataset_diffusion.generators.stable_diffusion import StableDiffusion
from dataset_diffusion.generators.z_image import ZImage
from dataset_diffusion.settings.generate import AttentionSettings

FAMILIES: dict[str, type[Family]] = {
    family.pipeline: family for family in (StableDiffusion, StableDiffusionXL, StableDiffusion3, Flux, ZImage)
}
"""Families by the text-to-image pipeline that a model's model_index.json names."""

RECORDABLE: dict[str, type[Family]] = FAMILIES | {
    name: family for family in FAMILIES.values() for name in family.other_pipelines
}
"""FAMILIES, plus the other pipelines of the same models, whose calls can be recorded."""


def family_of(pipe: Any, attention: AttentionSettings | None = None) -> Family:
    """The family of a pipeline, set up for that pipeline. Raises InputError if it belongs to none."""
    name = type(pipe).__name__
    if name not in RECORDABLE:
        raise InputError(f"a {name} cannot be recorded; these pipelines can: {', '.join(RECORDABLE)}")
    return RECORDABLE[name](pipe, attention)


def describe_families() -> str:
    """The supported pipelines, listed for an error message."""
    return ", ".join(f"{name} ({family.title})" for name, family in FAMILIES.items())
