"""PASCAL VOC, and folders in its layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset_diffusion.errors import InputError
from dataset_diffusion.images import read_image, read_label_mask
from dataset_diffusion.labelled.faults import read_split, require_valid
from dataset_diffusion.labelled.image_files import find_image


class VocDataset:
    """`ImageSets/Segmentation/<split>.txt` and, for each id, an image in `JPEGImages/` (see find_image) and
    `SegmentationClass/<id>.png`.

    The constructor reads all masks once. It raises InputError, with the faults on stderr, if a mask, an image or the
    split file is missing or malformed, so that no evaluation fails half-way for that reason.
    """

    def __init__(self, name: str, root: Path, split: str, label_names: Sequence[str]) -> None:
        self.name = name
        self.label_names = tuple(label_names)
        split_file = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        _require_split(split_file)
        require_valid(root, split, len(self.label_names))
        self.ids = tuple(read_split(split_file)[0])
        self._root = root

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See EvaluationDataset."""
        image = read_image(find_image(self._root / "JPEGImages", self.ids[index]))
        labels = read_label_mask(self._root / "SegmentationClass" / f"{self.ids[index]}.png", len(self.label_names))
        return image, labels


def _require_split(split_file: Path) -> None:
    if not split_file.exists():
        splits = sorted(file.stem for file in split_file.parent.glob("*.txt"))
        remedy = f"set dataset.split to one of {', '.join(splits)}" if splits else "it lists the ids, one per line"
        raise InputError(f"{split_file}: no such file; {remedy}")
