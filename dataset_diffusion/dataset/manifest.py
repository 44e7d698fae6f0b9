"""`manifest.jsonl`: what a dataset folder holds, as one line of JSON for each finished sample, in the plan's order.

Nothing in it depends on when, in how many runs or by how many processes the folder was made.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from dataset_diffusion.dataset.folder import WrittenFiles
from dataset_diffusion.dataset.quality import Quality
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically
from dataset_diffusion.types import IGNORE_INDEX, LabelMask, Prompt
from dataset_diffusion.vocabulary import Vocabulary

MANIFEST_FILE = "manifest.jsonl"
DIGITS = 6
"""Decimal places of shares and confidences: as many as are meaningful in float32."""


@dataclass(frozen=True)
class ClassRecord:
    """A class that a sample's prompt asked for.

    `share` is its share of the image's pixels in [0, 1]; 0 if it is nowhere. `confidence` is these pixels' mean score.
    """

    name: str
    label: int
    share: float
    confidence: float


@dataclass(frozen=True)
class SampleRecord:
    """A finished sample: a line of the manifest.

    `source` is where the caption is from (see Prompt); `ignored` is the share of pixels with label 255. `quality` is
    None in folders of older versions.

    `seed` is the one that the image was made from: the plan's for `attempt` 0, and the next seed for each later attempt
    after an image that was not finite. `made_with` holds the versions and the device if they differ from those in
    dataset.json.
    """

    id: str
    seed: int
    caption: str
    classes: tuple[ClassRecord, ...]
    ignored: float
    image_sha256: str
    mask_sha256: str
    source: str = "template"
    quality: Quality | None = None
    attempt: int = 0
    made_with: dict[str, Any] | None = None


# A part's line also holds the position in the plan, which is not part of the record.
_KNOWN = {"position", *(field.name for field in fields(SampleRecord))}
_REQUIRED = {field.name for field in fields(SampleRecord) if field.default is MISSING}
_OF_CLASS = {field.name for field in fields(ClassRecord)}
_OF_QUALITY = {field.name for field in fields(Quality)}


def record_sample(
    prompt: Prompt,
    mask: LabelMask,
    files: WrittenFiles,
    vocabulary: Vocabulary,
    quality: Quality | None = None,
    attempt: int = 0,
    made_with: dict[str, Any] | None = None,
) -> SampleRecord:
    """Describe a sample whose files have been written."""
    shares = np.bincount(mask.labels.ravel(), minlength=256) / mask.labels.size
    classes = tuple(
        ClassRecord(
            vocabulary[class_id].name, class_id, round(float(shares[class_id]), DIGITS), round(confidence, DIGITS)
        )
        for class_id, confidence in zip(mask.class_ids, mask.confidence, strict=True)
    )
    ignored = round(float(shares[IGNORE_INDEX]), DIGITS)
    return SampleRecord(
        id=prompt.sample_id,
        seed=prompt.seed,
        caption=prompt.caption,
        classes=classes,
        ignored=ignored,
        image_sha256=files.image_sha256,
        mask_sha256=files.mask_sha256,
        source=prompt.source,
        quality=quality,
        attempt=attempt,
        made_with=made_with,
    )


class Manifest:
    """The file manifest.jsonl of a finished folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST_FILE

    def read(self) -> dict[str, SampleRecord]:
        """The records by sample id; empty if there is no manifest. Raises InputError for a bad line."""
        return {record.id: record for record in self.stream()} if self._path.exists() else {}

    def stream(self) -> Iterator[SampleRecord]:
        """The records in the folder's order, one at a time. Raises InputError for a bad line or a missing file."""
        try:
            with self._path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    try:
                        yield parse_record(orjson.loads(line))
                    except (ValueError, TypeError, KeyError) as error:
                        raise InputError(
                            f"{self._path}: line {number}: not a record; delete the line and run dd-generate "
                            "again with the settings that made the folder"
                        ) from error
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from error

    def write(self, records: Iterable[SampleRecord]) -> None:
        """Replace the whole file."""
        self.write_lines(map(encode_record, records))

    def write_lines(self, lines: Iterable[bytes]) -> None:
        """Replace the whole file with lines that are records."""
        write_atomically(self._path, lines)


def encode_record(record: SampleRecord) -> bytes:
    """The line of a record, with its newline."""
    content = asdict(record)
    # Only the lines of unusual samples have these fields.
    for name in ("attempt", "made_with"):
        if not content[name]:
            del content[name]
    return (json.dumps(content, ensure_ascii=False) + "\n").encode()


def require_record(content: dict[str, Any]) -> None:
    """Raise TypeError, KeyError or AttributeError where parse_record would, in a quarter of its time."""
    quality = content.get("quality")
    if not _REQUIRED <= content.keys() <= _KNOWN or (quality and quality.keys() != _OF_QUALITY):
        raise KeyError("fields")
    for entry in content["classes"]:
        if entry.keys() != _OF_CLASS:
            raise KeyError("fields of a class")


def parse_record(content: dict[str, Any]) -> SampleRecord:
    """The record of a line's content, which must hold all its fields; raises TypeError or KeyError if it does not."""
    classes = tuple(ClassRecord(**entry) for entry in content["classes"])
    quality = Quality(**content["quality"]) if content.get("quality") else None
    return SampleRecord(**{**content, "classes": classes, "quality": quality})
