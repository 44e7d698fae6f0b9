"""The second metric: a segmentor trained on a variant's images and masks, tested on rendered scenes."""

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from dataset_diffusion.calibration.choice import band_around
from dataset_diffusion.evaluation.evaluate import measure
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.metrics import segmentation_metrics
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.segmentation.segmentor import load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import MaskSettings
from dataset_diffusion.settings.train import TrainSettings
from dataset_diffusion.toy.scenes import VALIDATION_SEEDS
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.reproduction.images import SCENES_DIR, GeneratedImages, read_decoded_scene, read_scenes
from scripts.reproduction.judge import Judge, judge_job
from scripts.reproduction.masks import Thresholds
from scripts.reproduction.recipe import ArchivedImage, make_mask, make_scores
from scripts.reproduction.records import read_record, write_record
from scripts.reproduction.scale import Scale
from scripts.reproduction.training_sets import SMALL_SIDE, TrainingItem, rendered_items, rendered_seeds, write_folder
from scripts.reproduction.variants import Variant

SOFT_STEP = 0.1
"""Step between the thresholds of the three masks that make a soft label."""
NO_EMA_HORIZON = 1e-9
SMALL_SEGMENTOR = (
    f"crop_size={SMALL_SIDE}",
    "segmentor.output_stride=8",
    "segmentor.base_channels=16",
    "lr=6e-3",
    "copy_paste=0",
)
"""Changes to `experiment=toy`: a training takes a minute on two cores. The paper has no copy-paste."""


@dataclass(frozen=True)
class SegmentorJob:
    """A training and its tests. `variants` share everything except for how they are tested: their `tta` differs."""

    folder: Path
    variants: tuple[Variant, ...]
    seed: int
    thresholds: Thresholds
    scale: Scale

    def result(self, variant: Variant) -> dict[str, Any] | None:
        """The figures of a variant's test; None if it is not finished."""
        return read_record(self._path(variant), self._made_by(variant))

    def write_result(self, variant: Variant, figures: dict[str, Any]) -> None:
        """Write the figures of a variant's test."""
        write_record(self._path(variant), self._made_by(variant), figures)

    def is_finished(self) -> bool:
        """Whether all tests are finished."""
        return all(self.result(variant) is not None for variant in self.variants)

    def _path(self, variant: Variant) -> Path:
        return self.folder / "segmentors" / f"{file_name(variant)}_seed{self.seed}.json"

    def _made_by(self, variant: Variant) -> dict[str, Any]:
        """Everything that figures depend on, except the model and how images are made, which determine the folder."""
        facts: dict[str, Any] = {
            "variant": asdict(replace(variant, name="")),
            "thresholds": asdict(self.thresholds),
            "images": round(self.scale.images * variant.images),
            "first_rendered": rendered_seeds(self.seed, 1)[0],
            "iterations": self.scale.iterations,
            "validation": self.scale.validation,
        }
        if variant.labels == "judge":
            facts["judge"] = judge_job(self.folder, self.scale).facts
        return facts


def file_name(variant: Variant) -> str:
    """The variant's name without characters that do not belong in a file name."""
    return "_".join("".join(c if c.isalnum() or c == "." else " " for c in variant.name).split())


def run_job(job: SegmentorJob) -> None:
    """Train, test, and write the results; the training's output goes to a log. For a separate process."""
    work = job.folder / "trainings" / f"{file_name(job.variants[0])}_seed{job.seed}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with (work / "log.txt").open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        write_folder(work / "dataset", training_items(job), "train", SMALL_SIDE)
        exported = train(training_settings(job, work))
        segmentor = load_segmentor(exported)
        validation = validation_folder(job.folder, job.scale.validation)
        dataset = VocDataset("toy", validation, "val", load_vocabulary("voc").label_names)
        for variant in job.variants:
            confusion = measure(segmentor, dataset, range(len(dataset.ids)), tta=variant.tta)
            metrics = segmentation_metrics(confusion)
            figures = {"miou": metrics.miou, "pixel_accuracy": metrics.pixel_accuracy, "iou": metrics.iou.tolist()}
            job.write_result(variant, figures)
    shutil.rmtree(work)


