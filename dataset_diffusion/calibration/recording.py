"""Attention of a model on images that it has not made.

A generated image has no exact mask, a labelled one has. So the labelled image's latents are noised to the sampler's
time steps, and the UNet runs on them with a prompt while its attention is recorded: what it would attend to, had it
made the image. Masks of that attention are made by the same functions as in generation, and can be compared.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor

from dataset_diffusion.attention.layers import AttentionLayer, find_attention_layers, select_layers
from dataset_diffusion.attention.recorder import AttentionRecorder
from dataset_diffusion.generators.stable_diffusion import latent_size
from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.settings.generate import AttentionSettings
from dataset_diffusion.types import AttentionMaps

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

SIDE_STEP = 8
"""Latents have sides that are multiples of this: a Stable Diffusion's UNet halves them three times."""
STEPS_AT_ONCE = 20
PIXELS_AT_ONCE = STEPS_AT_ONCE * 128 * 128
"""What the UNet is given in a batch of time steps, in image pixels: small images go together, 512 x 512 one by one."""


@dataclass(frozen=True)
class LabelledImage:
    """An image [H, W, 3] uint8 RGB with its exact mask, `labels` [H, W] uint8; pixels of 255 are not compared.

    `class_ids` are the labels of the classes in it, `words` what a class prompt calls them, and `prompt` is the text
    that the UNet is given.
    """

    image: np.ndarray
    labels: np.ndarray
    class_ids: tuple[int, ...]
    words: tuple[str, ...]
    prompt: str


@dataclass(frozen=True)
class RecordedImage:
    """The attention on an image [H, W, 3] uint8, from which masks can be made many times, and its exact mask.

    `labels` [H, W] uint8; pixels of 255 are not compared. `spans[k]` are the positions in `attention.cross` of the
    tokens of `class_ids[k]`.
    """

    image: np.ndarray
    labels: np.ndarray
    class_ids: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]
    attention: AttentionMaps


@dataclass(frozen=True)
class Recording:
    """What is recorded: the attention of `layers` of the UNet, to the encoded text `states` [1, T, C]."""

    layers: Sequence[AttentionLayer]
    states: Tensor


class NoisedRecorder:
    """Records a pipeline's attention on given images, noised to each time step of its sampler."""

    def __init__(self, pipe: "StableDiffusionPipeline", num_inference_steps: int, attention: AttentionSettings) -> None:
        self.pipe = pipe
        self._attention = attention
        pipe.scheduler.set_timesteps(num_inference_steps)
        self.times: Tensor = pipe.scheduler.timesteps.to(pipe.device).long()
        """The sampler's time steps [S], most noise first."""
        self._noise = DDPMScheduler.from_config(pipe.scheduler.config)
        self._layers: dict[tuple[int, int], tuple[AttentionLayer, ...]] = {}

    def record(self, item: LabelledImage, seed: int) -> RecordedImage:
        """The attention to the class prompt, as dd-generate records it: the mean over the time steps.

        The noise is a function of `seed`. Raises InputError if the model has no attention at the resolutions asked for.
        """
        class_text = class_prompt(self.pipe.tokenizer, item.words)
        layers = select_layers(self.layers(item.image), self._attention, self.latent_size(item.image))
        recording = Recording(layers, self.encode_text(class_text.text))
        (by_step,) = self.record_steps(item.image, item.prompt, [recording], seed)
        return RecordedImage(item.image, item.labels, item.class_ids, class_text.spans, mean_maps(by_step))

    @torch.no_grad()
    def record_steps(
        self, image: np.ndarray, prompt: str, recordings: Sequence[Recording], seed: int
    ) -> list[list[AttentionMaps]]:
        """The maps of each recording at each time step."""
        latents = self._encode_image(image)
        shape = (len(self.times), *latents.shape[1:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(latents)
        noisy = self._noise.add_noise(latents.expand_as(noise), noise, self.times)
        states = self.encode_text(prompt)
        maps: list[list[AttentionMaps]] = [[] for _ in recordings]
        for steps in torch.arange(len(self.times)).split(max(1, PIXELS_AT_ONCE // image[..., 0].size)):
            with ExitStack() as stack:
                recorders = [
                    stack.enter_context(
                        AttentionRecorder(self.pipe.unet, recording.layers, recording.states.expand(len(steps), -1, -1))
                    )
                    for recording in recordings
                ]
                self.pipe.unet(noisy[steps], self.times[steps], states.expand(len(steps), -1, -1))
            for recorded, recorder in zip(maps, recorders, strict=True):
                recorded += recorder.maps()
        return maps

    @torch.no_grad()
    def encode_text(self, text: str) -> Tensor:
        """The states [1, T, C] that the pipeline makes of a text."""
        states, _ = self.pipe.encode_prompt(
            text, self.pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return states

    def layers(self, image: np.ndarray) -> tuple[AttentionLayer, ...]:
        """All attention layers with the sizes that their maps have for this image."""
        size = self.latent_size(image)
        if size not in self._layers:
            self._layers[size] = find_attention_layers(self.pipe.unet, size)
        return self._layers[size]

    def latent_size(self, image: np.ndarray) -> tuple[int, int]:
        """Height and width of an image's latents: about as many positions as the model's own, in the image's shape."""
        height, width = image.shape[:2]
        native_height, native_width = latent_size(self.pipe)
        scale = (native_height * native_width / (height * width)) ** 0.5
        rows, columns = (max(1, round(side * scale / SIDE_STEP)) * SIDE_STEP for side in (height, width))
        return rows, columns

    def _encode_image(self, image: np.ndarray) -> Tensor:
        """Latents [1, C, h, w]: the mean of the autoencoder's distribution, scaled as the pipeline scales them."""
        vae = self.pipe.vae
        pixels = torch.tensor(image).permute(2, 0, 1)[None] / 127.5 - 1
        size = tuple(side * self.pipe.vae_scale_factor for side in self.latent_size(image))
        if size != image.shape[:2]:
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
        return vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mean * vae.config.scaling_factor


def mean_maps(maps: Sequence[AttentionMaps]) -> AttentionMaps:
    """The mean of maps of equal sizes, on the CPU."""
    return AttentionMaps(
        cross=torch.stack([item.cross for item in maps]).mean(dim=0).cpu(),
        self_attention=torch.stack([item.self_attention for item in maps]).mean(dim=0).cpu(),
    )
