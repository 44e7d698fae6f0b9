"""A model's attention on images that it has not made.

A generated image has no exact mask; a labelled one does. So the labelled image's latents are noised to the sampler's
time steps, and the denoiser runs on them with a prompt while its attention is recorded: what it would attend to, had it
made the image. The same functions as in generation turn that attention into masks, which can then be compared.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataset_diffusion.attention.layers import AttentionLayer, find_attention_layers
from dataset_diffusion.attention.recorder import AttentionRecorder, StepWindow
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.families import family_of
from dataset_diffusion.generators.unet import UNetFamily
from dataset_diffusion.settings.generate import AttentionSettings
from dataset_diffusion.types import AttentionMaps

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

SIDE_STEP = 8
"""The sides of latents are multiples of this: a UNet halves them three times, and transformers' maps can be pooled."""
STEPS_AT_ONCE = 20
PIXELS_AT_ONCE = STEPS_AT_ONCE * 128 * 128
"""Pixels given to the denoiser in a batch of time steps: small images run together, 512 x 512 ones one by one."""


@dataclass(frozen=True)
class LabelledImage:
    """An image [H, W, 3] uint8 RGB with its exact mask, `labels` [H, W] uint8; pixels labelled 255 are not compared.

    `class_ids` are the labels of the classes in it, `words` are what a class prompt calls them, and `prompt` is the
    text that the denoiser is given.
    """

    image: np.ndarray
    labels: np.ndarray
    class_ids: tuple[int, ...]
    words: tuple[str, ...]
    prompt: str


@dataclass(frozen=True)
class RecordedImage:
    """The attention on an image [H, W, 3] uint8, from which masks can be made many times, and its exact mask.

    `labels` [H, W] uint8; pixels labelled 255 are not compared. `spans[k]` are the positions in `attention.cross` of
    the tokens of `class_ids[k]`.
    """

    image: np.ndarray
    labels: np.ndarray
    class_ids: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]
    attention: AttentionMaps


@dataclass(frozen=True)
class Recording:
    """What to record: the attention of the UNet's `layers` to the encoded text `states` [1, T, C]."""

    layers: Sequence[AttentionLayer]
    states: Tensor


