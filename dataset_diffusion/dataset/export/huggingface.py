"""Parquet files with Image columns, id2label.json and a data card: a folder that `datasets.load_dataset` reads.

A row has id, image, label (the mask: a palette PNG of the labels, 255 ignored), caption, classes (names) and record
(JSON: the sample's line of the manifest, and its position in the manifest).
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataset_diffusion.dataset.contact_sheet import CONTACT_SHEET_FILE
from dataset_diffusion.dataset.export.data_card import Counts, write_data_card
from dataset_diffusion.dataset.export.job import ExportJob
from dataset_diffusion.dataset.source import StoredSample
from dataset_diffusion.files import encode_json, explaining_write_errors, write_atomically

ROWS_PER_GROUP = 100
"""Rows that a reader has to fetch at once; the hub's viewer requests about this many."""
BYTES_PER_MB = 1_000_000
IMAGE_COLUMNS = ("image", "label")


def write_huggingface(job: ExportJob) -> None:
    """Write data/<split>-<n>-of-<m>.parquet, id2label.json and README.md."""
    counts = {}
    for split in job.splits:
        counts[split] = Counts(0, Counter(), 0)
        rows = _counted(job.converted(split, _row), counts[split])
        with explaining_write_errors(job.output_dir):
            _write_shards(job.output_dir / "data", split, rows, job.settings.shard_mb * BYTES_PER_MB)
    names = {str(label): name for label, name in enumerate(job.labels.names)}
    write_atomically(job.output_dir / "id2label.json", encode_json(names))
    sheet = job.source.path / CONTACT_SHEET_FILE
    if sheet.is_file():
        with explaining_write_errors(job.output_dir):
            shutil.copyfile(sheet, job.output_dir / CONTACT_SHEET_FILE)
    write_data_card(job.output_dir, job.source.description, job.labels.names, counts)


def _row(sample: StoredSample) -> dict[str, Any]:
    image, mask = sample.read()
    record = sample.record
    return {
        "id": record.id,
        "image": {"bytes": image, "path": f"{record.id}.jpg"},
        "label": {"bytes": mask, "path": f"{record.id}.png"},
        "caption": record.caption,
        "classes": [entry.name for entry in record.classes],
        # A split's rows do not show where its samples stand among those of the other splits.
        "record": json.dumps({**asdict(record), "position": sample.position}, ensure_ascii=False),
    }


def _counted(rows: Iterator[dict[str, Any]], counts: "Counts") -> Iterator[dict[str, Any]]:
    for row in rows:
        counts.num_samples += 1
        counts.num_bytes += sum(len(row[column]["bytes"]) for column in IMAGE_COLUMNS)
        counts.per_class.update(row["classes"])
        yield row


def _write_shards(folder: Path, split: str, rows: Iterator[dict[str, Any]], limit: int) -> None:
    # Both are installed by an extra.
    from datasets import Features, Image, List, Value
    from pyarrow import Table
    from pyarrow.parquet import ParquetWriter

    text = Value("string")
    schema = Features(id=text, image=Image(), label=Image(), caption=text, classes=List(text), record=text).arrow_schema
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[Path] = []
    size = limit
    group: list[dict[str, Any]] = []
    with ExitStack() as stack:

        def flush() -> None:
            if group:
                writer.write_table(Table.from_pylist(group, schema=schema))
                group.clear()

        for row in rows:
            if size >= limit:
                if shards:
                    flush()
                stack.close()
                shards.append(folder / f"{split}-{len(shards):05d}.parquet")
                writer = stack.enter_context(ParquetWriter(shards[-1], schema))
                size = 0
            group.append(row)
            size += sum(len(row[column]["bytes"]) for column in IMAGE_COLUMNS)
            if len(group) == ROWS_PER_GROUP:
                flush()
        flush()
    for number, shard in enumerate(shards):
        shard.rename(folder / f"{split}-{number:05d}-of-{len(shards):05d}.parquet")