def validation_folder(folder: Path, count: int) -> Path:
    """The folder of the first validation scenes, made if it does not exist."""
    root = folder / f"validation_{count}_{SMALL_SIDE}"
    if not (root / "ImageSets" / "Segmentation" / "val.txt").exists():
        write_folder(root, rendered_items(VALIDATION_SEEDS[:count]), "val", SMALL_SIDE)
    return root


def training_settings(job: SegmentorJob, work: Path) -> TrainSettings:
    """The settings of `experiment=toy`, with a smaller network and fewer iterations."""
    variant, iterations = job.variants[0], job.scale.iterations
    overrides = [
        f"dataset_dir={work / 'dataset'}",
        f"work_dir={work / 'run'}",
        f"seed={job.seed}",
        f"avg_non_ignore={variant.avg_non_ignore}",
        f"self_training={variant.self_training}",
        *SMALL_SEGMENTOR,
        f"iterations={iterations}",
        f"checkpoint_interval={iterations}",
    ]
    if not variant.ema:
        overrides.append(f"ema_horizon={NO_EMA_HORIZON}")
    with initialize_config_dir(str(configs_dir() / "train"), version_base="1.3"):
        return to_settings(TrainSettings, compose("config", overrides))


def training_items(job: SegmentorJob) -> list[TrainingItem]:
    """The images and masks of a job's variant."""
    variant = job.variants[0]
    count = round(job.scale.images * variant.images)
    items: list[TrainingItem] = []
    if variant.source in {"generated", "both"}:
        items += attention_items(job, generated_images(job.folder, variant, job.seed).read(count))
    if variant.source == "recorded":
        seeds = rendered_seeds(job.seed, count)
        scenes = read_scenes(job.folder / SCENES_DIR, seeds, variant.mode)
        items += attention_items(job, ((f"scene_{seed}", scene) for seed, scene in zip(seeds, scenes, strict=True)))
    if variant.source in {"rendered", "both", "decoded"}:
        items += rendered_items(rendered_seeds(job.seed, count))
    if variant.source == "decoded":
        items = [replace(item, image=read_decoded_scene(job.folder, item.name)) for item in items]
    if variant.labels == "judge":
        judge = Judge(judge_job(job.folder, job.scale).path)
        items = [replace(item, labels=judge.labels(item.image, item.class_ids)) for item in items]
    return items


def generated_images(folder: Path, variant: Variant, seed: int) -> GeneratedImages:
    """The images that a variant's masks are made from, in a study's folder."""
    return GeneratedImages(folder / "generated", variant.mode, seed, variant.guidance_scale)


def attention_items(job: SegmentorJob, images: Iterable[tuple[str, ArchivedImage]]) -> list[TrainingItem]:
    """Training items from images and their names, with the masks of the variant's recipe."""
    variant, common = job.variants[0], job.thresholds.common
    masks = {"": band_around(common, variant.band)}
    if variant.soft:
        shifted = {"low": common - SOFT_STEP, "middle": common, "high": common + SOFT_STEP}
        masks = {name: MaskSettings(threshold, threshold) for name, threshold in shifted.items()}
    items = []
    for image_name, image in images:
        scores = job.thresholds.apply(make_scores(image, variant.recipe))
        for name, settings in masks.items():
            mask = make_mask(scores, variant.recipe, settings)
            confidence = float(np.mean(mask.confidence))
            items.append(TrainingItem(f"{image_name}{name}", image.image, mask.labels, image.class_ids, confidence))
    return most_confident(items, variant.kept_share)


def most_confident(items: list[TrainingItem], kept_share: float) -> list[TrainingItem]:
    """The share of each class's items (by their first class) with the highest confidence, in their order."""
    kept: set[str] = set()
    for class_id in {item.class_ids[0] for item in items}:
        of_class = sorted((item for item in items if item.class_ids[0] == class_id), key=lambda item: -item.confidence)
        kept |= {item.name for item in of_class[: max(1, round(kept_share * len(of_class)))]}
    return [item for item in items if item.name in kept]
