"""Images with masks for training sets, and the folders that dd-train reads."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_diffusion.dataset.description import DESCRIPTION_FILE, describe_vocabulary
from dataset_diffusion.drawing import shrink
from dataset_diffusion.files import encode_json, write_atomically
from dataset_diffusion.images import encode_image, write_label_mask
from dataset_diffusion.toy.scenes import TRAINING_SEEDS, render_scene
from dataset_diffusion.vocabulary import load_vocabulary

RENDERED_STRIDE = 100_000
"""Distance between the first scenes of two seeds. The shipped model was trained on fewer, the first ones."""
JUDGE_FIRST_SCENE = 900_000
"""The judge's scenes start here, and end before the next multiple of the stride."""
FULL_SIDE, SMALL_SIDE = 128, 64
"""Sides of the images for training and testing: the toy world's, and half of that, for a quarter of the work."""


@dataclass(frozen=True)
class TrainingItem:
    """An image [H, W, 3] uint8 of a training set with its mask [H, W] uint8 and its confidence in [0, 1]."""

    name: str
    image: np.ndarray
    labels: np.ndarray
    class_ids: tuple[int, ...]
    confidence: float = 1.0


def rendered_seeds(seed: int, count: int) -> range:
    """The scenes for a seed's trainings; neither the model nor the judge was trained on any of them."""
    first = (seed + 1) * RENDERED_STRIDE
    if first >= JUDGE_FIRST_SCENE:
        first += RENDERED_STRIDE
    return TRAINING_SEEDS[first : first + count]


def rendered_items(seeds: Sequence[int]) -> Iterator[TrainingItem]:
    """Scenes with exact masks."""
    for scene_seed in seeds:
        scene = render_scene(scene_seed)
        class_ids = tuple(placed.class_id for placed in scene.objects)
        yield TrainingItem(f"scene_{scene_seed}", scene.image, scene.label_mask, class_ids)


def write_folder(folder: Path, items: Iterable[TrainingItem], split: str, side: int) -> None:
    """Write a folder as dd-train and dd-eval read it, with images and masks reduced to `side`; its split comes last."""
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
