"""Finished datasets to export: folders of dd-generate, and exports that are read back."""

import heapq
import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_diffusion.dataset.manifest import MANIFEST_FILE, SampleRecord, parse_record
from dataset_diffusion.dataset.source import (
    FolderSource,
    Labels,
    Source,
    StoredSample,
    labels_of,
    read_unchanged,
    require_description,
    require_unchanged,
)
from dataset_diffusion.dataset.splits import TRAIN
from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.files import parse_json, read_bytes
from dataset_diffusion.images import decode_labels, encode_mask

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

REMEDY = "fetch it again, or export it again"
"""What to do about a damaged file of an export."""


def open_source(path: Path) -> Source:
    """The dataset in a folder, in any format that can be read. Raises InputError if there is nothing to export."""
    description = require_description(path)
    kind = description.get("format")
    if kind == "huggingface":
        return ParquetSource(path)
    if kind == "coco" and not (path / MANIFEST_FILE).exists():
        return CocoSource(path)
    if kind in {"ultralytics", "webdataset"}:
        raise InputError(
            f"folder={path}: is an export of format={kind}, which cannot be read back; name the folder that it was "
            "exported from"
        )
    return FolderSource(path)


def each_once(source: Source, splits: Mapping[str, str]) -> Iterator[tuple[SampleRecord, list[str]]]:
    """Each sample of the splits once, in the order of the whole dataset, with the names of the splits that it is in.

    `splits` gives the source's split for each name. Raises InputError as `source.samples` does.
    """
    # A split's samples are in the order of their positions, so the splits can be merged without keeping any in memory.
    merged = heapq.merge(*(_of_split(source, *names) for names in splits.items()), key=_place)
    for _, group in groupby(merged, _place):
        entries = list(group)
        yield entries[0][0].record, [name for _, name in entries]


def _of_split(source: Source, name: str, split: str) -> Iterator[tuple[StoredSample, str]]:
    return ((sample, name) for sample in source.samples(split))


def _place(entry: tuple[StoredSample, str]) -> tuple[int, str]:
    return entry[0].position, entry[0].record.id


@dataclass(frozen=True)
class CocoSample:
    """A sample of a COCO export."""

    position: int
    record: SampleRecord
    image_path: Path
    grey_path: Path
    labels: Labels

    def read(self) -> tuple[bytes, bytes]:
        """See StoredSample."""
        image = read_unchanged(self.image_path, self.record.image_sha256, REMEDY)
        labels = decode_labels(read_bytes(self.grey_path), str(self.grey_path))
        return image, encode_mask(labels, self.labels.palette)


class CocoSource:
    """A folder written with `format=coco`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = require_description(path)
        self._labels = labels_of(path, self.description)
        names = [file.stem.removeprefix("instances_") for file in (path / "annotations").glob("instances_*.json")]
        self.splits = tuple(sorted(names, key=lambda name: (name != TRAIN, name)))

    def samples(self, split: str) -> Iterator[StoredSample]:
        """See Source."""
        path = self.path / "annotations" / f"instances_{split}.json"
        images = parse_json(path, read_bytes(path))["images"]
        for image in images:
            if "record" not in image:
                raise InputError(
                    f"{path}: its images have no record; only COCO folders written by dd-export can be read"
                )
            record = parse_record(image["record"])
            grey = self.path / "annotations" / f"semantic_{split}" / f"{record.id}.png"
            image_path = self.path / "images" / image["file_name"]
            yield CocoSample(image["id"] - 1, record, image_path, grey, self._labels)


@dataclass(frozen=True)
class ParquetSample:
    """A row of a Hugging Face export, in the file `path`."""

    path: Path
    position: int
    record: SampleRecord
    image: bytes
    mask: bytes

    def read(self) -> tuple[bytes, bytes]:
        """See StoredSample."""
        record = self.record
        return (
            require_unchanged(f"{self.path}: the image of {record.id}", self.image, record.image_sha256, REMEDY),
            require_unchanged(f"{self.path}: the mask of {record.id}", self.mask, record.mask_sha256, REMEDY),
        )


class ParquetSource:
    """A folder written with `format=huggingface`."""

    def __init__(self, path: Path) -> None:
        require_library("pyarrow", f"folder={path}")
        self.path = path
        self.description = require_description(path)
        names = {file.name.rsplit("-", 3)[0] for file in (path / "data").glob("*.parquet")}
        self.splits = tuple(sorted(names, key=lambda name: (name != TRAIN, name)))

    def samples(self, split: str) -> Iterator[StoredSample]:
        """See Source."""
        # Exports of older versions have no positions: the row numbers, over all splits, stand in for them.
        earlier = [file for name in self.splits[: self._index(split)] for file in self._files(name)]
        number = sum(map(_count_rows, earlier))
        for path in self._files(split):
            with _opened_parquet(path) as file:
                for batch in file.iter_batches(batch_size=16, columns=["image", "label", "record"]):
                    for row in batch.to_pylist():
                        content = json.loads(row["record"])
                        position = content.pop("position", number)
                        image, mask = row["image"]["bytes"], row["label"]["bytes"]
                        yield ParquetSample(path, position, parse_record(content), image, mask)
                        number += 1

    def _index(self, split: str) -> int:
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise InputError(f"splits: {self.path} has no split {split}; the splits of this folder are {known}")
        return self.splits.index(split)

    def _files(self, split: str) -> list[Path]:
        return sorted((self.path / "data").glob(f"{split}-?????-of-?????.parquet"))


def _count_rows(path: Path) -> int:
    with _opened_parquet(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _opened_parquet(path: Path) -> Iterator["ParquetFile"]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            yield file
    except (ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); fetch it again") from error


def require_library(library: str, setting: str) -> None:
    """Raise an InputError that names the pip command unless a library is installed."""
    if importlib.util.find_spec(library) is None:
        raise InputError(f"{setting}: needs the library {library}; pip install {library}")
