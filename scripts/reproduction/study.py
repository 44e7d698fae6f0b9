"""Measure every variant by its metrics; existing results are read."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from dataset_diffusion.files import HELD_FILE, explaining_write_errors, held_by_one_process
from dataset_diffusion.settings.generate import GenerateSettings
from scripts.reproduction.figures import Figures
from scripts.reproduction.findings import needs_more_seeds
from scripts.reproduction.images import (
    CALIBRATION_SEEDS,
    SCENES_DIR,
    TEST_SEEDS,
    decode_scenes,
    generate_images,
    load_model,
    plan_decoding,
    plan_scenes,
    read_scenes,
    record_scenes,
)
from scripts.reproduction.judge import Judge, judge_job, train_judge
from scripts.reproduction.masks import MaskFigures, Thresholds, choose_thresholds, measure_masks
from scripts.reproduction.mechanism import POWER_ROWS, ObjectFigures, group_by_size, object_figures
from scripts.reproduction.recipe import ArchivedImage, Recipe
from scripts.reproduction.records import read_record, write_record
from scripts.reproduction.scale import Scale
from scripts.reproduction.segmentor import (
    SegmentorJob,
    file_name,
    generated_images,
    run_job,
    validation_folder,
)
from scripts.reproduction.training_sets import rendered_seeds
from scripts.reproduction.variants import CAPTION, CLAIMS, REFERENCE, Experiment, Metric, Variant
from scripts.reproduction.workers import run_in_processes
from scripts.toy_model.quality import class_word_gain

GROUPS_A_SEED = 3
"""Groups of a seed's generated images whose masks are compared with the judge's labels."""
MORE_SEEDS = 3
"""Seeds added before undecided claims are checked again."""
JUDGED_SEEDS = 2
"""The judge may use this many times the most seeds: a seed of images takes less time than a training."""
MODEL_JOBS, TRAINING_JOBS = 100, 20
"""Jobs per process, for processes that load the model and for those that import what trainings need."""


class Study:
    """Measures variants in a work folder."""

    def __init__(self, settings: GenerateSettings, folder: Path, scale: Scale, at_once: int) -> None:
        """`settings` are the reference's; `at_once` processes share the cores."""
        self._settings, self._folder, self._scale, self._at_once = settings, folder, scale, at_once
        self._calibration: dict[str, list[ArchivedImage]] = {}
        self._thresholds: dict[tuple[str, Recipe], Thresholds] = {}
        with explaining_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def measure(self, experiments: Iterable[Experiment], segmentor_rows: Collection[str] | None = None) -> Figures:
        """Measure all rows of the tables; by the second metric only `segmentor_rows`, if given."""
        rows = [(table, variant) for table in experiments for variant in (table.reference, *table.variants)]
        by_masks = list(dict.fromkeys(variant for table, variant in rows if table.is_measured(variant, "masks")))
        by_segmentor = dict.fromkeys(
            variant
            for table, variant in rows
            if table.is_measured(variant, "segmentor") and (segmentor_rows is None or variant.name in segmentor_rows)
        )
        judged = dict.fromkeys(variant for table, variant in rows if table.is_measured(variant, "judged"))
        figures = Figures()
        with held_by_one_process(
            self._folder / HELD_FILE, f"{self._folder}: another reproduction is writing to it; wait for it to finish"
        ):
            self._measure_masks(by_masks, figures)
            if figures.masks.keys() >= set(POWER_ROWS.values()):
                self._measure_power_by_size(figures)
            if not self._scale.seeds or any(variant.mode == CAPTION for variant in by_masks):
                self._measure_class_words(figures)
            if self._scale.seeds:
                most = self._scale.most_seeds
                self._measure_with_seeds("judged", judged, self._measure_judged, JUDGED_SEEDS * most, figures)
                self._measure_with_seeds("segmentor", by_segmentor, self._measure_segmentors, most, figures)
        return figures

    def _measure_with_seeds(
        self,
        metric: Metric,
        variants: Collection[Variant],
        measure: Callable[[Collection[Variant], int, Figures], None],
        most_seeds: int,
        figures: Figures,
    ) -> None:
        """Measure rows with the scale's number of seeds, then those of claims that stay open with more."""
        measure(variants, self._scale.seeds, figures)
        for seeds in range(self._scale.seeds + MORE_SEEDS, most_seeds + 1, MORE_SEEDS):
            still_open = [claim for claim in CLAIMS if needs_more_seeds(figures, claim, metric)]
            names = {name for claim in still_open for name in (claim.better, claim.worse)}
            measure([variant for variant in variants if variant.name in names], seeds, figures)

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

    def _measure_power_by_size(self, figures: Figures) -> None:
        path = self._folder / "power_by_size.json"
        seeds, mode = self._test_seeds, REFERENCE.mode
        thresholds = {power: figures.thresholds[name] for power, name in POWER_ROWS.items()}
        made_by = {"scenes": len(seeds), "thresholds": list(thresholds.items())}
        objects = read_record(path, made_by)
        if objects is None:
            self._record(seeds, mode)
            scenes = (read_scenes(self._folder / SCENES_DIR, [seed], mode)[0] for seed in seeds)
            objects = [asdict(item) for scene in scenes for item in object_figures(scene, thresholds)]
            write_record(path, made_by, objects)
        figures.power_by_size = group_by_size([ObjectFigures(**item) for item in objects])

    def _measure_judged(self, variants: Collection[Variant], seeds: int, figures: Figures) -> None:
        """Compare each variant's masks with the judge's labels of its images for the seeds 0, 1, ..."""
        if not variants:
            return
        judge = self._judge()
        path = self._folder / "judged" / "judge.json"
        made_by = {"judge": judge_job(self._folder, self._scale).facts, "validation": self._scale.validation}
        figures.judge_miou = read_record(path, made_by)
        if figures.judge_miou is None:
            figures.judge_miou = judge.miou_on_scenes(self._scale.validation)
            write_record(path, made_by, figures.judge_miou)
        made_from: dict[tuple[str, float | None, int], list[Variant]] = {}
        for variant in variants:
            made_from.setdefault((variant.mode, variant.guidance_scale, self._count(variant)), []).append(variant)
            figures.judged[variant.name] = []
        for same_images in made_from.values():
            for seed in range(seeds):
                self._judge_seed(same_images, seed, judge, figures)

    def _judge_seed(self, variants: Sequence[Variant], seed: int, judge: Judge, figures: Figures) -> None:
        """Add the figures for one seed's images, which are the same for all `variants`."""
        groups: list[list[ArchivedImage]] = []
        for variant in variants:
            path = self._folder / "judged" / f"{file_name(variant)}_seed{seed}.json"
            thresholds = self._choose(variant)
            made_by = {
                "judge": judge_job(self._folder, self._scale).facts,
                "recipe": asdict(variant.recipe),
                "mode": variant.mode,
                "band": variant.band,
                "images": self._count(variant),
                "guidance_scale": variant.guidance_scale,
                "thresholds": asdict(thresholds),
                "seed": seed,
            }
            measured = read_record(path, made_by)
            if measured is None:
                groups = groups or self._labelled_groups(variant, seed, judge)
                measured = [asdict(measure_masks(group, variant.recipe, thresholds, variant.band)) for group in groups]
                write_record(path, made_by, measured)
            figures.judged[variant.name] += [MaskFigures(**group) for group in measured]

    def _judge(self) -> Judge:
        """The judge, which is trained if it does not exist."""
        job = judge_job(self._folder, self._scale)
        if not job.path.exists():
            run_in_processes(train_judge, [job], self._at_once, "judge", "training", TRAINING_JOBS)
        return Judge(job.path)

    def _labelled_groups(self, variant: Variant, seed: int, judge: Judge) -> list[list[ArchivedImage]]:
        """A seed's generated images with the judge's labels, in groups; missing images are generated."""
        images = [judge.label(image) for _, image in self._generated(variant, seed)]
        size = -(-len(images) // GROUPS_A_SEED)
        return [images[start : start + size] for start in range(0, len(images), size)]

    def _count(self, variant: Variant) -> int:
        """A variant's number of images for each seed."""
        return round(self._scale.images * variant.images)

    def _generated(self, variant: Variant, seed: int) -> Iterable[tuple[str, ArchivedImage]]:
        images, count = generated_images(self._folder, variant, seed), self._count(variant)
        jobs = images.plan(self._settings, count)
        run_in_processes(
            generate_images, jobs, self._at_once, f"images, {variant.mode}, seed {seed}", "job", MODEL_JOBS
        )
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

    @property
    def _test_seeds(self) -> Sequence[int]:
        return TEST_SEEDS[: self._scale.groups * self._scale.scenes]

    def _test_scenes(self, mode: str) -> list[ArchivedImage]:
        return self._scenes(self._test_seeds, mode)

    def _scenes(self, seeds: Sequence[int], mode: str) -> list[ArchivedImage]:
        """Rendered scenes with the attention on them; missing attention is recorded."""
        self._record(seeds, mode)
        return read_scenes(self._folder / SCENES_DIR, seeds, mode)

    def _record(self, seeds: Sequence[int], mode: str) -> None:
        jobs = plan_scenes(self._settings, self._folder / SCENES_DIR, seeds, mode)
        run_in_processes(record_scenes, jobs, self._at_once, f"scenes, {mode}", "job", MODEL_JOBS)

    def _choose(self, variant: Variant) -> Thresholds:
        """A variant's thresholds, chosen with prompts of its mode on scenes that no measurement uses."""
        key = (variant.mode, variant.recipe)
        if key not in self._thresholds:
            if variant.mode not in self._calibration:
                seeds = CALIBRATION_SEEDS[: self._scale.calibration]
                self._calibration[variant.mode] = self._scenes(seeds, variant.mode)
            self._thresholds[key] = choose_thresholds(self._calibration[variant.mode], variant.recipe)
        return self._thresholds[key]

    def _measure_segmentors(self, variants: Collection[Variant], seeds: int, figures: Figures) -> None:
        """Train and test each variant with the seeds 0, 1, ..."""
        jobs = list(self._plan_jobs(variants, seeds))
        if not jobs:
            return
        validation_folder(self._folder, self._scale.validation)
        waiting = [job for job in jobs if not job.is_finished()]
        for job in waiting:
            self._prepare(job)
        run_in_processes(run_job, waiting, self._at_once, "trainings", "training", TRAINING_JOBS)
        for variant in variants:
            figures.segmentor[variant.name] = []
        for job in jobs:
            for variant in job.variants:
                result = job.result(variant)
                assert result is not None  # it was trained above
                figures.segmentor[variant.name].append(result["miou"])

    def _prepare(self, job: SegmentorJob) -> None:
        """Make the files that a training's images and masks are read from, if they do not exist."""
        variant = job.variants[0]
        count = self._count(variant)
        if variant.labels == "judge":
            self._judge()
        if variant.source == "recorded":
            self._record(rendered_seeds(job.seed, count), variant.mode)
        elif variant.source == "decoded":
            decoding = plan_decoding(self._settings, self._folder, rendered_seeds(job.seed, count))
            run_in_processes(decode_scenes, decoding, self._at_once, "autoencoder", "job", MODEL_JOBS)
        elif variant.source != "rendered":
            self._generated(variant, job.seed)

    def _plan_jobs(self, variants: Iterable[Variant], seeds: int) -> Iterable[SegmentorJob]:
        """One training for all variants that differ only in their test; all jobs of one seed before the next."""
        by_training: dict[Variant, dict[str, Variant]] = {}
        for variant in variants:
            by_training.setdefault(replace(variant, name="", tta=False), {})[variant.name] = variant
        for seed in range(seeds):
            for same in by_training.values():
                first = next(iter(same.values()))
                thresholds = self._choose(first) if _has_attention(first) else Thresholds(0.5)
                yield SegmentorJob(self._folder, tuple(same.values()), seed, thresholds, self._scale)


def _has_attention(variant: Variant) -> bool:
    return variant.source in {"generated", "both", "recorded"}
