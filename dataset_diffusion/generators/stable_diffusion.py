"""Stable Diffusion 1 and 2: sample images while their attention is recorded."""

from collections.abc import Sequence

import diffusers
import numpy as np
import torch
from torch import Tensor

from dataset_diffusion.attention.recorder import AttentionRecorder, find_attention_layers, select_layers
from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.tokens import ClassPrompt, class_prompt, prompt_text
from dataset_diffusion.settings.generate import AttentionSettings, SamplerSettings
from dataset_diffusion.types import AttentionMaps, Prompt, Sample
from dataset_diffusion.vocabulary import Vocabulary


class Sampler:
    """Turns prompts into images with their attention maps.

    A sample depends on its prompt (with its seed), the settings and the model. What else is in its batch, and in which
    order, changes nothing; the size of the batch changes float rounding only.
    """

    def __init__(
        self,
        pipe: "diffusers.StableDiffusionPipeline",
        sampler: SamplerSettings,
        attention: AttentionSettings,
        vocabulary: Vocabulary,
        prompt_mode: str = "caption_and_classes",
    ) -> None:
        """`prompt_mode`: see prompts.tokens.full_text.

        Raises InputError if the model has no attention at the resolutions that `attention` names.
        """
        self._pipe = pipe
        self._prompt_mode = prompt_mode
        self._settings = sampler
        self._vocabulary = vocabulary
        size = latent_size(pipe)
        self._layers = select_layers(find_attention_layers(pipe.unet, size), attention, size)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        height, width = latent_size(self._pipe)
        return height * self._pipe.vae_scale_factor, width * self._pipe.vae_scale_factor

    def class_prompt(self, prompt: Prompt) -> ClassPrompt:
        """The text whose attention is recorded for `prompt`: its class words alone."""
        return class_prompt(self._pipe.tokenizer, self._class_words(prompt))

    def prompt_text(self, prompt: Prompt) -> str:
        """The text that the image of `prompt` is made from."""
        return prompt_text(self._pipe.tokenizer, prompt.caption, self._class_words(prompt), self._prompt_mode)

    def sample(self, prompts: Sequence[Prompt]) -> list[Sample]:
        """Make one image for each prompt, all in one batch, and record its attention.

        A prompt without classes gets empty maps: cross [0, h, w] and self_attention [0, 0].
        """
        if not prompts:
            return []
        if not any(prompt.class_ids for prompt in prompts):
            images, maps = self._images(prompts), [self._empty_maps()] * len(prompts)
        else:
            with AttentionRecorder(self._pipe.unet, self._layers, self._class_embeddings(prompts)) as recorder:
                images = self._images(prompts)
            maps = recorder.maps()
        return [
            Sample(prompt, image, attention if prompt.class_ids else self._empty_maps())
            for prompt, image, attention in zip(prompts, images, maps, strict=True)
        ]

    def _images(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Run the stock pipeline: [B, H, W, 3] uint8 RGB."""
        texts = [self.prompt_text(prompt) for prompt in prompts]
        height, width = self.image_size
        images = self._pipe(
            prompt=texts,
            height=height,
            width=width,
            negative_prompt=[self._settings.negative_prompt] * len(prompts),
            num_inference_steps=self._settings.num_inference_steps,
            guidance_scale=self._settings.guidance_scale,
            # One generator for each sample, on the CPU: the noise depends neither on the batch nor on the device.
            generator=[torch.Generator("cpu").manual_seed(prompt.seed) for prompt in prompts],
            output_type="np",
        ).images
        if not np.isfinite(images).all():
            dtype = str(self._pipe.dtype).removeprefix("torch.")
            raise InputError(f"model.dtype={dtype}: the images have values that are not finite; try another dtype")
        return (images * 255).round().astype(np.uint8)

    def _class_embeddings(self, prompts: Sequence[Prompt]) -> Tensor:
        """Encode the class prompts as the pipeline encodes the prompts: [B, T, C]."""
        texts = [self.class_prompt(prompt).text for prompt in prompts]
        with torch.no_grad():
            embeddings, _ = self._pipe.encode_prompt(
                texts, self._pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
        return embeddings

    def _class_words(self, prompt: Prompt) -> list[str]:
        return [self._vocabulary[class_id].word for class_id in prompt.class_ids]

    def _empty_maps(self) -> AttentionMaps:
        cross_size = next(layer.size for layer in self._layers if layer.is_cross)
        return AttentionMaps(cross=torch.zeros(0, *cross_size), self_attention=torch.zeros(0, 0))


def latent_size(pipe: "diffusers.StableDiffusionPipeline") -> tuple[int, int]:
    """Height and width of the latents that a pipeline's images are made from."""
    size = pipe.unet.config.sample_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])
