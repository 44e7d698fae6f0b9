"""The second metric: a segmentor trained on a variant's images and masks, tested on rendered scenes."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from dataset_diffusion.calibration.choice import band_around
from dataset_diffusion.dataset.description import DESCRIPTION_FILE, describe_vocabulary
from dataset_diffusion.drawing import shrink
from dataset_diffusion.evaluation.evaluate import measure
from dataset_diffusion.files import encode_json, write_atomically
from dataset_diffusion.images import encode_image, write_label_mask
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.masks import label_mask
from dataset_diffusion.metrics import segmentation_metrics
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.segmentation.segmentor import load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import MaskSettings
from dataset_diffusion.settings.train import TrainSettings
from dataset_diffusion.toy.scenes import TRAINING_SEEDS, VALIDATION_SEEDS, render_scene
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.reproduction.images import SCENES_DIR, GeneratedImages, read_scenes
from scripts.reproduction.masks import Thresholds
from scripts.reproduction.recipe import ArchivedImage, make_scores
from scripts.reproduction.records import read_record, write_record
from scripts.reproduction.scale import Scale
from scripts.reproduction.variants import Variant

RENDERED_STRIDE = 100_000
"""Between the scenes of two seeds. The shipped model was trained on fewer, the first ones."""
SOFT_STEP = 0.1
"""Between the thresholds of the three masks that make a soft label."""
NO_EMA_HORIZON = 1e-9
FULL_SIDE, SMALL_SIDE = 128, 64
"""Of the images that are trained and tested on: as the toy world has them; half of that, a quarter of the work."""
SMALL_SEGMENTOR = (f"crop_size={SMALL_SIDE}", "segmentor.output_stride=8", "segmentor.base_channels=16", "lr=6e-3")
"""What a training has otherwise than `experiment=toy`, so that it takes about a minute on two cores."""


@dataclass(frozen=True)
class SegmentorJob:
    """A training and its test. `variants` share all but how they are tested: what is different is their `tta`."""

    folder: Path
    variants: tuple[Variant, ...]
    seed: int
    thresholds: Thresholds
    scale: Scale

    @property
    def full_schedule(self) -> bool:
        """Whether it is trained as `experiment=toy` says."""
        return self.variants[0].full_schedule

    @property
    def side(self) -> int:
        """Of the images that are trained and tested on, in pixels."""
        return FULL_SIDE if self.full_schedule else SMALL_SIDE

    def result(self, variant: Variant) -> dict[str, Any] | None:
        """The figures of a variant's test; None if it is not finished."""
        return read_record(self._path(variant), self._made_by(variant))

    def write_result(self, variant: Variant, figures: dict[str, Any]) -> None:
        """Keep the figures of a variant's test."""
        write_record(self._path(variant), self._made_by(variant), figures)

    def is_finished(self) -> bool:
        """Whether all its tests are."""
        return all(self.result(variant) is not None for variant in self.variants)

    def _path(self, variant: Variant) -> Path:
        return self.folder / "segmentors" / f"{file_name(variant)}_seed{self.seed}.json"

    def _made_by(self, variant: Variant) -> dict[str, Any]:
        """All that figures depend on, other than the model and how images are made, which the folder is for."""
        facts = asdict(replace(variant, name=""))
        del facts["once"]
        return {
            "variant": facts,
            "thresholds": asdict(self.thresholds),
            "images": round(self.scale.images * variant.images),
            "first_rendered": rendered_seeds(self.seed, 1)[0],
            "iterations": None if self.full_schedule else self.scale.iterations,
            "validation": self.scale.validation,
        }


@dataclass(frozen=True)
class TrainingItem:
    """An image [H, W, 3] uint8 of a training set with its mask [H, W] uint8 and its confidence in [0, 1]."""

    name: str
    image: np.ndarray
    labels: np.ndarray
    first_class: int
    confidence: float = 1.0


def file_name(variant: Variant) -> str:
    """The variant's name without what has no place in a file's name."""
    return "_".join("".join(c if c.isalnum() or c == "." else " " for c in variant.name).split())


def run_job(job: SegmentorJob) -> None:
    """Train, test, and write the results; what the training prints goes to a log. For a separate process."""
    work = job.folder / "trainings" / f"{file_name(job.variants[0])}_seed{job.seed}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with (work / "log.txt").open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        write_folder(work / "dataset", training_items(job), "train", job.side)
        exported = train(training_settings(job, work))
        segmentor = load_segmentor(exported)
        validation = validation_folder(job.folder, job.scale.validation, job.side)
        dataset = VocDataset("toy", validation, "val", load_vocabulary("voc").label_names)
        for variant in job.variants:
            confusion = measure(segmentor, dataset, range(len(dataset.ids)), tta=variant.tta)
            metrics = segmentation_metrics(confusion)
            figures = {"miou": metrics.miou, "pixel_accuracy": metrics.pixel_accuracy, "iou": metrics.iou.tolist()}
            job.write_result(variant, figures)
    shutil.rmtree(work)