class NoisedRecorder:
    """Records a pipeline's attention on given images, noised to each time step of its sampler."""

    def __init__(
        self,
        pipe: "DiffusionPipeline",
        num_inference_steps: int,
        attention: AttentionSettings,
        image_size: Sequence[int] | None = None,
    ) -> None:
        """`image_size`: height and width of images with as many pixels as the model is given; None: the model's own.

        Raises InputError if `attention` asks for steps that the sampler does not have.
        """
        self.pipe = pipe
        self.family = family_of(pipe, replace(attention, steps=None))
        self._attention = attention
        self._native_size = self.family.checked_size(image_size)
        times = self.family.noise_times(num_inference_steps, self._native_size)
        begin, end = attention.steps or (0.0, 1.0)
        window = StepWindow(begin, end, lambda: len(times))
        window.check()
        self.times = times[[window.has(step) for step in range(len(times))]]
        """The sampler's time steps [S] that are recorded, most noise first."""
        self._layers: dict[tuple[int, int], tuple[AttentionLayer, ...]] = {}
        self._unet_layers: dict[tuple[int, int], tuple[AttentionLayer, ...]] = {}

    def record(self, item: LabelledImage, seed: int) -> RecordedImage:
        """The attention to the class words, as dd-generate records it: the mean over the time steps.

        The noise is a function of `seed`. Raises InputError if the model has no attention at the resolutions asked for.
        """
        size = self._pixel_size(item.image)
        if size not in self._layers:
            self._layers[size] = self.family.attention_layers(size, self._attention)
        layers = self._layers[size]

        def recorder(batch: int) -> list[AttentionRecorder]:
            return [self.family.recorder(layers, [item.prompt] * batch, [item.words] * batch)]

        (by_step,) = self._record_steps(item.image, item.prompt, recorder, seed)
        spans = self.family.class_spans(item.prompt, item.words)
        return RecordedImage(item.image, item.labels, item.class_ids, spans, mean_maps(by_step))

    def record_steps(
        self, image: np.ndarray, prompt: str, recordings: Sequence[Recording], seed: int
    ) -> list[list[AttentionMaps]]:
        """A UNet's maps for each recording at each time step."""

        def recorders(batch: int) -> list[AttentionRecorder]:
            return [
                AttentionRecorder(self.pipe.unet, recording.layers, recording.states.expand(batch, -1, -1))
                for recording in recordings
            ]

        return self._record_steps(image, prompt, recorders, seed)

    @torch.no_grad()
    def _record_steps(
        self, image: np.ndarray, prompt: str, recorders: Callable[[int], list[AttentionRecorder]], seed: int
    ) -> list[list[AttentionMaps]]:
        latents = self._encode_image(image)
        self._require_finite([latents], "latents")
        shape = (len(self.times), *latents.shape[1:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(latents)
        noisy = self.family.add_noise(latents.expand_as(noise), noise, self.times)
        by_step: list[list[list[AttentionMaps]]] = []
        height, width = self._pixel_size(image)
        for steps in torch.arange(len(self.times)).split(max(1, PIXELS_AT_ONCE // (height * width))):
            with ExitStack() as stack:
                active = [stack.enter_context(recorder) for recorder in recorders(len(steps))]
                self.family.denoise(noisy[steps], self.times[steps], prompt)
            by_step.append([recorder.maps() for recorder in active])
            for maps in chain(*by_step[-1]):
                self._require_finite([maps.cross, maps.self_attention], "attention maps")
        return [[maps for step in by_step for maps in step[index]] for index in range(len(by_step[0]))]

    def _require_finite(self, tensors: Sequence[Tensor], what: str) -> None:
        """Raise InputError for values that are not finite: masks and proposals would be made from them all the same."""
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            dtype = str(self.family.denoiser.dtype).removeprefix("torch.")
            raise InputError(
                f"model.dtype={dtype}: the {what} of an image are not finite numbers; use bfloat16 or float32, "
                "or another model.path"
            )

    def encode_text(self, text: str) -> Tensor:
        """The states [1, T, C] that a UNet's pipeline encodes a text to."""
        assert isinstance(self.family, UNetFamily)
        return self.family.encode_text([text])

    def layers(self, image: np.ndarray) -> tuple[AttentionLayer, ...]:
        """All attention layers of a UNet, with the sizes of their maps for this image."""
        size = self.latent_size(image)
        if size not in self._unet_layers:
            self._unet_layers[size] = find_attention_layers(self.pipe.unet, size)
        return self._unet_layers[size]

    def latent_size(self, image: np.ndarray) -> tuple[int, int]:
        """Height and width of an image's latents: about as many positions as the model's own, in the image's shape."""
        height, width = image.shape[:2]
        native_height, native_width = (side // self.pipe.vae_scale_factor for side in self._native_size)
        scale = (native_height * native_width / (height * width)) ** 0.5
        rows, columns = (max(1, round(side * scale / SIDE_STEP)) * SIDE_STEP for side in (height, width))
        return rows, columns

    def _pixel_size(self, image: np.ndarray) -> tuple[int, int]:
        rows, columns = self.latent_size(image)
        return rows * self.pipe.vae_scale_factor, columns * self.pipe.vae_scale_factor

    def _encode_image(self, image: np.ndarray) -> Tensor:
        """Latents [1, C, h, w]."""
        pixels = torch.tensor(image).permute(2, 0, 1)[None] / 127.5 - 1
        size = self._pixel_size(image)
        if size != image.shape[:2]:
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
        return self.family.encode_images(pixels)


def mean_maps(maps: Sequence[AttentionMaps]) -> AttentionMaps:
    """The mean of maps of equal sizes, on the CPU."""
    return AttentionMaps(
        cross=torch.stack([item.cross for item in maps]).mean(dim=0).cpu(),
        self_attention=torch.stack([item.self_attention for item in maps]).mean(dim=0).cpu(),
    )
