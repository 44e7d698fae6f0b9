"""Batches for training and validation, from one or more folders of images with masks.

Which image is drawn, and how it is augmented, depends on the seed and the number of the draw, but neither on the number
of loader processes nor on whether the run was interrupted.
"""

import bisect
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from torch.utils.data import DataLoader

from dataset_diffusion.labelled.images_with_masks import ImagesWithMasks
from dataset_diffusion.labelled.label_names import Labels
from dataset_diffusion.segmentation.copy_paste import paste_objects
from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.settings.protocol import TestProtocol

import_mmseg()
from mmseg.datasets import BaseSegDataset  # noqa: E402
from mmseg.registry import TRANSFORMS  # noqa: E402

PREFETCHED_BATCHES = 4
"""Batches prefetched per loader process."""
MAX_CLASS_SHARE = 0.75
"""A crop is drawn again, up to ten times, if one class covers more of it."""
LONGEST_SIDE = 4
"""No image's longest side is enlarged beyond this many crop sizes, before the random scaling."""


@dataclass(frozen=True)
class Source:
    """Training images and their share of the batches, in (0, 1]."""

    data: ImagesWithMasks
    share: float = 1.0


def training_steps(crop_size: int, scale_range: Sequence[float]) -> list[dict[str, Any]]:
    """The usual augmentation of mmsegmentation's VOC configs, which the paper used.

    `scale_range` holds the smallest and the largest factor of the random size.
    Masks are resized to the nearest pixel, so labels are never mixed.
    """
    return [
        *load_image_steps(),
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
    """Images at the protocol's scale; masks keep their size, and scores are resized to it."""
    resizing = [] if protocol.scale is None else [{"type": "Resize", "scale": protocol.scale, "keep_ratio": True}]
    return [*load_image_steps(), *resizing, *load_mask_steps(), {"type": "PackSegInputs"}]


def load_image_steps() -> list[dict[str, Any]]:
    """Read images as they are stored: masks are drawn on those pixels, whatever the EXIF orientation says."""
    return [{"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"}]


def load_mask_steps() -> list[dict[str, Any]]:
    """Read masks with Pillow: OpenCV turns a palette PNG's labels into colours."""
    return [{"type": "LoadAnnotations", "imdecode_backend": "pillow"}]


class PairsDataset(BaseSegDataset):
    """Images and their masks, wherever they are."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]], **settings: Any) -> None:
        self._pairs = pairs
        super().__init__(**settings)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The input of mmsegmentation's transforms."""
        return [
            {
                "img_path": str(image.absolute()),
                "seg_map_path": str(mask.absolute()),
                "label_map": None,
                "reduce_zero_label": False,
                "seg_fields": [],
            }
            for image, mask in self._pairs
        ]


class TrainingDataset(PairsDataset):
    """Images with masks, indexed by `(draw, index)`: the same draw is always augmented in the same way.

    `sizes` are the sources' image counts, in order. With probability `copy_paste`, the objects of another image from
    the same source are pasted over an image.
    """

    def __init__(self, seed: int, sizes: Sequence[int], copy_paste: float, **settings: Any) -> None:
        self._seed = seed
        self._ends = list(itertools.accumulate(sizes))
        self._copy_paste = copy_paste
        super().__init__(**settings)

    def __getitem__(self, drawn: tuple[int, int]) -> dict[str, Any]:
        draw, index = drawn
        # The transforms draw from the global generators.
        state = np.random.SeedSequence((self._seed, draw)).generate_state(4)
        np.random.seed(state)
        random.seed(int(state[0]))
        sample = self._augmented(index)
        if np.random.random() < self._copy_paste:
            source = bisect.bisect_right(self._ends, index)
            first = self._ends[source - 1] if source else 0
            paste_objects(self._augmented(np.random.randint(first, self._ends[source])), sample)
        item: dict[str, Any] = self.pipeline.transforms[-1](sample)  # packs it
        return item

    def _augmented(self, index: int) -> Any:
        sample = self.get_data_info(index)
        for transform in self.pipeline.transforms[:-1]:
            sample = transform(sample)
        return sample


class DrawSampler(InfiniteSampler):
    """Endless random permutations of a dataset's indices, each index with the number of its draw.

    With several processes, the draws are dealt to them one by one; together they draw what a single process would.
    """

    def _infinite_indices(self) -> Iterator[tuple[int, int]]:
        return enumerate(super()._infinite_indices())


class MixtureSampler(DrawSampler):
    """A `DrawSampler` for several sources, one after the other in the dataset: each has its share of every batch.

    `batch_size` is the total over all processes. Shares are met to within one image, at every batch and from the start;
    each source is drawn in endless permutations. Within a batch the order is random, so that every process gets images
    from each source.
    """

    def __init__(self, dataset: Any, sizes: Sequence[int], shares: Sequence[float], batch_size: int, seed: int) -> None:
        super().__init__(dataset, seed=seed)
        self._sizes, self._shares, self._batch_size = sizes, np.asarray(shares), batch_size

    def _infinite_indices(self) -> Iterator[tuple[int, int]]:
        return enumerate(self._mixed())

    def _mixed(self) -> Iterator[int]:
        offsets = np.concatenate([[0], np.cumsum(self._sizes)])
        streams = [self._permutations(number, size) for number, size in enumerate(self._sizes)]
        drawn = np.zeros(len(self._sizes))
        for batch in itertools.count():
            indices = []
            for _ in range(self._batch_size):
                # The source that is furthest behind its share.
                source = int(np.argmax(self._shares * (drawn.sum() + 1) - drawn))
                drawn[source] += 1
                indices.append(int(offsets[source]) + next(streams[source]))
            yield from np.random.default_rng((self.seed, batch)).permutation(indices).tolist()

    def _permutations(self, source: int, size: int) -> Iterator[int]:
        for turn in itertools.count():
            yield from np.random.default_rng((self.seed, source, turn)).permutation(size).tolist()


def shares(sizes: Sequence[int], weights: Sequence[float | None]) -> list[float]:
    """Each source's share of the batches, summing to 1.

    If some weights are None, the given ones are shares, and the other sources split the rest in proportion to their
    sizes. If all are given, the shares are proportional to them.
    """
    given = sum(weight for weight in weights if weight is not None)
    if None not in weights:
        return [weight / given for weight in weights if weight is not None]
    rest = sum(size for size, weight in zip(sizes, weights, strict=True) if weight is None)
    return [
        (1 - given) * size / rest if weight is None else weight for size, weight in zip(sizes, weights, strict=True)
    ]


def training_loader(
    sources: Sequence[Source],
    *,
    crop_size: int,
    scale_range: Sequence[float],
    batch_size: int,
    num_processes: int = 1,
    seed: int,
    num_workers: int,
    copy_paste: float = 0.0,
    pin_memory: bool = False,
) -> DataLoader:
    """Endless batches of `batch_size` augmented images for each process."""
    pairs = [pair for source in sources for pair in _pairs(source.data)]
    sizes = [len(source.data.ids) for source in sources]
    steps = training_steps(crop_size, scale_range)
    dataset = TrainingDataset(seed, sizes, copy_paste, pairs=pairs, **_dataset_settings(sources[0].data.labels, steps))
    if len(sources) == 1:
        sampler = DrawSampler(dataset, seed=seed)
    else:
        weights = [source.share for source in sources]
        sampler = MixtureSampler(dataset, sizes, weights, batch_size * num_processes, seed)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        prefetch_factor=PREFETCHED_BATCHES if num_workers else None,
        pin_memory=pin_memory,
        collate_fn=pseudo_collate,
    )


def validation_loader(data: ImagesWithMasks, *, protocol: TestProtocol, num_workers: int) -> DataLoader:
    """Each image of a split once, in a batch of one (sizes can differ)."""
    steps = validation_steps(protocol)
    dataset = PairsDataset(_pairs(data), test_mode=True, **_dataset_settings(data.labels, steps))
    return DataLoader(
        dataset,
        batch_size=1,
        sampler=DefaultSampler(dataset, shuffle=False),
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )


def _pairs(data: ImagesWithMasks) -> list[tuple[Path, Path]]:
    return list(zip(data.images, data.masks, strict=True))


def _dataset_settings(labels: Labels, steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "metainfo": {"classes": list(labels.names), "palette": [list(colour) for colour in labels.palette]},
        "pipeline": [TRANSFORMS.build(step) for step in steps],
    }