def validation_folder(folder: Path, count: int, side: int) -> Path:
    """The folder of the first validation scenes, made unless it is there."""
    root = folder / f"validation_{count}_{side}"
    if not (root / "ImageSets" / "Segmentation" / "val.txt").exists():
        write_folder(root, rendered_items(VALIDATION_SEEDS[:count]), "val", side)
    return root


def training_settings(job: SegmentorJob, work: Path) -> TrainSettings:
    """Those of `experiment=toy`; unless the schedule is the full one, a smaller network and fewer iterations."""
    variant = job.variants[0]
    overrides = [
        f"dataset_dir={work / 'dataset'}",
        f"work_dir={work / 'run'}",
        f"seed={job.seed}",
        f"avg_non_ignore={variant.avg_non_ignore}",
        f"self_training={variant.self_training}",
    ]
    if not job.full_schedule:
        iterations = job.scale.iterations
        overrides += [*SMALL_SEGMENTOR, f"iterations={iterations}", f"checkpoint_interval={iterations}"]
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
        items += attention_items(job, GeneratedImages(job.folder / "generated", variant.mode, job.seed).read(count))
    if variant.source == "recorded":
        seeds = rendered_seeds(job.seed, count)
        scenes = read_scenes(job.folder / SCENES_DIR, seeds, variant.mode)
        items += attention_items(job, ((f"scene_{seed}", scene) for seed, scene in zip(seeds, scenes, strict=True)))
    if variant.source in {"rendered", "both"}:
        items += rendered_items(rendered_seeds(job.seed, count))
    return items


def rendered_seeds(seed: int, count: int) -> range:
    """The scenes that trainings of a seed have, none of which the model was trained on."""
    first = (seed + 1) * RENDERED_STRIDE
    return TRAINING_SEEDS[first : first + count]


def rendered_items(seeds: Sequence[int]) -> Iterator[TrainingItem]:
    """Scenes with exact masks."""
    for scene_seed in seeds:
        scene = render_scene(scene_seed)
        yield TrainingItem(f"scene_{scene_seed}", scene.image, scene.label_mask, scene.objects[0].class_id)


def attention_items(job: SegmentorJob, images: Iterable[tuple[str, ArchivedImage]]) -> list[TrainingItem]:
    """Images, each with its name, and the masks of the variant's recipe."""
    variant, common = job.variants[0], job.thresholds.common
    masks = {"": band_around(common, variant.band)}
    if variant.soft:
        shifted = {"low": common - SOFT_STEP, "middle": common, "high": common + SOFT_STEP}
        masks = {name: MaskSettings(threshold, threshold) for name, threshold in shifted.items()}
    items = []
    for image_name, image in images:
        scores = job.thresholds.apply(make_scores(image, variant.recipe))
        for name, settings in masks.items():
            mask = label_mask(scores, settings.threshold, settings.uncertainty_threshold)
            confidence = float(np.mean(mask.confidence))
            items.append(TrainingItem(f"{image_name}{name}", image.image, mask.labels, image.class_ids[0], confidence))
    return most_confident(items, variant.kept_share)


def most_confident(items: list[TrainingItem], kept_share: float) -> list[TrainingItem]:
    """Of the items of each class (their first), the share with the highest confidence, in their order."""
    kept: set[str] = set()
    for class_id in {item.first_class for item in items}:
        of_class = sorted((item for item in items if item.first_class == class_id), key=lambda item: -item.confidence)
        kept |= {item.name for item in of_class[: max(1, round(kept_share * len(of_class)))]}
    return [item for item in items if item.name in kept]


def write_folder(folder: Path, items: Iterable[TrainingItem], split: str, side: int) -> None:
    """A folder as dd-train and dd-eval read it, with images and masks reduced to `side`; its split comes last."""
    names = []
    for item in items:
        image, labels = shrink(item.image, item.labels, side)
        write_atomically(folder / "JPEGImages" / f"{item.name}.jpg", encode_image(image))
        write_label_mask(folder / "SegmentationClass" / f"{item.name}.png", labels)
        names.append(item.name)
    description = {"vocabulary": describe_vocabulary(load_vocabulary("voc"))}
    write_atomically(folder / DESCRIPTION_FILE, encode_json(description))
    lines = "".join(f"{name}\n" for name in names)
    write_atomically(folder / "ImageSets" / "Segmentation" / f"{split}.txt", lines.encode())
