"""Batches for training and validation, from VOC-style folders.

What is drawn, and how it is augmented, is a function of the seed and of the number of the draw: not of the number of
loader processes, and not of whether the run was interrupted.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from torch.utils.data import DataLoader

from dataset_diffusion.labelled.label_names import Labels
from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.settings.protocol import TestProtocol

import_mmseg()
from mmseg.datasets import BaseSegDataset  # noqa: E402
from mmseg.registry import TRANSFORMS  # noqa: E402

MAX_CLASS_SHARE = 0.75
"""A crop of which one class covers more is drawn again, up to ten times."""
LONGEST_SIDE = 4
"""No image is enlarged beyond this many crops in length, before the random scale."""


@dataclass(frozen=True)
class VocData:
    """A split of a VOC-style folder; `masks_dir` may lie elsewhere."""

    root: Path
    masks_dir: Path
    split: str

    @property
    def split_file(self) -> Path:
        """The file with an id in each line."""
        return self.root / "ImageSets" / "Segmentation" / f"{self.split}.txt"

    @cached_property
    def sample_ids(self) -> tuple[str, ...]:
        """The ids of the split, in its order."""
        return tuple(self.split_file.read_text(encoding="utf-8").split())

    def image_path(self, sample_id: str) -> Path:
        """The sample's image."""
        return self.root / "JPEGImages" / f"{sample_id}.jpg"


def training_steps(crop_size: int, scale_range: Sequence[float]) -> list[dict[str, Any]]:
    """The usual augmentation of mmsegmentation's VOC configs, which the paper used.

    `scale_range` holds the least and the largest factor of the random size.
    The masks are resized to the nearest pixel: no label is ever mixed with another.
    """
    return [
        {"type": "LoadImageFromFile"},
        *load_mask_steps(),
        {
            "type": "RandomResize",
            "scale": (LONGEST_SIDE * crop_size, crop_size),
            "ratio_range": tuple(scale_range),
            "keep_ratio": True,
        },
        {"type": "RandomCrop", "crop_size": (crop_size, crop_size), "cat_max_ratio": MAX_CLASS_SHARE},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]


def validation_steps(protocol: TestProtocol) -> list[dict[str, Any]]:
    """Images at the protocol's scale; their masks stay as they are, and scores are resized to them."""
    resizing = [] if protocol.scale is None else [{"type": "Resize", "scale": protocol.scale, "keep_ratio": True}]
    return [{"type": "LoadImageFromFile"}, *resizing, *load_mask_steps(), {"type": "PackSegInputs"}]


def load_mask_steps() -> list[dict[str, Any]]:
    """Masks are read with Pillow: OpenCV turns a palette PNG's labels into colours."""
    return [{"type": "LoadAnnotations", "imdecode_backend": "pillow"}]


class TrainingDataset(BaseSegDataset):
    """Images with masks, asked for by `(draw, index)`: the same draw is always augmented in the same way."""

    def __init__(self, seed: int, **settings: Any) -> None:
        self._seed = seed
        super().__init__(**settings)

    def __getitem__(self, drawn: tuple[int, int]) -> dict[str, Any]:
        draw, index = drawn
        # The transforms draw from the global generators.
        state = np.random.SeedSequence((self._seed, draw)).generate_state(4)
        np.random.seed(state)
        random.seed(int(state[0]))
        item: dict[str, Any] = super().__getitem__(index)
        return item


class DrawSampler(InfiniteSampler):
    """Endless random permutations of a dataset's indices, each index with the number of its draw.

    With several processes the draws are dealt to them one by one: together they draw what a single one would.
    """

    def _infinite_indices(self) -> Iterator[tuple[int, int]]:
        return enumerate(super()._infinite_indices())


def training_loader(
    data: VocData,
    labels: Labels,
    *,
    crop_size: int,
    scale_range: Sequence[float],
    batch_size: int,
    seed: int,
    num_workers: int,
) -> DataLoader:
    """Endless batches of augmented images."""
    dataset = TrainingDataset(seed, **_dataset_settings(data, labels, training_steps(crop_size, scale_range)))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=DrawSampler(dataset, seed=seed),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=pseudo_collate,
    )


def validation_loader(data: VocData, labels: Labels, *, protocol: TestProtocol, num_workers: int) -> DataLoader:
    """Each image of a split once, alone (their sizes may differ)."""
    dataset = BaseSegDataset(test_mode=True, **_dataset_settings(data, labels, validation_steps(protocol)))
    return DataLoader(
        dataset,
        batch_size=1,
        sampler=DefaultSampler(dataset, shuffle=False),
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )


def _dataset_settings(data: VocData, labels: Labels, steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "ann_file": str(data.split_file.absolute()),
        "data_prefix": {
            "img_path": str((data.root / "JPEGImages").absolute()),
            "seg_map_path": str(data.masks_dir.absolute()),
        },
        "metainfo": {"classes": list(labels.names), "palette": [list(colour) for colour in labels.palette]},
        "pipeline": [TRANSFORMS.build(step) for step in steps],
    }
