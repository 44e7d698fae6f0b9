"""The settings of `dd-export`, checked when they are created.

`--help` shows the docstring below each field.
"""

from dataclasses import dataclass

from dataset_diffusion.settings.checks import one_of, require
from dataset_diffusion.settings.generate import SPLIT_NAME

EXPORT_FORMATS = ("huggingface", "coco", "ultralytics", "webdataset", "voc")


@dataclass(frozen=True)
class ExportSettings:
    """All settings of a `dd-export` run."""

    folder: str
    """a finished folder of dd-generate, or a coco or huggingface export of one"""
    format: str
    """huggingface, coco, ultralytics, webdataset, voc"""
    output_dir: str
    """a new folder; it appears once the export is complete"""
    splits: dict[str, str] | None = None
    """which splits, as '{name to write: split of the folder}', e.g. '{train: train_filtered, val: val}'; null: the
    folder's own"""
    components: bool = False
    """coco: true writes one segment per connected component, not one per class in an image"""
    shard_mb: int = 500
    """huggingface, webdataset: size of each file in millions of bytes"""
    num_workers: int | None = None
    """number of processes; null: one per core"""

    def __post_init__(self) -> None:
        require(bool(self.folder), "folder", self.folder, "name a folder that dd-generate made")
        require(self.format in EXPORT_FORMATS, "format", self.format, one_of(EXPORT_FORMATS))
        require(bool(self.output_dir), "output_dir", self.output_dir, "name a new folder")
        require(self.splits != {}, "splits", self.splits, "name at least one, e.g. '{train: train_filtered}'")
        for name in self.splits or {}:
            require(bool(SPLIT_NAME.fullmatch(name)), "splits", name, "must be letters, digits, '_' and '-'")
        require(self.shard_mb >= 1, "shard_mb", self.shard_mb, "must be 1 or more")
        workers = self.num_workers
        require(workers is None or workers >= 1, "num_workers", workers, "must be 1 or more, or null for all cores")
