"""Stable Diffusion 1 and 2."""

from collections.abc import Mapping
from typing import Any, ClassVar

from dataset_diffusion.generators.unet import UNetFamily


class StableDiffusion(UNetFamily):
    """Stable Diffusion 1 and 2."""

    title = "Stable Diffusion 1 and 2"
    pipeline = "StableDiffusionPipeline"
    other_pipelines = ("StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline")
    # The safety checker's weights are a quarter of the download, and it would put black images into the dataset.
    load_options: ClassVar[Mapping[str, Any]] = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
