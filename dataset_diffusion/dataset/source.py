"""A finished dataset, read sample by sample: the input of exports, the filter and the report.

No more than a few samples are in memory at a time, however many there are.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dataset_diffusion.dataset.description import DESCRIPTION_FILE, read_description
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import MANIFEST_FILE, Manifest, SampleRecord
from dataset_diffusion.dataset.splits import TRAIN, split_of
from dataset_diffusion.errors import InputError


@dataclass(frozen=True)
class Labels:
    """Names and RGB colours by label, the background first."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


class StoredSample(Protocol):
    """A sample of a finished dataset. `position` counts from 0, over all splits; it stays when the dataset grows."""

    @property
    def position(self) -> int:
        """See above."""

    @property
    def record(self) -> SampleRecord:
        """Its line of the manifest."""

    def read(self) -> tuple[bytes, bytes]:
        """The image (JPEG) and the mask (PNG of labels). Raises InputError if a file is missing or damaged."""


class Source(Protocol):
    """A finished dataset in any of the layouts that can be read back.

    `description` is the content of its dataset.json; `splits` are the names of its splits, "train" first.
    """

    path: Path
    description: dict[str, Any]
    splits: tuple[str, ...]

    def samples(self, split: str) -> Iterator[StoredSample]:
        """The samples of a split. Raises InputError if there is no such split, or a line of it is wrong."""


@dataclass(frozen=True)
class FolderSample:
    """A sample in a folder with VOC's layout."""

    position: int
    record: SampleRecord
    image_path: Path
    mask_path: Path

    def read(self) -> tuple[bytes, bytes]:
        """See StoredSample."""
        folder = self.image_path.parents[1]
        remedy = f"fetch it again, or regenerate it with dd-generate output_dir={folder} repair=true"
        return (
            read_unchanged(self.image_path, self.record.image_sha256, remedy),
            read_unchanged(self.mask_path, self.record.mask_sha256, remedy),
        )


class FolderSource:
    """A finished folder of dd-generate."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = require_description(path)
        self._folder = VocFolder(path, labels_of(path, self.description).palette)
        if not self._folder.is_complete():
            raise InputError(
                f"folder={path}: is not finished (it has no {self._folder.split_file.relative_to(path)}); "
                "run dd-generate again with the settings that made it"
            )
        self.splits = splits_of(self.description)

    def samples(self, split: str) -> Iterator[StoredSample]:
        """See Source. The ids in a split file are in the manifest's order, so both are read side by side."""
        split_file = self._folder.split_file.with_name(f"{split}.txt")
        if not split_file.is_file():
            known = ", ".join(sorted(file.stem for file in split_file.parent.glob("*.txt")))
            raise InputError(f"splits: {split_file}: no such file; the splits of this folder are {known}")
        samples = folder_samples(self._folder)
        with split_file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                sample_id = line.rstrip("\n")
                sample = next((sample for sample in samples if sample.record.id == sample_id), None)
                if sample is None:
                    raise InputError(
                        f"{split_file}: line {number}: {sample_id!r} is not in {MANIFEST_FILE}, or not in its order; "
                        "remove the line, or sort the lines in the manifest's order"
                    )
                yield sample


class GrowingFolder:
    """A folder whose samples are all made, but not yet its split files: the captions determine the splits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = require_description(path)
        self._folder = VocFolder(path, labels_of(path, self.description).palette)
        self._shares = shares_of(self.description)
        self.splits = tuple(self._shares)

    def samples(self, split: str) -> Iterator[StoredSample]:
        """See Source."""
        for sample in folder_samples(self._folder):
            if split_of(sample.record.caption, self._shares) == split:
                yield sample


def folder_samples(folder: VocFolder) -> Iterator[FolderSample]:
    """All samples of a folder, in the order of its manifest."""
    for position, record in enumerate(Manifest(folder.path).stream()):
        yield FolderSample(position, record, folder.image_path(record.id), folder.mask_path(record.id))


def require_description(path: Path) -> dict[str, Any]:
    """A folder's dataset.json. Raises InputError if there is no such folder, or no dataset.json in it."""
    if not path.is_dir():
        raise InputError(f"folder={path}: no such folder; name one that dd-generate or dd-export made")
    description = read_description(path)
    if description is None:
        raise InputError(f"folder={path}: has no {DESCRIPTION_FILE}; name a folder that dd-generate or dd-export made")
    return description


def labels_of(path: Path, description: Mapping[str, Any]) -> Labels:
    """The labels in a dataset.json. Raises InputError that names the file if it does not describe labels."""
    try:
        vocabulary = description["vocabulary"]
        names = tuple(str(name) for name in vocabulary["label_names"])
        palette = tuple((int(red), int(green), int(blue)) for red, green, blue in vocabulary["palette"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path / DESCRIPTION_FILE}: does not describe labels; fetch or write it again") from error
    return Labels(names, palette)


def shares_of(description: Mapping[str, Any]) -> dict[str, float]:
    """The splits of a dataset and their shares; folders of older versions have only train."""
    shares = description["settings"].get("splits") or {TRAIN: 1.0}
    return {TRAIN: shares[TRAIN], **shares} if TRAIN in shares else dict(shares)


def splits_of(description: Mapping[str, Any]) -> tuple[str, ...]:
    """The splits of a dataset, "train" first; for an export, those that were written, not those in its settings."""
    return tuple(description.get("splits") or shares_of(description))


def read_unchanged(path: Path, sha256: str, remedy: str) -> bytes:
    """The content of a sample's file. Raises InputError with `remedy` if it cannot be read or has changed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    return require_unchanged(f"{path}:", content, sha256, remedy)


def require_unchanged(what: str, content: bytes, sha256: str, remedy: str) -> bytes:
    """The content of an image or a mask. Raises InputError with `remedy` unless its SHA-256 is that of its record."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{what} is damaged (its SHA-256 differs from the one in its record); {remedy}")
    return content
