"""How good the masks of a model's attention are: against exact masks of scenes that it has not made.

Images can look right while the attention of their class words localises nothing, and then the masks are worthless. A
generated image has no exact mask; a rendered scene has one. So the scene's latents are noised to the sampler's time
steps, the UNet runs on them with the scene's prompt while its attention is recorded, and the mask is compared.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline

from dataset_diffusion.attention.aggregate import class_evidence
from dataset_diffusion.attention.recorder import AttentionRecorder, find_attention_layers, select_layers
from dataset_diffusion.evaluation.metrics import SegmentationMetrics, confusion_matrix, segmentation_metrics
from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.settings.generate import AttentionSettings, MaskSettings
from dataset_diffusion.toy.captions import write_caption
from dataset_diffusion.toy.scenes import VOC_WORDS, Scene, render_scene
from dataset_diffusion.toy.training.scenes import encode_images
from dataset_diffusion.types import IGNORE_INDEX, AttentionMaps

NUM_LABELS = len(VOC_WORDS) + 1
GAIN_TIMES = (50, 150, 250, 400, 500, 600, 700, 800, 900)
"""Three time steps of each third."""


@dataclass(frozen=True)
class RecordedScene:
    """A scene, the attention of a UNet on it, and the token positions of its classes."""

    scene: Scene
    class_ids: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]
    attention: AttentionMaps


@dataclass(frozen=True)
class MaskQuality:
    """`metrics` over the 21 labels, of the pixels that the masks label; `share_ignored` of all pixels they do not."""

    metrics: SegmentationMetrics
    share_ignored: float


@dataclass(frozen=True)
class CaptionLosses:
    """The denoising loss with the caption and without, by thirds of the time steps (little noise first)."""

    with_caption: list[float]
    without: list[float]

    def __str__(self) -> str:
        loss = ", ".join(f"{value:.4f}" for value in self.with_caption)
        # Near zero, the model does not read its prompt, whatever its loss and its pictures.
        pairs = zip(self.without, self.with_caption, strict=True)
        gain = ", ".join(f"{without - with_caption:.4f}" for without, with_caption in pairs)
        return f"by thirds of the time steps: loss {loss}; loss without the caption minus that with it {gain}"


@torch.no_grad()
def record_scenes(
    pipe: StableDiffusionPipeline, seeds: Iterable[int], num_inference_steps: int, settings: AttentionSettings
) -> Iterator[RecordedScene]:
    """Run the UNet of `pipe` on the scenes of `seeds`, noised to each of the sampler's time steps.

    The noise of a scene is a function of its seed. Attention comes from the conditional prompt, as in sampling.
    """
    side = pipe.unet.config.sample_size
    layers = select_layers(find_attention_layers(pipe.unet, (side, side)), settings, (side, side))
    pipe.scheduler.set_timesteps(num_inference_steps)
    times = pipe.scheduler.timesteps.to(pipe.device).long()
    noise_schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    for seed in seeds:
        scene = render_scene(seed)
        prompt = write_caption(scene.objects, scene.background, random.Random(seed), "appended")
        class_ids = tuple(dict.fromkeys(item.class_id for item in scene.objects))
        class_text = class_prompt(pipe.tokenizer, [VOC_WORDS[class_id - 1] for class_id in class_ids])
        latents = encode_images(pipe.vae, scene.image[None]).expand(len(times), -1, -1, -1)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(latents.shape, generator=generator).to(pipe.device)
        states, class_states = (_encode_text(pipe, text) for text in (prompt, class_text.text))
        with AttentionRecorder(pipe.unet, layers, class_states.expand(len(times), -1, -1)) as recorder:
            pipe.unet(noise_schedule.add_noise(latents, noise, times), times, states.expand(len(times), -1, -1))
        yield RecordedScene(scene, class_ids, class_text.spans, _mean_maps(recorder.maps()))


def mask_quality(recorded: Sequence[RecordedScene], power: int, settings: MaskSettings) -> MaskQuality:
    """Compare the masks that the settings make of recorded scenes with the exact ones."""
    confusion = np.zeros((NUM_LABELS, NUM_LABELS), np.int64)
    num_ignored = num_pixels = 0
    for item in recorded:
        truth = item.scene.label_mask
        evidence = class_evidence(item.attention, item.spans, power)
        scores = class_scores(evidence, item.class_ids, truth.shape)
        labels = label_mask(scores, settings.threshold, settings.uncertainty_threshold).labels
        kept = labels != IGNORE_INDEX
        confusion += confusion_matrix(truth[kept], labels[kept], NUM_LABELS)
        num_ignored += int((~kept).sum())
        num_pixels += labels.size
    return MaskQuality(segmentation_metrics(confusion), num_ignored / num_pixels)


@torch.no_grad()
def caption_losses(pipe: StableDiffusionPipeline, seeds: Iterable[int]) -> CaptionLosses:
    """Denoise scenes of `seeds` with their captions and with the empty prompt."""
    noise_schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    times = torch.tensor(GAIN_TIMES, device=pipe.device)
    losses = []
    for seed in seeds:
        scene = render_scene(seed)
        caption = write_caption(scene.objects, scene.background, random.Random(seed), "appended")
        latents = encode_images(pipe.vae, scene.image[None]).expand(len(times), -1, -1, -1)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(pipe.device)
        noisy = noise_schedule.add_noise(latents, noise, times)
        velocity = noise_schedule.get_velocity(latents, noise, times)
        both = [
            (pipe.unet(noisy, times, _encode_text(pipe, text).expand(len(times), -1, -1)).sample - velocity).square()
            for text in (caption, "")
        ]
        losses.append(torch.stack(both).mean(dim=(2, 3, 4)).reshape(2, 3, -1).mean(dim=2))
    with_caption, without = torch.stack(losses).mean(dim=0).tolist()
    return CaptionLosses(with_caption, without)


def _mean_maps(maps: Sequence[AttentionMaps]) -> AttentionMaps:
    return AttentionMaps(
        cross=torch.stack([item.cross for item in maps]).mean(dim=0),
        self_attention=torch.stack([item.self_attention for item in maps]).mean(dim=0),
    )


def _encode_text(pipe: StableDiffusionPipeline, text: str) -> torch.Tensor:
    states, _ = pipe.encode_prompt(text, pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False)
    return states
