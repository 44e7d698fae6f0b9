"""Measure every variant by its yardsticks; whatever was measured already is read."""

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from dataset_diffusion.evaluation.files import write_bytes
from dataset_diffusion.reproduction.images import (
    APPENDED,
    CALIBRATION_SEEDS,
    TEST_SEEDS,
    GeneratedImages,
    Model,
    archive_scenes,
)
from dataset_diffusion.reproduction.masks import MaskFigures, Thresholds, choose_thresholds, measure_masks
from dataset_diffusion.reproduction.recipe import ArchivedImage, Recipe
from dataset_diffusion.reproduction.scale import Scale
from dataset_diffusion.reproduction.segmentor import SegmentorJob, file_name, run_job
from dataset_diffusion.reproduction.variants import REFERENCE, Experiment, Variant
from dataset_diffusion.toy.scenes import VALIDATION_SEEDS
from dataset_diffusion.toy.validation import toy_validation_set


@dataclass
class Figures:
    """What was measured, by the names of the variants: of each group of scenes, and the mIoU of each training."""

    masks: dict[str, list[MaskFigures]] = field(default_factory=dict)
    segmentor: dict[str, list[float]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)


class Study:
    """Measures variants in a work folder."""

    def __init__(self, model: Model, folder: Path, scale: Scale, jobs: int) -> None:
        """`jobs` trainings run at once, each with its share of the cores."""
        self._model, self._folder, self._scale, self._jobs = model, folder, scale, jobs
        self._calibration: list[ArchivedImage] | None = None
        self._thresholds: dict[Recipe, Thresholds] = {}

    def measure(self, experiments: Iterable[Experiment]) -> Figures:
        """All rows of the tables, and the reference."""
        tables = list(experiments)
        by_masks = [v for table in tables for v in table.variants if table.is_measured(v, "masks")]
        by_segmentor = [v for table in tables for v in table.variants if table.is_measured(v, "segmentor")]
        figures = Figures()
        self._measure_masks([REFERENCE, *by_masks], figures)
        if self._scale.seeds:
            self._measure_segmentors([REFERENCE, *by_segmentor], figures)
        return figures

    def _measure_masks(self, variants: Sequence[Variant], figures: Figures) -> None:
        for mode in dict.fromkeys(variant.mode for variant in variants):
            scenes: list[ArchivedImage] | None = None
            for variant in (v for v in variants if v.mode == mode):
                path = self._folder / "masks" / f"{file_name(variant)}.json"
                if not path.exists():
                    scenes = scenes or self._test_scenes(mode)
                    thresholds = self._choose(variant.recipe)
                    size = self._scale.scenes
                    groups = [scenes[start : start + size] for start in range(0, len(scenes), size)]
                    measured = [measure_masks(group, variant.recipe, thresholds, variant.band) for group in groups]
                    record = {"threshold": thresholds.common, "groups": [asdict(group) for group in measured]}
                    write_bytes(path, json.dumps(record, indent=1).encode())
                record = json.loads(path.read_bytes())
                figures.masks[variant.name] = [MaskFigures(**group) for group in record["groups"]]
                figures.thresholds[variant.name] = record["threshold"]

    def _test_scenes(self, mode: str) -> list[ArchivedImage]:
        return archive_scenes(
            self._model, self._folder / "scenes", TEST_SEEDS[: self._scale.groups * self._scale.scenes], mode
        )

    def _choose(self, recipe: Recipe) -> Thresholds:
        """A recipe's thresholds, chosen on scenes that nothing is measured on, given the paper's prompts."""
        if recipe not in self._thresholds:
            if self._calibration is None:
                seeds = CALIBRATION_SEEDS[: self._scale.calibration]
                self._calibration = archive_scenes(self._model, self._folder / "scenes", seeds, APPENDED)
            self._thresholds[recipe] = choose_thresholds(self._calibration, recipe)
        return self._thresholds[recipe]

    def _measure_segmentors(self, variants: Sequence[Variant], figures: Figures) -> None:
        validation = toy_validation_set(self._folder, VALIDATION_SEEDS[: self._scale.validation])
        all_jobs = list(self._plan_jobs(variants, validation))
        waiting = [job for job in all_jobs if not job.is_finished()]
        for job in waiting:
            if (variant := job.variants[0]).source != "rendered":
                images = GeneratedImages(self._folder / "generated", variant.mode, job.seed)
                images.make(self._model, round(self._scale.images * variant.images))
        run_in_processes(waiting, self._jobs)
        for job in all_jobs:
            for variant in job.variants:
                record = json.loads(job.result_path(variant).read_bytes())
                figures.segmentor.setdefault(variant.name, []).append(record["miou"])

    def _plan_jobs(self, variants: Sequence[Variant], validation: Path) -> Iterable[SegmentorJob]:
        """One training for all variants that differ in their test alone; all of one seed before the next."""
        by_training: dict[Variant, dict[str, Variant]] = {}
        for variant in variants:
            by_training.setdefault(replace(variant, name="", tta=False), {})[variant.name] = variant
        for seed in range(self._scale.seeds):
            for same in by_training.values():
                shared = tuple(same.values())
                yield SegmentorJob(
                    self._folder,
                    shared,
                    seed,
                    self._choose(shared[0].recipe) if shared[0].source != "rendered" else Thresholds(0.5),
                    self._scale,
                    validation,
                    threads=max(1, num_cores() // self._jobs),
                )


def run_in_processes(jobs: Sequence[SegmentorJob], at_once: int) -> None:
    """Run trainings, several at once, with a progress bar; the first that fails ends all."""
    if not jobs:
        return
    with (
        ProcessPoolExecutor(at_once, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool,
        tqdm(total=len(jobs), desc="trainings", unit="training", dynamic_ncols=True) as bar,
    ):
        running = [pool.submit(run_job, job) for job in jobs]
        try:
            for finished in as_completed(running):
                finished.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs() -> int:
    """On a GPU one training at a time, on a CPU one for each core: small networks gain little from several."""
    return 1 if torch.cuda.is_available() else num_cores()
