"""Small datasets in the real layouts, and a segmentor whose answers are known."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.vocabulary import load_vocabulary

BLOCK = 16
GREY_STEP = 3

# COCO's category ids: 1 ... 90 without the ten that were never annotated.
UNUSED_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_IDS = [category_id for category_id in range(1, 91) if category_id not in UNUSED_COCO_IDS]


class GreyReader:
    """A segmentor that reads its answer from the image: the label is the grey value / 3. See `answer_image`."""

    def __init__(self, label_names: tuple[str, ...]) -> None:
        self.label_names = label_names
        self.tta_asked: list[bool] = []

    batch_size = 1

    def protocol(self, tta: bool = False) -> dict[str, Any]:
        return {"test_scale": "own", "test_mode": "whole"}

    def predict(self, images: list[np.ndarray], tta: bool = False) -> list[np.ndarray]:
        self.tta_asked.append(tta)
        assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in images)
        return [np.round(image.mean(axis=2) / GREY_STEP).astype(np.uint8) for image in images]


def answer_image(answer: np.ndarray) -> np.ndarray:
    """The image [16 h, 16 w, 3] for which GreyReader predicts `answer` [h, w], each entry as a block of 16 x 16.

    Whole grey JPEG blocks survive the compression within 1 of 255.
    """
    return enlarge(answer)[:, :, None].repeat(3, axis=2) * GREY_STEP


def enlarge(values: np.ndarray) -> np.ndarray:
    return np.kron(values, np.ones((BLOCK, BLOCK), dtype=np.uint8)).astype(np.uint8)


def save_palette_png(path: Path, labels: np.ndarray) -> None:
    mask = Image.fromarray(labels)
    mask.putpalette([value for label in range(256) for value in (label, 255 - label, 0)])
    mask.save(path)


@pytest.fixture
def make_voc() -> Callable[..., Path]:
    """Writes a folder in VOC's layout from `{id: (image, labels)}` and returns it."""

    def make(root: Path, samples: Mapping[str, tuple[np.ndarray, np.ndarray]], split: str = "val") -> Path:
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for sample_id, (image, labels) in samples.items():
            Image.fromarray(image).save(root / "JPEGImages" / f"{sample_id}.jpg", quality=95)
            save_palette_png(root / "SegmentationClass" / f"{sample_id}.png", labels)
        ids = "".join(f"{sample_id}\n" for sample_id in samples)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(ids)
        return root

    return make


@pytest.fixture
def make_coco() -> Callable[..., Path]:
    """Writes a folder in COCO 2017's layout from `{file name: image}` and a list of annotations, and returns it.

    Image ids are 7, 14, ... in name order; annotations refer to their image by `file_name`.
    """

    def make(root: Path, images: Mapping[str, np.ndarray], annotations: list[dict[str, Any]]) -> Path:
        (root / "annotations").mkdir(parents=True)
        (root / "val2017").mkdir()
        ids = {name: 7 * number for number, name in enumerate(images, start=1)}
        for name, image in images.items():
            Image.fromarray(image).save(root / "val2017" / name, quality=95)
        names = [entry.name for entry in load_vocabulary("coco").classes]
        content = {
            "images": [
                {"id": ids[name], "file_name": name, "height": image.shape[0], "width": image.shape[1]}
                for name, image in images.items()
            ],
            "annotations": [
                {"id": number, "image_id": ids[entry["file_name"]], "iscrowd": 0, **entry}
                for number, entry in enumerate(annotations, start=1)
            ],
            "categories": [{"id": number, "name": name} for number, name in zip(COCO_IDS, names, strict=True)],
        }
        (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
        return root

    return make
