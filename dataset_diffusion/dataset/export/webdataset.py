"""WebDataset's tar files: <split>-000000.tar with <id>.jpg, <id>.png (grey labels, 255 ignored) and <id>.json."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from dataset_diffusion.dataset.coco import encode_grey
from dataset_diffusion.dataset.export.job import ExportJob
from dataset_diffusion.dataset.source import StoredSample
from dataset_diffusion.files import encode_json, explaining_write_errors, write_atomically
from dataset_diffusion.images import decode_labels

Members = list[tuple[str, bytes]]


def write_webdataset(job: ExportJob) -> None:
    """Write tar files of `shard_mb` each, and classes.json with the names of the labels."""
    for split in job.splits:
        with explaining_write_errors(job.output_dir):
            _write_shards(job.output_dir, split, job.converted(split, _members), job.settings.shard_mb * 1_000_000)
    write_atomically(job.output_dir / "classes.json", encode_json(list(job.labels.names)))


def _write_shards(output_dir: Path, split: str, samples: Iterator[Members], limit: int) -> None:
    with ExitStack() as stack:
        number, shard = 0, None
        for members in samples:
            if shard is None or shard.offset >= limit:
                stack.close()
                shard = stack.enter_context(tarfile.open(output_dir / f"{split}-{number:06d}.tar", "w"))
                number += 1
            for name, content in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                shard.addfile(entry, io.BytesIO(content))


def _members(sample: StoredSample) -> Members:
    image, mask = sample.read()
    # WebDataset takes all that follows the first full stop as the extension. No id has a "%", so no two share a key.
    key = sample.record.id.replace(".", "%2E")
    record = json.dumps(asdict(sample.record), ensure_ascii=False).encode()
    grey = encode_grey(decode_labels(mask, sample.record.id))
    return [(f"{key}.jpg", image), (f"{key}.png", grey), (f"{key}.json", record)]
