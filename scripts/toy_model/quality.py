"""How well the toy model has learned: whether it reads its prompts, and how good the masks from its attention are.

Images can look right while the attention of their class words localises nothing, and then the masks are worthless.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler

from dataset_diffusion.calibration.recording import LabelledImage, NoisedRecorder, RecordedImage
from dataset_diffusion.settings.generate import AttentionSettings
from dataset_diffusion.toy.captions import CaptionStyle, write_caption
from dataset_diffusion.toy.scenes import VOC_WORDS, Scene, render_scene
from scripts.toy_model.scenes import encode_images

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

NUM_LABELS = len(VOC_WORDS) + 1
GAIN_TIMES = (50, 150, 250, 400, 500, 600, 700, 800, 900)
"""Three time steps from each third."""


@dataclass(frozen=True)
class CaptionLosses:
    """The denoising loss with and without the caption, by thirds of the time steps (lowest noise first)."""

    with_caption: list[float]
    without: list[float]

    def __str__(self) -> str:
        loss = ", ".join(f"{value:.4f}" for value in self.with_caption)
        # If this is near zero, the model does not read its prompt, whatever its loss and its images.
        pairs = zip(self.without, self.with_caption, strict=True)
        gain = ", ".join(f"{without - with_caption:.4f}" for without, with_caption in pairs)
        return f"by thirds of the time steps: loss {loss}; loss without the caption minus that with it {gain}"


def labelled_scene(scene: Scene, prompt: str) -> LabelledImage:
    """A rendered scene as an image with a known mask; the classes are in the order of its objects."""
    class_ids = tuple(dict.fromkeys(item.class_id for item in scene.objects))
    words = tuple(VOC_WORDS[class_id - 1] for class_id in class_ids)
    return LabelledImage(scene.image, scene.label_mask, class_ids, words, prompt)


def record_scenes(
    pipe: "StableDiffusionPipeline", seeds: Iterable[int], num_inference_steps: int, attention: AttentionSettings
) -> Iterator[RecordedImage]:
    """Record the attention of `pipe` on the scenes of `seeds`, given captions with class words, at the sampler's steps.

    A scene's caption and noise depend only on its seed.
    """
    recorder = NoisedRecorder(pipe, num_inference_steps, attention)
    for seed in seeds:
        scene = render_scene(seed)
        prompt = write_caption(scene.objects, scene.background, random.Random(seed), "appended")
        yield recorder.record(labelled_scene(scene, prompt), seed)


def caption_losses(pipe: "StableDiffusionPipeline", seeds: Iterable[int]) -> CaptionLosses:
    """Denoise the scenes of `seeds` with their captions and with the empty prompt."""
    losses = [_denoising_losses(pipe, seed, (_caption(seed, "appended"), "")) for seed in seeds]
    with_caption, without = torch.stack(losses).mean(dim=0).tolist()
    return CaptionLosses(with_caption, without)


def class_word_gain(pipe: "StableDiffusionPipeline", seeds: Iterable[int]) -> float:
    """How much appended class words tell the model about scenes whose captions leave out a class word.

    The mean denoising loss given only the captions, minus the loss given captions and class words, over the third of
    the time steps with the most noise; 0 if no caption leaves one out.
    """
    gains = []
    for seed in seeds:
        caption = _caption(seed, "caption")
        words = (VOC_WORDS[item.class_id - 1] for item in render_scene(seed).objects)
        if all(word in caption for word in words):
            continue
        alone, appended = _denoising_losses(pipe, seed, (caption, _caption(seed, "appended")))[:, -1].tolist()
        gains.append(alone - appended)
    return sum(gains) / max(1, len(gains))


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, images: np.ndarray) -> float:
    """The peak signal-to-noise ratio, in dB, of images [N, H, W, 3] uint8 that are encoded and decoded again.

    It uses the squared error over all images. The decoded images are clipped to the value range, but not rounded.
    """
    errors = []
    for image in images:
        decoded = vae.decode(encode_images(vae, image[None])).sample[0].clamp(-1, 1)
        pixels = torch.tensor(image).to(vae.device).permute(2, 0, 1) / 127.5 - 1
        errors.append((decoded - pixels).square().mean())
    return float(10 * torch.log10(4 / torch.stack(errors).mean()))  # the range of -1 ... 1 is 2


def _caption(seed: int, style: CaptionStyle) -> str:
    scene = render_scene(seed)
    return write_caption(scene.objects, scene.background, random.Random(seed), style)


@torch.no_grad()
def _denoising_losses(pipe: "StableDiffusionPipeline", seed: int, texts: Sequence[str]) -> torch.Tensor:
    """The loss on a scene given each of the texts, [texts, 3]: by thirds of the time steps (lowest noise first)."""
    noise_schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    times = torch.tensor(GAIN_TIMES, device=pipe.device)
    latents = encode_images(pipe.vae, render_scene(seed).image[None]).expand(len(times), -1, -1, -1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(pipe.device)
    noisy = noise_schedule.add_noise(latents, noise, times)
    velocity = noise_schedule.get_velocity(latents, noise, times)
    errors = [
        (pipe.unet(noisy, times, _encode_text(pipe, text).expand(len(times), -1, -1)).sample - velocity).square()
        for text in texts
    ]
    return torch.stack(errors).mean(dim=(2, 3, 4)).reshape(len(texts), 3, -1).mean(dim=2)


def _encode_text(pipe: "StableDiffusionPipeline", text: str) -> torch.Tensor:
    states, _ = pipe.encode_prompt(text, pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False)
    return states
