"""The dataset folder in the layout of PASCAL VOC."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_diffusion.dataset.splits import TRAIN
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import explaining_write_errors, is_temporary, write_atomically
from dataset_diffusion.images import encode_image, encode_mask, read_image, read_label_mask, require_same_size


@dataclass(frozen=True)
class WrittenFiles:
    """The SHA-256 (hexadecimal) of a sample's two files."""

    image_sha256: str
    mask_sha256: str


class VocFolder:
    """Paths and files of a VOC-style dataset folder."""

    def __init__(self, path: Path, palette: Sequence[tuple[int, int, int]]) -> None:
        """`palette` holds an RGB colour for each label, background first."""
        self.path = path
        self._images = path / "JPEGImages"
        self._masks = path / "SegmentationClass"
        self.split_file = path / "ImageSets" / "Segmentation" / f"{TRAIN}.txt"
        self._palette = palette

    def image_path(self, sample_id: str) -> Path:
        """The sample's image, RGB JPEG."""
        return self._images / f"{sample_id}.jpg"

    def mask_path(self, sample_id: str) -> Path:
        """The sample's mask, palette PNG."""
        return self._masks / f"{sample_id}.png"

    def prepare(self) -> None:
        """Create the folders that are missing."""
        for folder in self._folders():
            with explaining_write_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Remove files that killed runs left half-written. No other process may be making samples."""
        for folder in self._folders():
            with explaining_write_errors(folder):
                for file in filter(is_temporary, folder.iterdir()):
                    file.unlink(missing_ok=True)

    def write(self, sample_id: str, image: np.ndarray, labels: np.ndarray) -> WrittenFiles:
        """Write an image [H, W, 3] uint8 RGB and its mask [H, W] uint8 (labels, or 255 for ignored)."""
        image_bytes, mask_bytes = encode_image(image), encode_mask(labels, self._palette)
        # If the folder was removed meanwhile, a new one with a few of the samples would help nobody.
        write_atomically(self.image_path(sample_id), image_bytes, make_folder=False)
        write_atomically(self.mask_path(sample_id), mask_bytes, make_folder=False)
        return WrittenFiles(hashlib.sha256(image_bytes).hexdigest(), hashlib.sha256(mask_bytes).hexdigest())

    def write_mask(self, sample_id: str, labels: np.ndarray) -> str:
        """Write only a mask and return its SHA-256."""
        content = encode_mask(labels, self._palette)
        write_atomically(self.mask_path(sample_id), content, make_folder=False)
        return hashlib.sha256(content).hexdigest()

    def read(self, sample_id: str) -> tuple[np.ndarray, np.ndarray]:
        """A sample's image [H, W, 3] uint8 RGB and its mask [H, W] uint8. Raises InputError if one is damaged."""
        image_path, mask_path = self.image_path(sample_id), self.mask_path(sample_id)
        try:
            image, labels = read_image(image_path), read_label_mask(mask_path, len(self._palette))
            require_same_size(image_path, image, str(mask_path), labels)
        except InputError as error:
            raise InputError(f"{error}; dd-generate output_dir={self.path} repair=true regenerates it") from error
        return image, labels

    def sample_files(self) -> list[Path]:
        """All files in the image and mask folders, whatever they are, except temporary ones of running processes."""
        folders = [folder for folder in (self._images, self._masks) if folder.is_dir()]
        return sorted(path for folder in folders for path in folder.iterdir() if not is_temporary(path))

    def has(self, sample_id: str) -> bool:
        """Whether both files of a sample exist."""
        return self.image_path(sample_id).is_file() and self.mask_path(sample_id).is_file()

    def present(self) -> set[str]:
        """The ids of the samples that have both files."""
        return _stems(self._images, ".jpg") & _stems(self._masks, ".png")

    def is_complete(self) -> bool:
        """Whether train.txt exists."""
        return self.split_file.is_file()

    def write_split(self, sample_ids: Iterable[str], split: str = TRAIN) -> None:
        """Write a split's file. The file of train comes last and says that the folder is complete."""
        path = self.split_file.with_name(f"{split}.txt")
        write_atomically(path, "".join(f"{sample_id}\n" for sample_id in sample_ids).encode())

    def remove_split(self) -> None:
        """Remove train.txt: the folder is not complete, or no longer is."""
        with explaining_write_errors(self.split_file):
            self.split_file.unlink(missing_ok=True)

    def _folders(self) -> tuple[Path, ...]:
        return self.path, self._images, self._masks, self.split_file.parent


def _stems(folder: Path, suffix: str) -> set[str]:
    try:
        return {name[: -len(suffix)] for name in os.listdir(folder) if name.endswith(suffix)}
    except FileNotFoundError:
        return set()
