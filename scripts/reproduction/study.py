"""Measure every variant by its metrics; whatever was measured already is read."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dataset_diffusion.files import explaining_write_errors, held_by_one_process
from dataset_diffusion.settings.generate import GenerateSettings
from scripts.reproduction.images import (
    CALIBRATION_SEEDS,
    SCENES_DIR,
    TEST_SEEDS,
    GeneratedImages,
    generate_images,
    load_model,
    plan_scenes,
    read_scenes,
    record_scenes,
)
from scripts.reproduction.judge import Judge, JudgeJob, train_judge
from scripts.reproduction.masks import MaskFigures, Thresholds, choose_thresholds, measure_masks
from scripts.reproduction.recipe import ArchivedImage, Recipe
from scripts.reproduction.records import read_record, write_record
from scripts.reproduction.scale import Scale
from scripts.reproduction.segmentor import (
    SegmentorJob,
    file_name,
    rendered_seeds,
    run_job,
    validation_folder,
)
from scripts.reproduction.variants import CAPTION, Experiment, Variant
from scripts.reproduction.workers import run_in_processes
from scripts.toy_model.quality import class_word_gain

GROUPS_A_SEED = 3
"""Groups of a seed's generated images that the judge's labels are compared with."""
MODEL_JOBS, TRAINING_JOBS = 100, 20
"""Jobs of a process that has loaded the model, and of one that has imported what trainings need."""


@dataclass
class Figures:
    """What was measured, by the names of the variants: of each group of scenes, and the mIoU of each training."""

    masks: dict[str, list[MaskFigures]] = field(default_factory=dict)
    judged: dict[str, list[MaskFigures]] = field(default_factory=dict)
    """Of each group of generated images, against the judge's labels."""
    judge_miou: float | None = None
    """Of the judge's labels of rendered scenes, their classes being known."""
    segmentor: dict[str, list[float]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    class_word_gain: list[float] = field(default_factory=list)
    """Of each group of scenes; see toy.quality.class_word_gain."""


class Study:
    """Measures variants in a work folder."""

    def __init__(self, settings: GenerateSettings, folder: Path, scale: Scale, at_once: int) -> None:
        """`settings` are those of the reference; `at_once` processes share the cores."""
        self._settings, self._folder, self._scale, self._at_once = settings, folder, scale, at_once
        self._calibration: dict[str, list[ArchivedImage]] = {}
        self._thresholds: dict[tuple[str, Recipe], Thresholds] = {}
        with explaining_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def measure(self, experiments: Iterable[Experiment], segmentor_rows: Collection[str] | None = None) -> Figures:
        """All rows of the tables; by the second metric only `segmentor_rows`, if given."""
        rows = [(table, variant) for table in experiments for variant in (table.reference, *table.variants)]
        by_masks = list(dict.fromkeys(variant for table, variant in rows if table.is_measured(variant, "masks")))
        by_segmentor = dict.fromkeys(
            variant
            for table, variant in rows
            if table.is_measured(variant, "segmentor") and (segmentor_rows is None or variant.name in segmentor_rows)
        )
        judged = dict.fromkeys(variant for table, variant in rows if table.is_measured(variant, "judged"))
        figures = Figures()
        with held_by_one_process(self._folder, f"{self._folder}: another reproduction writes in it; wait for it"):
            self._measure_masks(by_masks, figures)
            if not self._scale.seeds or any(variant.mode == CAPTION for variant in by_masks):
                self._measure_class_words(figures)
            if self._scale.seeds:
                if judged:
                    self._measure_judged(list(judged), figures)
                self._measure_segmentors(list(by_segmentor), figures)
        return figures

    def _measure_masks(self, variants: Sequence[Variant], figures: Figures) -> None:
        scale = {name: getattr(self._scale, name) for name in ("groups", "scenes", "calibration")}
        for mode in dict.fromkeys(variant.mode for variant in variants):
            scenes: list[ArchivedImage] | None = None
            for variant in (v for v in variants if v.mode == mode):
                path = self._folder / "masks" / f"{file_name(variant)}.json"
                made_by = {"recipe": asdict(variant.recipe), "mode": mode, "band": variant.band, **scale}
                record = read_record(path, made_by)
                if record is None:
                    scenes = scenes or self._test_scenes(mode)
                    thresholds = self._choose(variant)
                    size = self._scale.scenes
                    groups = [scenes[start : start + size] for start in range(0, len(scenes), size)]
                    measured = [measure_masks(group, variant.recipe, thresholds, variant.band) for group in groups]
                    record = {"threshold": thresholds.common, "groups": [asdict(group) for group in measured]}
                    write_record(path, made_by, record)
                figures.masks[variant.name] = [MaskFigures(**group) for group in record["groups"]]
                figures.thresholds[variant.name] = record["threshold"]

    def _measure_judged(self, variants: Sequence[Variant], figures: Figures) -> None:
        judge, trained = self._judge()
        path, made_by = self._folder / "judged" / "judge.json", {**trained, "validation": self._scale.validation}
        figures.judge_miou = read_record(path, made_by)
        if figures.judge_miou is None:
            figures.judge_miou = judge.miou_on_scenes(self._scale.validation)
            write_record(path, made_by, figures.judge_miou)
        labelled: dict[tuple[str, int], list[list[ArchivedImage]]] = {}
        for variant in variants:
            path = self._folder / "judged" / f"{file_name(variant)}.json"
            thresholds = self._choose(variant)
            count = round(self._scale.images * variant.images)
            facts = {"recipe": asdict(variant.recipe), "mode": variant.mode, "band": variant.band, "images": count}
            made_by = {**trained, **facts, "thresholds": asdict(thresholds), "seeds": self._scale.seeds}
            measured = read_record(path, made_by)
            if measured is None:
                key = (variant.mode, count)
                if key not in labelled:
                    labelled.clear()  # One at a time in memory.
                    labelled[key] = list(self._labelled_groups(variant.mode, count, judge))
                groups = (measure_masks(group, variant.recipe, thresholds, variant.band) for group in labelled[key])
                measured = [asdict(group) for group in groups]
                write_record(path, made_by, measured)
            figures.judged[variant.name] = [MaskFigures(**group) for group in measured]

    def _judge(self) -> tuple[Judge, dict[str, Any]]:
        """The judge, trained unless it is there, and what it was trained with."""
        trained = {"scenes": self._scale.judge_scenes, "iterations": self._scale.judge_iterations}
        job = JudgeJob(self._folder / f"judge_{'_'.join(map(str, trained.values()))}", **trained)
        if not job.path.exists():
            run_in_processes(train_judge, [job], self._at_once, "judge", "training", TRAINING_JOBS)
        return Judge(job.path), {"judge": trained}

    def _labelled_groups(self, mode: str, count: int, judge: Judge) -> Iterable[list[ArchivedImage]]:
        """Each seed's generated images with the judge's labels, in groups; what is missing is generated."""
        for seed in range(self._scale.seeds):
            images = [judge.label(image) for _, image in self._generated(mode, seed, count)]
            size = -(-len(images) // GROUPS_A_SEED)
            yield from (images[start : start + size] for start in range(0, len(images), size))

    def _generated(self, mode: str, seed: int, count: int) -> Iterable[tuple[str, ArchivedImage]]:
        images = GeneratedImages(self._folder / "generated", mode, seed)
        jobs = images.plan(self._settings, count)
        run_in_processes(generate_images, jobs, self._at_once, f"images, {mode}, seed {seed}", "job", MODEL_JOBS)
        return images.read(count)

    def _measure_class_words(self, figures: Figures) -> None:
        path = self._folder / "class_word_gain.json"
        size = self._scale.scenes
        groups = [TEST_SEEDS[group * size : (group + 1) * size] for group in range(self._scale.groups)]
        made_by = {"groups": len(groups), "scenes": size}
        gains = read_record(path, made_by)
        if gains is None:
            pipe = load_model(self._settings.model.path, self._settings.sampler.scheduler)
            gains = [class_word_gain(pipe, group) for group in tqdm(groups, desc="class words", unit="group")]
            write_record(path, made_by, gains)
        figures.class_word_gain = gains

    def _test_scenes(self, mode: str) -> list[ArchivedImage]:
        return self._scenes(TEST_SEEDS[: self._scale.groups * self._scale.scenes], mode)

    def _scenes(self, seeds: Sequence[int], mode: str) -> list[ArchivedImage]:
        """Rendered scenes with the attention on them; what is missing is recorded."""
        self._record(seeds, mode)
        return read_scenes(self._folder / SCENES_DIR, seeds, mode)

    def _record(self, seeds: Sequence[int], mode: str) -> None:
        jobs = plan_scenes(self._settings, self._folder / SCENES_DIR, seeds, mode)
        run_in_processes(record_scenes, jobs, self._at_once, f"scenes, {mode}", "job", MODEL_JOBS)

    def _choose(self, variant: Variant) -> Thresholds:
        """A variant's thresholds, chosen on scenes that nothing is measured on, with prompts of its mode."""
        key = (variant.mode, variant.recipe)
        if key not in self._thresholds:
            if variant.mode not in self._calibration:
                seeds = CALIBRATION_SEEDS[: self._scale.calibration]
                self._calibration[variant.mode] = self._scenes(seeds, variant.mode)
            self._thresholds[key] = choose_thresholds(self._calibration[variant.mode], variant.recipe)
        return self._thresholds[key]

    def _measure_segmentors(self, variants: Sequence[Variant], figures: Figures) -> None:
        all_jobs = list(self._plan_jobs(variants))
        for side in {job.side for job in all_jobs}:
            validation_folder(self._folder, self._scale.validation, side)
        waiting = [job for job in all_jobs if not job.is_finished()]
        for job in waiting:
            variant = job.variants[0]
            if variant.source == "recorded":
                self._record(rendered_seeds(job.seed, round(self._scale.images * variant.images)), variant.mode)
            elif variant.source != "rendered":
                self._generated(variant.mode, job.seed, round(self._scale.images * variant.images))
        run_in_processes(run_job, waiting, self._at_once, "trainings", "training", TRAINING_JOBS)
        for job in all_jobs:
            for variant in job.variants:
                result = job.result(variant)
                assert result is not None  # it was trained above
                figures.segmentor.setdefault(variant.name, []).append(result["miou"])

    def _plan_jobs(self, variants: Sequence[Variant]) -> Iterable[SegmentorJob]:
        """One training for all variants that differ in their test alone; all of one seed before the next."""
        by_training: dict[Variant, dict[str, Variant]] = {}
        for variant in variants:
            by_training.setdefault(replace(variant, name="", tta=False), {})[variant.name] = variant
        for seed in range(self._scale.seeds):
            for same in by_training.values():
                shared = tuple(same.values())
                if shared[0].once and seed > 0:
                    continue
                yield SegmentorJob(
                    self._folder,
                    shared,
                    seed,
                    self._choose(shared[0]) if shared[0].source != "rendered" else Thresholds(0.5),
                    self._scale,
                )
