"""Texts and seeds in, images with their attention out, for any model family."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dataset_diffusion.attention.recorder import StepWindow, require_not_compiled
from dataset_diffusion.generators.families import family_of
from dataset_diffusion.generators.family import Spans
from dataset_diffusion.prompts.tokens import merge_repeats, prompt_text
from dataset_diffusion.settings.generate import AttentionSettings, SamplerSettings
from dataset_diffusion.types import AttentionMaps, Prompt, Sample
from dataset_diffusion.vocabulary import Vocabulary

if TYPE_CHECKING:
    import diffusers


class Generator:
    """Turns prompts into images with their attention maps.

    A sample depends on its prompt (with its seed), the settings and the model. The other samples in its batch and their
    order change nothing; the batch size changes only float rounding.
    """

    def __init__(
        self,
        pipe: "diffusers.DiffusionPipeline",
        sampler: SamplerSettings,
        attention: AttentionSettings,
        vocabulary: Vocabulary,
        prompt_mode: str = "caption_and_classes",
    ) -> None:
        """`pipe` is a pipeline of one of FAMILIES; `prompt_mode`: see prompts.tokens.full_text.

        Raises InputError if the model lacks the attention, or the sampler the steps, that `attention` asks for.
        """
        self.family = family_of(pipe, attention)
        self._pipe = pipe
        self._prompt_mode = prompt_mode
        self._settings = sampler
        self._vocabulary = vocabulary
        self.image_size = self.family.checked_size(sampler.image_size)
        """Height and width of the images, in pixels."""
        self._layers = self.family.attention_layers(self.image_size, attention)
        times = self.family.noise_times(sampler.num_inference_steps, self.image_size)
        if attention.steps is not None:
            begin, end = attention.steps
            StepWindow(begin, end, lambda: len(times)).check()

    @property
    def device(self) -> torch.device:
        """The device that the model runs on; with CPU offload, its parts are elsewhere in between."""
        return self._pipe._execution_device

    def prompt_text(self, prompt: Prompt) -> str:
        """The text that the image of `prompt` is made from."""
        return prompt_text(self.family.tokenizer, prompt.caption, self._class_words(prompt), self._prompt_mode)

    def class_spans(self, prompt: Prompt) -> Spans:
        """Where each class of `prompt` is in its recorded attention: positions in AttentionMaps.cross."""
        words = self._class_words(prompt)
        return merge_repeats(words, self.family.class_spans(self.prompt_text(prompt), words))

    def sample(self, prompts: Sequence[Prompt]) -> list[Sample]:
        """Make one image for each prompt, all in one batch, and record its attention.

        A prompt without classes gets empty maps: cross [0, h, w] and self_attention [0, 0]. A sample whose image is not
        finite is marked as such.
        """
        if not prompts:
            return []
        if not any(prompt.class_ids for prompt in prompts):
            images, maps = self.images(prompts), [self._empty_maps()] * len(prompts)
        else:
            texts = [self.prompt_text(prompt) for prompt in prompts]
            words = [self._class_words(prompt) for prompt in prompts]
            require_not_compiled(self.family.denoiser)
            with self.family.recorder(self._layers, texts, words) as recorder:
                images = self.images(prompts)
            maps = recorder.maps()
        is_finite = np.isfinite(images).all(axis=(1, 2, 3))
        pixels = (np.nan_to_num(images, posinf=0, neginf=0) * 255).round().astype(np.uint8)
        return [
            Sample(prompt, image, attention if prompt.class_ids else self._empty_maps(), bool(finite))
            for prompt, image, attention, finite in zip(prompts, pixels, maps, is_finite, strict=True)
        ]

    def images(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Run the stock pipeline, without recording: [B, H, W, 3] float, RGB in [0, 1]."""
        height, width = self.image_size
        return self._pipe(
            prompt=[self.prompt_text(prompt) for prompt in prompts],
            height=height,
            width=width,
            # One generator per sample, on the CPU: the noise depends on neither the batch nor the device.
            generator=[torch.Generator("cpu").manual_seed(prompt.seed) for prompt in prompts],
            output_type="np",
            **self.family.call_options(self._settings, len(prompts)),
        ).images

    def _class_words(self, prompt: Prompt) -> list[str]:
        return [self._vocabulary[class_id].word for class_id in prompt.appended_ids]

    def _empty_maps(self) -> AttentionMaps:
        cross_size = next(layer.size for layer in self._layers if layer.is_cross)
        return AttentionMaps(cross=torch.zeros(0, *cross_size), self_attention=torch.zeros(0, 0))
