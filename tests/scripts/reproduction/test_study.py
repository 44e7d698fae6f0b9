"""A study resumes where it was stopped, and a finished one does nothing again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_diffusion.settings.generate import GenerateSettings, PromptSettings, SamplerSettings
from scripts.reproduction import study as study_module
from scripts.reproduction.images import GeneratedImages, generate_images
from scripts.reproduction.scale import Scale
from scripts.reproduction.study import Study
from scripts.reproduction.variants import Experiment, Variant

SCALE = Scale(
    seeds=1, groups=2, scenes=2, calibration=2, images=2, iterations=2, validation=2, judge_scenes=2, judge_iterations=2
)
TABLE = Experiment(
    "table", "A table", (Variant("no band", band=0.0), Variant("TTA", tta=True), Variant("more", images=2))
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


def test_a_study_that_is_stopped_goes_on_and_a_finished_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    stop_after = 2  # scenes to choose thresholds on, scenes to measure: then the judge, images, trainings

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
    # No job twice: the reference and TTA share a training, and the fewer images are the first of the more.
    assert kinds == ["SceneJob"] * 2 + ["JudgeJob"] + ["ImageJob"] * 2 + ["SegmentorJob"] * 3
    names = ["reference", "no band", "TTA", "more"]
    assert {name: len(groups) for name, groups in figures.masks.items()} == dict.fromkeys(names, 2)
    assert {name: len(groups) for name, groups in figures.judged.items()} == dict.fromkeys(names, 2)
    assert {name: len(seeds) for name, seeds in figures.segmentor.items()} == dict.fromkeys(names, 1)
    assert figures.masks["no band"][0].share_ignored == 0 < figures.masks["reference"][0].share_ignored
    stop_after = len(done)
    assert Study(settings(), tmp_path, SCALE, at_once=1).measure([TABLE]) == figures
    fewer = Study(settings(), tmp_path, SCALE, at_once=1).measure([TABLE], segmentor_rows=["reference", "no band"])
    assert list(fewer.segmentor) == ["reference", "no band"]
    assert fewer.masks == figures.masks


def test_a_row_that_is_tried_once_has_the_first_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_here(work: Callable, jobs: Sequence, at_once: int, what: str, unit: str, jobs_a_process: int = 1) -> None:
        for job in jobs:
            for variant in job.variants:
                job.write_result(variant, {"miou": 0.1 * (job.seed + 1)})

    monkeypatch.setattr(study_module, "run_in_processes", run_here)
    rows = (Variant("once", source="rendered", once=True), Variant("EMA", source="rendered", ema=False))
    table = Experiment("t", "T", rows, Variant("reference", source="rendered"), metrics=("segmentor",))
    figures = Study(settings(), tmp_path, replace(SCALE, seeds=2), at_once=1).measure([table])
    assert figures.segmentor == {"reference": [0.1, 0.2], "once": [0.1], "EMA": [0.1, 0.2]}


def test_images_of_a_larger_number_begin_with_those_of_a_smaller(tmp_path: Path) -> None:
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
