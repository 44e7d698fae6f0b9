"""A study goes on where it was stopped, and a finished one needs no model."""

from pathlib import Path

import pytest

from dataset_diffusion.reproduction import study as study_module
from dataset_diffusion.reproduction.images import GeneratedImages, Model
from dataset_diffusion.reproduction.scale import Scale
from dataset_diffusion.reproduction.segmentor import SegmentorJob, run_job
from dataset_diffusion.reproduction.study import Study
from dataset_diffusion.reproduction.variants import Experiment, Variant
from dataset_diffusion.settings.generate import GenerateSettings, PromptSettings, SamplerSettings

SCALE = Scale(seeds=1, groups=2, scenes=2, calibration=2, images=2, iterations=2, validation=2)
TABLE = Experiment(
    "table", "A table", (Variant("no band", band=0.0), Variant("TTA", tta=True), Variant("more", images=2))
)


class NoModel(Model):
    """One that must not be needed."""

    @property
    def pipe(self) -> None:  # type: ignore[override]
        raise AssertionError("the model was loaded")


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
    done: list[SegmentorJob] = []

    def run_here(jobs: list[SegmentorJob], at_once: int) -> None:
        for job in jobs:
            if len(done) == 1 and stop:
                raise KeyboardInterrupt
            run_job(job)
            done.append(job)

    monkeypatch.setattr(study_module, "run_in_processes", run_here)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        Study(Model(settings()), tmp_path, SCALE, jobs=1).measure([TABLE])
    stop = False
    figures = Study(Model(settings()), tmp_path, SCALE, jobs=1).measure([TABLE])
    assert len(done) == 3  # the reference and TTA share a training
    assert {name: len(groups) for name, groups in figures.masks.items()} == {
        "reference": 2,
        "no band": 2,
        "TTA": 2,
        "more": 2,
    }
    assert {name: len(seeds) for name, seeds in figures.segmentor.items()} == {
        "reference": 1,
        "no band": 1,
        "TTA": 1,
        "more": 1,
    }
    assert figures.masks["no band"][0].share_ignored == 0 < figures.masks["reference"][0].share_ignored
    again = Study(NoModel(settings()), tmp_path, SCALE, jobs=1).measure([TABLE])
    assert again == figures


def test_images_of_a_larger_number_begin_with_those_of_a_smaller(tmp_path: Path) -> None:
    images = GeneratedImages(tmp_path, "caption_and_classes", seed=0)
    images.make(Model(settings()), 2)
    first = {name: item.image.tobytes() for name, item in images.read(2)}
    images.make(Model(settings()), 4)
    images.make(NoModel(settings()), 4)
    all_of_them = {name: item.image.tobytes() for name, item in images.read(4)}
    assert list(all_of_them) == ["000000", "000001", "000002", "000003"]
    assert first.items() <= all_of_them.items()
