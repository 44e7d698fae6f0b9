"""What the families with a UNet have in common: class prompts are separate texts that no image is made from.

The paper calls this class-prompt cross-attention (arXiv 2309.14303). With attention.class_prompt=appended, the words
are read in the prompt instead.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from dataset_diffusion.attention.layers import AttentionLayer, find_attention_layers, select_layers
from dataset_diffusion.attention.recorder import AttentionRecorder, PromptText
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.family import Family, MakeRecorder, Spans
from dataset_diffusion.prompts.tokens import class_prompt, prompt_tokens
from dataset_diffusion.settings.generate import AttentionSettings


class UNetFamily(Family):
    """A family whose denoiser is a UNet with cross-attention."""

    @property
    def denoiser(self) -> Any:
        """The UNet."""
        return self.pipe.unet

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model was trained for."""
        height, width = latent_size(self.pipe)
        return height * self.pipe.vae_scale_factor, width * self.pipe.vae_scale_factor

    def attention_layers(self, image_size: tuple[int, int], settings: AttentionSettings) -> tuple[AttentionLayer, ...]:
        """One resolution for cross-attention and one for self-attention; see select_layers."""
        if settings.blocks is not None:
            raise InputError(
                f"attention.blocks={settings.blocks}: only transformers are recorded by block; use null, and for a "
                "UNet set attention.cross_resolution and attention.self_resolution"
            )
        height, width = (side // self.pipe.vae_scale_factor for side in image_size)
        return self.select(find_attention_layers(self.pipe.unet, (height, width)), settings, (height, width))

    def select(
        self, layers: Sequence[AttentionLayer], settings: AttentionSettings, latent_size: tuple[int, int]
    ) -> tuple[AttentionLayer, ...]:
        """The layers that the settings ask for."""
        return select_layers(layers, settings, latent_size)

    def class_spans(self, text: str, words: Sequence[str]) -> Spans:
        """The words' positions in the class prompt, or in the image's prompt."""
        if self.class_prompt == "appended":
            return prompt_tokens(self.tokenizer, text, words, self.tokenizer.model_max_length).spans
        return class_prompt(self.tokenizer, words).spans

    def prepare(
        self,
        texts: Sequence[str],
        words: Sequence[Sequence[str]],
        **prompt_options: Any,  # noqa: ARG002
    ) -> MakeRecorder:
        """Record the attention to class prompts, which the images are not made from, or to the prompts."""
        if self.class_prompt == "appended":
            for pair in zip(texts, words, strict=True):
                self.class_spans(*pair)  # a prompt without its words is refused before an image is made
            return lambda layers, images_per_prompt: AttentionRecorder(
                self.pipe.unet, layers, PromptText(len(texts) * images_per_prompt), **self.recorder_options()
            )
        states = self.encode_text([class_prompt(self.tokenizer, class_words).text for class_words in words])

        def make(layers: Sequence[AttentionLayer], images_per_prompt: int) -> AttentionRecorder:
            repeated = states.repeat_interleave(images_per_prompt, dim=0)
            return AttentionRecorder(self.pipe.unet, layers, repeated, **self.recorder_options())

        return make

    def input_size(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int, int]:
        """Read from the shape of the latents."""
        latents = args[0] if args else kwargs["sample"]
        height, width = (side * self.pipe.vae_scale_factor for side in latents.shape[-2:])
        return len(latents), height, width

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The states [B, T, C] that the pipeline encodes texts to."""
        states, *_ = self.pipe.encode_prompt(
            list(texts), device=self.pipe._execution_device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return states

    def encode_images(self, pixels: Tensor) -> Tensor:
        """The latents, scaled as the pipeline scales them, in the denoiser's dtype."""
        vae = self.pipe.vae
        # SDXL's autoencoder overflows in float16. As in diffusers' own image-to-image, it runs in float32 meanwhile.
        overflows = vae.dtype == torch.float16 and vae.config.force_upcast
        if overflows:
            vae.to(torch.float32)
        try:
            mean = vae.encode(pixels.to(self.pipe._execution_device, vae.dtype)).latent_dist.mean
        finally:
            if overflows:
                vae.to(torch.float16)
        return (mean * vae.config.scaling_factor).to(self.pipe.unet.dtype)

    def noise_times(self, num_inference_steps: int, image_size: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """The time steps of the pipeline's scheduler. Raises InputError if it does not have that many."""
        scheduler = self.pipe.scheduler
        most = scheduler.config.get("original_inference_steps", scheduler.config.num_train_timesteps)  # of LCM and TCD
        try:
            scheduler.set_timesteps(num_inference_steps)
        except ValueError as error:
            if num_inference_steps <= most:
                raise
            raise InputError(
                f"sampler.num_inference_steps={num_inference_steps}: a {type(scheduler).__name__} has at most {most}; "
                "use no more, or another sampler.scheduler"
            ) from error
        return scheduler.timesteps.to(self.pipe._execution_device).long()

    def add_noise(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Add noise by the scheduler's cumulative products (DDPM)."""
        return DDPMScheduler.from_config(self.pipe.scheduler.config).add_noise(latents, noise, times)

    def denoise(self, latents: Tensor, times: Tensor, text: str) -> None:
        """Run the UNet."""
        states = self.encode_text([text])
        self.pipe.unet(latents, times, states.expand(len(times), -1, -1))


def latent_size(pipe: Any) -> tuple[int, int]:
    """Height and width of the latents that a UNet pipeline's images are made from."""
    size = pipe.unet.config.sample_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])
