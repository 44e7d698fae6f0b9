"""Write a finished dataset, atomically, in the layout of another tool."""

import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dataset_diffusion.dataset.coco import write_coco
from dataset_diffusion.dataset.description import DESCRIPTION_FILE
from dataset_diffusion.dataset.export.huggingface import write_huggingface
from dataset_diffusion.dataset.export.job import Exporter, ExportJob
from dataset_diffusion.dataset.export.reading import each_once, open_source, require_library
from dataset_diffusion.dataset.export.ultralytics import write_ultralytics
from dataset_diffusion.dataset.export.voc import write_voc
from dataset_diffusion.dataset.export.webdataset import write_webdataset
from dataset_diffusion.dataset.source import Source, labels_of
from dataset_diffusion.dataset.splits import TRAIN
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import (
    TEMPORARY_SUFFIX,
    encode_json,
    explaining_write_errors,
    held_by_one_process,
    write_atomically,
)
from dataset_diffusion.settings.export import ExportSettings


def export(settings: ExportSettings, progress: bool = True) -> str:
    """Write the export and return a summary of it.

    The output folder appears once everything is in it. Raises InputError if the source folder is not finished or one
    of its files is damaged, if a split has no samples, if the output folder is not empty, or if a library is missing.
    """
    if settings.format == "huggingface":
        require_library("datasets", f"format={settings.format}")
    source = open_source(Path(settings.folder).expanduser())
    output_dir = Path(settings.output_dir).expanduser()
    _require_empty(output_dir)
    splits = settings.splits or {split: split for split in source.splits}
    with explaining_write_errors(f"output_dir={output_dir}"):
        output_dir.parent.mkdir(parents=True, exist_ok=True)
    complaint = f"output_dir={output_dir}: another dd-export is writing to it; wait for it, or name another"
    with held_by_one_process(output_dir.with_name(f".{output_dir.name}.lock"), complaint):
        _require_empty(output_dir)
        total = _export(source, settings, splits, output_dir, progress)
    return f"{total} samples ({', '.join(splits)}) in {output_dir}"


def _export(source: Source, settings: ExportSettings, splits: dict[str, str], output_dir: Path, progress: bool) -> int:
    unfinished = output_dir.with_name(f".{output_dir.name}{TEMPORARY_SUFFIX}")
    try:
        with explaining_write_errors(f"output_dir={output_dir}"):
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
        in_split, num_repeated, counts = _count(source, splits)
        _require_samples(source, splits, in_split)
        if num_repeated:
            print(
                f"dd-export: splits: {num_repeated} samples are in more than one of {', '.join(splits)}",
                file=sys.stderr,
            )
        total = sum(in_split.values())
        with tqdm(total=total, unit="sample", desc=settings.format, disable=not progress, dynamic_ncols=True) as bar:
            _WRITERS[settings.format](ExportJob(source, unfinished, splits, settings, bar.update))
        # The source's counts and splits would be wrong for an export of some of its splits.
        names = sorted(splits, key=lambda name: name != TRAIN)
        written = {"format": settings.format, "splits": names, "counts": counts}
        description = {**source.description, **written}
        write_atomically(unfinished / DESCRIPTION_FILE, encode_json(description))
        with explaining_write_errors(f"output_dir={output_dir}"):
            with suppress(FileNotFoundError):
                output_dir.rmdir()
            unfinished.rename(output_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return total


def _count(source: Source, splits: Mapping[str, str]) -> tuple[Counter[str], int, dict[str, Any]]:
    """How many samples each split has, how many are in several, and the counts for dataset.json: these count once."""
    in_split, per_class, total, num_repeated = Counter[str](), Counter[str](), 0, 0
    for record, names in each_once(source, splits):
        in_split.update(names)
        num_repeated += len(names) > 1
        per_class.update(entry.name for entry in record.classes)
        total += 1
    class_names = labels_of(source.path, source.description).names[1:]
    counts = {"images": total, "images_per_class": {name: per_class[name] for name in class_names}}
    return in_split, num_repeated, counts


def _require_samples(source: Source, splits: Mapping[str, str], in_split: Counter[str]) -> None:
    """Raise an InputError naming the splits without samples: some formats would list files that do not exist."""
    empty = ", ".join(split for name, split in splits.items() if not in_split[name])
    others = ", ".join(f"{name}: {split}" for name, split in splits.items() if in_split[name])
    if not others:
        raise InputError(f"splits: {source.path} has no samples in {empty}; nothing to export")
    if empty:
        raise InputError(
            f"splits: {source.path} has no samples in {empty}; name splits that have some, e.g. splits='{{{others}}}'"
        )


def _require_empty(output_dir: Path) -> None:
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise InputError(f"output_dir={output_dir}: is not empty; name a new folder")


def _write_coco(job: ExportJob) -> None:
    write_coco(
        job.source,
        job.output_dir,
        splits=job.splits,
        components=job.settings.components,
        num_workers=job.settings.num_workers,
        on_sample=job.on_sample,
    )


_WRITERS: dict[str, Exporter] = {
    "huggingface": write_huggingface,
    "coco": _write_coco,
    "ultralytics": write_ultralytics,
    "webdataset": write_webdataset,
    "voc": write_voc,
}
