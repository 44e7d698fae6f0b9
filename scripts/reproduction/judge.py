"""The third metric: masks of generated images against the labels of a judge, a segmentor trained on rendered scenes.

No training is part of it, so it varies far less than the second metric. Errors in the images and in the masks both
count: if a requested object is missing, its mask agrees with nothing. The judge errs too, so its labels of scenes whose
classes it is told are measured as well.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from dataset_diffusion.metrics import confusion_matrix, segmentation_metrics
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.segmentation.segmentor import Segmentor, load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.train import TrainSettings
from dataset_diffusion.toy.scenes import TRAINING_SEEDS, VALIDATION_SEEDS, render_scene
from scripts.reproduction.recipe import ArchivedImage
from scripts.reproduction.scale import Scale
from scripts.reproduction.training_sets import FULL_SIDE, JUDGE_FIRST_SCENE, rendered_items, write_folder
from scripts.toy_model.quality import NUM_LABELS


@dataclass(frozen=True)
class JudgeJob:
    """The judge of a study: `experiment=toy` on `scenes` rendered scenes, without copy-paste."""

    folder: Path
    scenes: int
    iterations: int

    @property
    def path(self) -> Path:
        """The segmentor's file."""
        return self.folder / "run" / "segmentor.pth"

    @property
    def facts(self) -> dict[str, int]:
        """What the judge is trained with."""
        return {"scenes": self.scenes, "iterations": self.iterations}


def judge_job(folder: Path, scale: Scale) -> JudgeJob:
    """The judge of a study in `folder`."""
    name = f"judge_{scale.judge_scenes}_{scale.judge_iterations}"
    return JudgeJob(folder / name, scale.judge_scenes, scale.judge_iterations)


def train_judge(job: JudgeJob) -> None:
    """Train the judge, or resume; the training's output goes to a log."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        scenes = rendered_items(TRAINING_SEEDS[JUDGE_FIRST_SCENE : JUDGE_FIRST_SCENE + job.scenes])
        write_folder(job.folder / "dataset", scenes, "train", FULL_SIDE)
        overrides = [
            f"dataset_dir={job.folder / 'dataset'}",
            f"work_dir={job.folder / 'run'}",
            f"iterations={job.iterations}",
            "copy_paste=0",
            "resume=true",
        ]
        with initialize_config_dir(str(configs_dir() / "train"), version_base="1.3"):
            train(to_settings(TrainSettings, compose("config", overrides)))


def likeliest(probabilities: np.ndarray, class_ids: Iterable[int]) -> np.ndarray:
    """The most likely of background and `class_ids` at each pixel, [H, W] uint8, given probabilities [C, H, W]."""
    known = np.array([0, *sorted(set(class_ids))], dtype=np.uint8)
    return known[probabilities[known].argmax(axis=0)]


class Judge:
    """Labels images whose classes are known."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _segmentor(self) -> Segmentor:
        return load_segmentor(self._path)

    def label(self, item: ArchivedImage) -> ArchivedImage:
        """The image with the judge's labels as its mask."""
        return replace(item, labels=self.labels(item.image, item.class_ids))

    def labels(self, image: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
        """The most likely of background and `class_ids` at each pixel, [H, W] uint8, of an image [H, W, 3] uint8."""
        return likeliest(self._segmentor.predict_probabilities(image).numpy(), class_ids)

    def miou_on_scenes(self, count: int) -> float:
        """The mIoU of its labels on rendered scenes that it was not trained on, in 0 ... 1."""
        confusion = sum(self._confusions(VALIDATION_SEEDS[:count]))
        return segmentation_metrics(np.asarray(confusion)).miou

    def _confusions(self, seeds: Sequence[int]) -> Iterator[np.ndarray]:
        for seed in seeds:
            scene = render_scene(seed)
            labels = self.labels(scene.image, [item.class_id for item in scene.objects])
            yield confusion_matrix(scene.label_mask, labels, NUM_LABELS)
