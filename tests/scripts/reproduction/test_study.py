"""A study resumes where it was stopped, and a finished one repeats nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataset_diffusion.settings.generate import GenerateSettings, PromptSettings, SamplerSettings
from scripts.reproduction import study as study_module
from scripts.reproduction.images import GeneratedImages, generate_images
from scripts.reproduction.masks import Thresholds
from scripts.reproduction.recipe import Recipe
from scripts.reproduction.scale import Scale
from scripts.reproduction.segmentor import run_job
from scripts.reproduction.study import Study
from scripts.reproduction.variants import Claim, Experiment, Variant

SCALE = Scale(
    seeds=1, groups=2, scenes=2, calibration=2, images=2, iterations=2, validation=2, judge_scenes=2, judge_iterations=2
)
TABLE = Experiment(
    "table",
    "A table",
    (
        Variant("no band", band=0.0),
        Variant("guided", guidance_scale=7.0),
        Variant("TTA", tta=True),
        Variant("more", images=2),
    ),
    masks_only=("guided", "more"),
)


def settings() -> GenerateSettings:
    return GenerateSettings(
        output_dir="unused",
        num_images=1,
        seed=0,
        batch_size=2,
        prompts=PromptSettings(template="toy", classes_per_image=[1.0]),
        sampler=SamplerSettings(num_inference_steps=4, guidance_scale=2.0, scheduler="ddim"),
    )


def test_a_stopped_study_resumes_and_a_finished_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    stop_after = 2  # scenes to choose thresholds on and scenes to measure; the judge, images and trainings follow

    def run_here(work: Callable, jobs: Sequence, at_once: int, what: str, unit: str, jobs_a_process: int = 1) -> None:
        for job in jobs:
            if len(done) == stop_after:
                raise KeyboardInterrupt
            work(job)
            done.append(job)

    monkeypatch.setattr(study_module, "run_in_processes", run_here)
    for stop_after in (2, 5):  # noqa: B007  (run_here reads it)
        with pytest.raises(KeyboardInterrupt):
            Study(settings(), tmp_path, SCALE, at_once=1).measure([TABLE])
    stop_after = -1
    figures = Study(settings(), tmp_path, SCALE, at_once=1).measure([TABLE])
    kinds = [type(job).__name__ for job in done]
    # No job runs twice: the reference and TTA share a training, and the smaller image set is part of the larger.
    assert kinds == ["SceneJob"] * 2 + ["JudgeJob"] + ["ImageJob"] * 3 + ["SegmentorJob"] * 2
    names = ["reference", "no band", "TTA", "more", "guided"]
    assert {name: len(groups) for name, groups in figures.masks.items()} == dict.fromkeys(names[:4], 2)
    assert {name: len(groups) for name, groups in figures.judged.items()} == dict.fromkeys(names, 2)
    assert {name: len(seeds) for name, seeds in figures.segmentor.items()} == dict.fromkeys(names[:3], 1)
    # Guidance leaves the attention on rendered scenes unchanged, but not the sampled images.
    assert figures.judged["guided"] != figures.judged["reference"]
    assert figures.masks["no band"][0].share_ignored == 0 < figures.masks["reference"][0].share_ignored
    stop_after = len(done)
    assert Study(settings(), tmp_path, SCALE, at_once=1).measure([TABLE]) == figures
    fewer = Study(settings(), tmp_path, SCALE, at_once=1).measure([TABLE], segmentor_rows=["reference", "no band"])
    assert list(fewer.segmentor) == ["reference", "no band"]
    assert fewer.masks == figures.masks


def test_undecided_claims_get_more_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = (0.0, 0.2, 0.1, 0.0, 0.0, 0.0, 0.1, 0.2)

    def run_here(work: Callable, jobs: Sequence, at_once: int, what: str, unit: str, jobs_a_process: int = 1) -> None:
        if work is run_job:
            for job in jobs:
                for variant in job.variants:
                    miou = {"reference": 0.5, "both": 0.1}.get(variant.name, 0.5 + noise[job.seed])
                    job.write_result(variant, {"miou": miou + 0.01 * job.seed + 0.002 * noise[-job.seed]})

    monkeypatch.setattr(study_module, "run_in_processes", run_here)
    monkeypatch.setattr(Study, "_choose", lambda *_: Thresholds(0.5))
    rows = (Variant("no band", band=0.0), Variant("both", source="both"), Variant("rendered", source="rendered"))
    monkeypatch.setattr(
        study_module,
        "CLAIMS",
        (
            Claim("a", "reference", "no band", ("segmentor",)),
            Claim("b", "rendered", "both", ("segmentor",)),
        ),
    )
    table = Experiment("t", "T", rows, metrics=("segmentor",))
    scale = replace(SCALE, seeds=3, most_seeds=8)
    monkeypatch.setattr(GeneratedImages, "plan", lambda *_: [])
    figures = Study(settings(), tmp_path, scale, at_once=1).measure([table])
    # The first claim stays open; 3 + 3 seeds are the most that fit below 8. The second is clear despite the noise.
    assert {name: len(seeds) for name, seeds in figures.segmentor.items()} == {
        "reference": 6,
        "no band": 6,
        "both": 3,
        "rendered": 3,
    }


def test_rows_that_the_judge_leaves_open_get_more_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        Variant("blurred", recipe=Recipe(power=8)),
        Variant("no band", band=0.0),
        Variant("guided", guidance_scale=7.0),
    )
    table = Experiment("t", "T", rows, metrics=("judged",))
    # Masks without a band are the same with and without one, so the second claim's interval is narrow at once.
    claims = (Claim("a", "reference", "blurred", ("judged",)), Claim("b", "reference", "no band", ("judged",)))
    monkeypatch.setattr(study_module, "CLAIMS", claims)
    monkeypatch.setattr(study_module, "run_in_processes", lambda work, jobs, *_: [work(job) for job in jobs])
    Study(settings(), tmp_path, SCALE, at_once=1).measure([table])
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "judged").iterdir()}
    figures = Study(settings(), tmp_path, replace(SCALE, most_seeds=2), at_once=1).measure([table])
    groups = {name: len(groups) for name, groups in figures.judged.items()}
    assert groups == {"reference": 8, "blurred": 8, "no band": 2, "guided": 2}
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(set(figures.judged["reference"])) > 4  # each seed has other images


def test_images_with_another_guidance_equal_those_made_with_its_settings(tmp_path: Path) -> None:
    guided = GeneratedImages(tmp_path, "caption_and_classes", seed=0, guidance_scale=7.0)
    expected = GeneratedImages(tmp_path / "expected", "caption_and_classes", seed=0)
    seven = replace(settings(), sampler=replace(settings().sampler, guidance_scale=7.0))
    for job in (*guided.plan(settings(), 2), *expected.plan(seven, 2)):
        generate_images(job)
    for (_, made), (_, same) in zip(guided.read(2), expected.read(2), strict=True):
        assert np.array_equal(made.image, same.image)


def test_a_larger_image_set_starts_with_the_smaller_one(tmp_path: Path) -> None:
    images = GeneratedImages(tmp_path, "caption_and_classes", seed=0)
    for job in images.plan(settings(), 2):
        generate_images(job)
    first = {name: item.image.tobytes() for name, item in images.read(2)}
    for job in images.plan(settings(), 4):
        generate_images(job)
    assert images.plan(settings(), 4) == []
    all_of_them = {name: item.image.tobytes() for name, item in images.read(4)}
    assert list(all_of_them) == ["000000", "000001", "000002", "000003"]
    assert first.items() <= all_of_them.items()
