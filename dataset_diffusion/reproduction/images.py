"""The images of the reproduction with their archived attention, each made once and kept in files."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from dataset_diffusion.attention.recorder import find_attention_layers
from dataset_diffusion.calibration.recording import LabelledImage, NoisedRecorder
from dataset_diffusion.dataset.writer import encode_image
from dataset_diffusion.evaluation.files import read_image, write_bytes
from dataset_diffusion.prompts.sources import plan_prompts
from dataset_diffusion.prompts.tokens import full_text
from dataset_diffusion.reproduction.archive import (
    ArchivedAttention,
    QuarterlyRecorder,
    appended_spans,
    archive,
    archive_labelled,
    plan_recordings,
)
from dataset_diffusion.reproduction.recipe import ArchivedImage
from dataset_diffusion.sampler import Sampler, latent_size, load_pipeline
from dataset_diffusion.settings.generate import GenerateSettings
from dataset_diffusion.toy.captions import write_caption
from dataset_diffusion.toy.quality import labelled_scene
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, VOC_WORDS, render_scene
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

APPENDED = "caption_and_classes"
CALIBRATION_SEEDS = HELD_OUT_SEEDS[5000:]
TEST_SEEDS = HELD_OUT_SEEDS[:5000]


class Model:
    """The toy model, loaded when it is first needed: a finished run needs none."""

    def __init__(self, settings: GenerateSettings) -> None:
        self.settings = settings
        self._pipe: StableDiffusionPipeline | None = None

    @property
    def pipe(self) -> "StableDiffusionPipeline":
        """The pipeline, with the scheduler of the settings."""
        if self._pipe is None:
            self._pipe = load_pipeline(self.settings.model, self.settings.sampler)
        return self._pipe


def archive_scenes(model: Model, folder: Path, seeds: Sequence[int], mode: str) -> list[ArchivedImage]:
    """Rendered scenes with the attention of the model on them, given prompts of a mode; what is missing is recorded."""
    recorder: NoisedRecorder | None = None
    archived = []
    for seed in tqdm(seeds, desc=f"scenes, {mode}", unit="scene", dynamic_ncols=True, leave=False):
        item = _labelled(seed, mode)
        path = folder / mode / f"{seed}.npz"
        if not path.exists():
            recorder = recorder or NoisedRecorder(
                model.pipe, model.settings.sampler.num_inference_steps, model.settings.attention
            )
            archive_labelled(recorder, item, seed, appended=mode == APPENDED).write(path)
        archived.append(ArchivedImage(item.image, item.class_ids, ArchivedAttention.read(path), item.labels))
    return archived


def _labelled(seed: int, mode: str) -> LabelledImage:
    scene = render_scene(seed)
    item = labelled_scene(scene, prompt="")
    caption = write_caption(scene.objects, scene.background, random.Random(seed))
    return replace(item, prompt=full_text(caption, item.words, mode))


class GeneratedImages:
    """The images of a seed and a mode of prompts, in a folder of their own."""

    def __init__(self, folder: Path, mode: str, seed: int) -> None:
        self._folder = folder / mode / f"seed{seed}"
        self._mode, self._seed = mode, seed

    def make(self, model: Model, count: int) -> None:
        """Generate those of the first `count` images that are missing."""
        settings = model.settings
        vocabulary = load_vocabulary("voc")
        prompts = plan_prompts(settings.prompts, vocabulary, count, self._seed).prompts
        size = settings.batch_size
        batches = [prompts[start : start + size] for start in range(0, count, size)]
        missing = [batch for batch in batches if not all(self._attention(p.sample_id).exists() for p in batch)]
        if not missing:
            return
        sampler = Sampler(model.pipe, settings.sampler, settings.attention, vocabulary, self._mode)
        for batch in tqdm(missing, desc=f"images, {self._mode}, seed {self._seed}", unit="batch", dynamic_ncols=True):
            self._make_batch(model, sampler, batch)

    def _make_batch(self, model: Model, sampler: Sampler, batch: Sequence[Prompt]) -> None:
        pipe = model.pipe
        texts = [sampler.class_prompt(prompt) for prompt in batch]
        full_texts = [sampler.prompt_text(prompt) for prompt in batch]
        appended = self._mode == APPENDED
        plan = plan_recordings(
            find_attention_layers(pipe.unet, latent_size(pipe)),
            _encode(pipe, [text.text for text in texts]),
            [text.spans for text in texts],
            _encode(pipe, full_texts) if appended else None,
            [
                appended_spans(pipe.tokenizer, full, [VOC_WORDS[class_id - 1] for class_id in prompt.class_ids])
                for full, prompt in zip(full_texts, batch, strict=True)
            ]
            if appended
            else [],
        )
        pipe.scheduler.set_timesteps(model.settings.sampler.num_inference_steps)
        recordings = [planned.recording for planned in plan]
        with QuarterlyRecorder(pipe.unet, recordings, len(pipe.scheduler.timesteps)) as recorder:
            samples = sampler.sample(batch)
        for index, sample in enumerate(samples):
            sample_id = sample.prompt.sample_id
            write_bytes(self.image_path(sample_id), encode_image(sample.image))
            facts = {"class_ids": sample.prompt.class_ids, "prompt": full_texts[index]}
            write_bytes(self._folder / "facts" / f"{sample_id}.json", json.dumps(facts).encode())
            archive(plan, recorder.quarters(index), index).write(self._attention(sample_id))

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


def _encode(pipe: "StableDiffusionPipeline", texts: Sequence[str]) -> torch.Tensor:
    with torch.no_grad():
        states, _ = pipe.encode_prompt(
            list(texts), pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    return states
