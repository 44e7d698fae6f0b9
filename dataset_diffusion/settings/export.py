"""The settings of `dd-export`, checked when they are made.

The docstring below a field is what `--help` says about it.
"""

from dataclasses import dataclass

from dataset_diffusion.settings.checks import one_of, require
from dataset_diffusion.settings.generate import SPLIT_NAME

EXPORT_FORMATS = ("huggingface", "coco", "ultralytics", "webdataset", "voc")


@dataclass(frozen=True)
class ExportSettings:
    """All settings of a `dd-export` run."""

    folder: str
    """a folder that dd-generate has finished, or a coco or huggingface export of one"""
    format: str
    """huggingface, coco, ultralytics, webdataset, voc"""
    output_dir: str
    """a new folder; it appears when it is complete"""
    splits: dict[str, str] | None = None
    """which splits, e.g. '{train: train_filtered, val: val}': the name that is written and the folder's; null: those of
    the folder"""
    components: bool = False
    """coco: true makes a segment of each connected component, not of each class in an image"""
    shard_mb: int = 500
    """huggingface, webdataset: size of a file in millions of bytes"""
    num_workers: int | None = None
    """processes; null: one a core"""

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
