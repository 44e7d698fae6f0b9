"""The settings of `dd-eval`, checked when they are created.

`--help` shows the docstring below each field.
"""

from dataclasses import dataclass, field

from dataset_diffusion.settings.checks import expand_home, require
from dataset_diffusion.settings.protocol import TRAINED, require_protocol

DATASETS = ("toy", "voc", "coco", "folder")
USUAL_SPLIT = "val"


@dataclass(frozen=True)
class EvaluationDatasetSettings:
    """What to evaluate on: toy is the toy world's held-out scenes, folder is any VOC-style folder."""

    name: str = "toy"
    """set by dataset=NAME"""
    split: str = USUAL_SPLIT
    """the split to evaluate on"""

    def __post_init__(self) -> None:
        require(self.name in DATASETS, "dataset.name", self.name, f"must be one of {', '.join(DATASETS)}")
        require(bool(self.split), "dataset.split", self.split, "name a split, such as val")
        fixed = self.name == "toy" and self.split != USUAL_SPLIT
        require(not fixed, "dataset.split", self.split, "the toy dataset only has the split val")


@dataclass(frozen=True)
class EvaluateSettings:
    """All settings of a `dd-eval` run."""

    checkpoint: str
    """a segmentor exported by dd-train"""
    dataset: EvaluationDatasetSettings = field(default_factory=EvaluationDatasetSettings)
    """what to evaluate on"""
    data_root: str | None = None
    """the folder that contains VOCdevkit/ (voc), annotations/ and val2017/ (coco), or JPEGImages/, SegmentationClass/
    and ImageSets/Segmentation/ (folder)"""
    output_dir: str | None = None
    """null: a folder next to the checkpoint, named eval_<dataset> (for dataset=folder eval_<name of data_root>),
    followed by the split (unless it is val), and by test_scale, test_mode and tta if they are given"""
    cache_dir: str = "runs/cache"
    """folder for data that is derived once from a dataset: the toy scenes, COCO's semantic masks"""
    tta: bool = False
    """true: average over scales and flips; slower, usually better"""
    test_scale: str = TRAINED
    """trained: the test_scale of the segmentor's training; own: images keep their size; 2048x512: images are fitted
    into that size"""
    test_mode: str = TRAINED
    """trained, whole, or slide (large images are processed in overlapping windows)"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1"""
    save_predictions: bool = False
    """true: also write predictions/<id>.png and overlay.png"""

    def __post_init__(self) -> None:
        expand_home(self, "checkpoint", "data_root", "output_dir", "cache_dir")
        require(bool(self.checkpoint), "checkpoint", self.checkpoint, "name the segmentor.pth that dd-train exported")
        require_protocol(self.test_scale, self.test_mode, TRAINED)
        require(bool(self.cache_dir), "cache_dir", self.cache_dir, "name a folder that can be written")
        needs_root = self.dataset.name != "toy" and not self.data_root
        require(not needs_root, "data_root", "null", f"name the folder of dataset={self.dataset.name}")
