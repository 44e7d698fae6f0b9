"""The images of the reproduction with their archived attention, made once and kept in files."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dataset_diffusion.attention.layers import find_attention_layers
from dataset_diffusion.calibration.recording import LabelledImage, NoisedRecorder
from dataset_diffusion.files import write_atomically
from dataset_diffusion.generate import plan_dataset
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.loading import load_pipeline, silence_libraries
from dataset_diffusion.generators.unet import latent_size
from dataset_diffusion.images import encode_image, read_image
from dataset_diffusion.prompts.tokens import full_text
from dataset_diffusion.settings.generate import GenerateSettings, ModelSettings, SamplerSettings
from dataset_diffusion.toy.captions import write_caption
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, VOC_WORDS, render_scene
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.reproduction.archive import (
    ArchivedAttention,
    QuarterlyRecorder,
    archive,
    archive_labelled,
    plan_recordings,
    read_texts,
)
from scripts.reproduction.recipe import ArchivedImage
from scripts.toy_model.quality import labelled_scene

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

APPENDED = "caption_and_classes"
CALIBRATION_SEEDS = HELD_OUT_SEEDS[5000:]
TEST_SEEDS = HELD_OUT_SEEDS[:5000]
SCENES_DIR = "scenes"

JOB_SCENES, JOB_BATCHES = 10, 2
"""Scenes that a process records, or batches that it generates, between progress updates."""


@dataclass(frozen=True)
class SceneJob:
    """Scenes of `seeds`, given prompts of `mode`, whose attention is to be recorded."""

    settings: GenerateSettings
    folder: Path
    mode: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ImageJob:
    """Images of one mode and seed that are to be generated, batch by batch."""

    settings: GenerateSettings
    images: "GeneratedImages"
    batches: tuple[tuple[Prompt, ...], ...]


@cache
def load_model(path: str, scheduler: str | None) -> "StableDiffusionPipeline":
    """The pipeline for these settings, loaded once per process."""
    silence_libraries()
    return load_pipeline(ModelSettings(path), SamplerSettings(scheduler=scheduler))


def plan_scenes(settings: GenerateSettings, folder: Path, seeds: Sequence[int], mode: str) -> list[SceneJob]:
    """Jobs for the scenes whose attention has not been recorded."""
    missing = [seed for seed in seeds if not _scene_path(folder, mode, seed).exists()]
    parts = [tuple(missing[start : start + JOB_SCENES]) for start in range(0, len(missing), JOB_SCENES)]
    return [SceneJob(settings, folder, mode, part) for part in parts]


def record_scenes(job: SceneJob) -> None:
    """Record and write the attention on each scene of a job."""
    settings = job.settings
    pipe = load_model(settings.model.path, settings.sampler.scheduler)
    recorder = NoisedRecorder(pipe, settings.sampler.num_inference_steps, settings.attention)
    for seed in job.seeds:
        attention = archive_labelled(recorder, _labelled(seed, job.mode), seed, appended=job.mode == APPENDED)
        attention.write(_scene_path(job.folder, job.mode, seed))


def decode_scenes(job: SceneJob) -> None:
    """Pass the scenes of a job through the autoencoder, without noise, and write them."""
    pipe = load_model(job.settings.model.path, job.settings.sampler.scheduler)
    for seed in job.seeds:
        pixels = pipe.image_processor.preprocess(render_scene(seed).image[None].astype(np.float32) / 255)
        with torch.no_grad():
            decoded = pipe.vae.decode(pipe.vae.encode(pixels).latent_dist.mode()).sample
        (image,) = pipe.image_processor.postprocess(decoded, output_type="np")
        path = _decoded_path(job.folder, f"scene_{seed}")
        write_atomically(path, encode_image((255 * image).round().astype(np.uint8)))


def read_decoded_scene(folder: Path, name: str) -> np.ndarray:
    """A scene that decode_scenes() wrote [H, W, 3] uint8; `name` is scene_<seed>."""
    return read_image(_decoded_path(folder, name))


def plan_decoding(settings: GenerateSettings, folder: Path, seeds: Sequence[int]) -> list[SceneJob]:
    """Jobs for the scenes that have not been passed through the autoencoder."""
    missing = [seed for seed in seeds if not _decoded_path(folder, f"scene_{seed}").exists()]
    parts = [tuple(missing[start : start + JOB_SCENES]) for start in range(0, len(missing), JOB_SCENES)]
    return [SceneJob(settings, folder, "", part) for part in parts]


def read_scenes(folder: Path, seeds: Sequence[int], mode: str) -> list[ArchivedImage]:
    """Rendered scenes with the attention recorded on them."""
    archived = []
    for seed in seeds:
        item = _labelled(seed, mode)
        attention = ArchivedAttention.read(_scene_path(folder, mode, seed))
        archived.append(ArchivedImage(item.image, item.class_ids, attention, item.labels))
    return archived


def _decoded_path(folder: Path, name: str) -> Path:
    return folder / "decoded" / f"{name}.jpg"


def _scene_path(folder: Path, mode: str, seed: int) -> Path:
    return folder / mode / f"{seed}.npz"


def _labelled(seed: int, mode: str) -> LabelledImage:
    scene = render_scene(seed)
    item = labelled_scene(scene, prompt="")
    caption = write_caption(scene.objects, scene.background, random.Random(seed))
    return replace(item, prompt=full_text(caption, item.words, mode))


class GeneratedImages:
    """The images for a seed, a prompt mode and a guidance scale (None: the settings'), in a separate folder."""

    def __init__(self, folder: Path, mode: str, seed: int, guidance_scale: float | None = None) -> None:
        guided = mode if guidance_scale is None else f"{mode}_guidance{guidance_scale:g}"
        self._folder = folder / guided / f"seed{seed}"
        self._mode, self._seed, self._guidance_scale = mode, seed, guidance_scale

    def plan(self, settings: GenerateSettings, count: int) -> list[ImageJob]:
        """Jobs for the missing images among the first `count`; batches are generated completely."""
        if self._guidance_scale is not None:
            settings = replace(settings, sampler=replace(settings.sampler, guidance_scale=self._guidance_scale))
        prompts = plan_dataset(replace(settings, num_images=count, seed=self._seed), load_vocabulary("voc")).prompts
        size = settings.batch_size
        batches = [tuple(prompts[start : start + size]) for start in range(0, count, size)]
        missing = [batch for batch in batches if not all(self._attention(p.sample_id).exists() for p in batch)]
        parts = [tuple(missing[start : start + JOB_BATCHES]) for start in range(0, len(missing), JOB_BATCHES)]
        return [ImageJob(settings, self, part) for part in parts]

    def make(self, job: ImageJob) -> None:
        """Generate the images of a job."""
        settings = job.settings
        pipe = load_model(settings.model.path, settings.sampler.scheduler)
        generator = Generator(pipe, settings.sampler, settings.attention, load_vocabulary("voc"), self._mode)
        for batch in job.batches:
            self._make_batch(pipe, settings.sampler.num_inference_steps, generator, batch)

    def _make_batch(
        self, pipe: "StableDiffusionPipeline", num_inference_steps: int, generator: Generator, batch: Sequence[Prompt]
    ) -> None:
        full_texts = [generator.prompt_text(prompt) for prompt in batch]
        texts = read_texts(
            pipe.tokenizer,
            partial(_encode, pipe),
            full_texts if self._mode == APPENDED else None,
            [[VOC_WORDS[class_id - 1] for class_id in prompt.class_ids] for prompt in batch],
            [prompt.seed for prompt in batch],
        )
        plan = plan_recordings(find_attention_layers(pipe.unet, latent_size(pipe)), texts)
        pipe.scheduler.set_timesteps(num_inference_steps)
        recordings = [planned.recording for planned in plan]
        num_calls = len(pipe.scheduler.timesteps)
        with QuarterlyRecorder(pipe.unet, recordings, num_calls) as recorder:
            samples = generator.sample(batch)
        for index, sample in enumerate(samples):
            sample_id = sample.prompt.sample_id
            write_atomically(self.image_path(sample_id), encode_image(sample.image))
            facts = {"class_ids": sample.prompt.class_ids, "prompt": full_texts[index]}
            write_atomically(self._folder / "facts" / f"{sample_id}.json", json.dumps(facts).encode())
            archive(plan, recorder.quarters(index), index, num_calls).write(self._attention(sample_id))

    def read(self, count: int) -> Iterator[tuple[str, ArchivedImage]]:
        """The first `count` images, each with its id."""
        for path in sorted((self._folder / "attention").glob("*.npz"))[:count]:
            facts = json.loads((self._folder / "facts" / f"{path.stem}.json").read_bytes())
            image = read_image(self.image_path(path.stem))
            yield path.stem, ArchivedImage(image, tuple(facts["class_ids"]), ArchivedAttention.read(path))

    def image_path(self, sample_id: str) -> Path:
        """The image's file, a JPEG."""
        return self._folder / "JPEGImages" / f"{sample_id}.jpg"

    def _attention(self, sample_id: str) -> Path:
        return self._folder / "attention" / f"{sample_id}.npz"


def generate_images(job: ImageJob) -> None:
    """Generate the images of a job, in any process."""
    job.images.make(job)


def _encode(pipe: "StableDiffusionPipeline", texts: Sequence[str]) -> torch.Tensor:
    with torch.no_grad():
        states, _ = pipe.encode_prompt(
            list(texts), pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    return states
