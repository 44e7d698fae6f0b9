"""Stable Diffusion XL, with its fast descendants Turbo, Lightning and Hyper-SD.

Its two text encoders' outputs are joined along the features, so that one position serves for both.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.attention.layers import AttentionLayer
from dataset_diffusion.generators.unet import UNetFamily
from dataset_diffusion.settings.generate import AttentionSettings, SamplerSettings


class StableDiffusionXL(UNetFamily):
    """Stable Diffusion XL."""

    title = "Stable Diffusion XL, Turbo, Lightning"
    pipeline = "StableDiffusionXLPipeline"
    other_pipelines = ("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline")

    def select(
        self, layers: Sequence[AttentionLayer], settings: AttentionSettings, latent_size: tuple[int, int]
    ) -> tuple[AttentionLayer, ...]:
        """As for all UNets, except that self-attention has cross-attention's resolution if the settings leave it open.

        That is 32 for images of 1024: 60 of the UNet's 70 transformer blocks have it, ten in each of six attention
        modules (arXiv 2307.01952, table 1), and the paper's self-attention has this resolution, too.
        """
        if settings.self_resolution is None:
            usual = super().select(layers, replace(settings, cross_resolution=None), latent_size)
            cross = min(layer.resolution for layer in usual if layer.is_cross)
            settings = replace(settings, self_resolution=cross)
        return super().select(layers, settings, latent_size)

    def call_options(self, settings: SamplerSettings, batch: int) -> dict[str, Any]:
        """Without a negative prompt, the model gets zeros, as in training, not an encoded empty text."""
        options = super().call_options(settings, batch)
        return options if settings.negative_prompt else options | {"negative_prompt": None}

    @torch.no_grad()
    def denoise(self, latents: Tensor, times: Tensor, text: str) -> None:
        """Run the UNet, which also takes the image's size."""
        states, _, pooled, _ = self.pipe.encode_prompt(
            text, device=self.pipe._execution_device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        size = tuple(side * self.pipe.vae_scale_factor for side in latents.shape[-2:])
        time_ids = torch.tensor([[*size, 0, 0, *size]], dtype=states.dtype, device=states.device)
        self.pipe.unet(
            latents,
            times,
            states.expand(len(times), -1, -1),
            added_cond_kwargs={
                "text_embeds": pooled.expand(len(times), -1),
                "time_ids": time_ids.expand(len(times), -1),
            },
        )
