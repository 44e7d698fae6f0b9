"""`prompts.jsonl`, the plan of a dataset folder, and `manifest.jsonl`, what of it is made: one JSON object a line.

Nothing in them depends on when or in how many runs the folder was made.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_diffusion.dataset.folder import WrittenFiles
from dataset_diffusion.dataset.quality import Quality
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import explaining_write_errors, write_atomically
from dataset_diffusion.types import IGNORE_INDEX, LabelMask, Prompt
from dataset_diffusion.vocabulary import Vocabulary

PLAN_FILE = "prompts.jsonl"
MANIFEST_FILE = "manifest.jsonl"
DIGITS = 6
"""Of shares and confidences: as many as float32 means something."""


@dataclass(frozen=True)
class ClassRecord:
    """A class that a sample's prompt asked for.

    `share` of the image's pixels in [0, 1]; 0 if it is nowhere. `confidence` is the mean score of these pixels.
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


def record_sample(
    prompt: Prompt, mask: LabelMask, files: WrittenFiles, vocabulary: Vocabulary, quality: Quality | None = None
) -> SampleRecord:
    """Describe a sample whose files are written."""
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
    )


def encode_plan(prompts: Iterable[Prompt], vocabulary: Vocabulary) -> bytes:
    """The text of prompts.jsonl. `prompts=file prompts.path=.../prompts.jsonl` reads it, and repeats the run."""
    return b"".join(
        _line(
            {
                "id": prompt.sample_id,
                "filename": f"{prompt.sample_id}.jpg",
                "caption": prompt.caption,
                "class_prompt": vocabulary.class_prompt(prompt.appended_ids),
                "class_ids": prompt.appended_ids,
                "seed": prompt.seed,
                "source": prompt.source,
            }
        )
        for prompt in prompts
    )


class Manifest:
    """The file manifest.jsonl. A line is added when a sample's files are written; a kill may tear the last one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST_FILE

    def read(self) -> dict[str, SampleRecord]:
        """The records by sample id; a torn last line is left out. Raises InputError for any other bad line."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from error
        records = {}
        # What follows the last line end is empty, or torn.
        for number, line in enumerate(lines[:-1], start=1):
            try:
                record = parse_record(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{self._path}: line {number}: not a record; delete the line to go on") from error
            records[record.id] = record
        return records

    def stream(self) -> Iterator[SampleRecord]:
        """The records of a finished folder in its order, one at a time. Raises InputError for a bad line."""
        try:
            with self._path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    try:
                        yield parse_record(json.loads(line))
                    except (ValueError, TypeError, KeyError) as error:
                        raise InputError(
                            f"{self._path}: line {number}: not a record; delete the line and start the dd-generate "
                            "that made the folder again"
                        ) from error
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from error

    def append(self, records: Sequence[SampleRecord]) -> None:
        """Add finished samples. The file must not end in a torn line: `write` what was read first."""
        with explaining_write_errors(self._path), self._path.open("ab") as stream:
            stream.write(encode_records(records))
            stream.flush()
            os.fsync(stream.fileno())

    def write(self, records: Iterable[SampleRecord]) -> None:
        """Replace the whole file."""
        write_atomically(self._path, encode_records(records))


def encode_records(records: Iterable[SampleRecord]) -> bytes:
    """Lines of manifest.jsonl."""
    return b"".join(_line(asdict(record)) for record in records)


def parse_record(content: dict[str, Any]) -> SampleRecord:
    """The record of a line's content, which must hold all its fields; raises TypeError or KeyError if it does not."""
    classes = tuple(ClassRecord(**entry) for entry in content["classes"])
    quality = Quality(**content["quality"]) if content.get("quality") else None
    return SampleRecord(**{**content, "classes": classes, "quality": quality})


def _line(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False) + "\n").encode()
