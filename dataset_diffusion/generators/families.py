"""The families of models that can be used, by the pipeline's class in their model_index.json."""

from dataset_diffusion.generators.family import Family
from dataset_diffusion.generators.stable_diffusion import StableDiffusion

FAMILIES: dict[str, type[Family]] = {family.pipeline: family for family in (StableDiffusion,)}


def describe_families() -> str:
    """The pipelines that work, as an error message lists them."""
    return ", ".join(f"{name} ({family.title})" for name, family in FAMILIES.items())
