"""The settings of `dd-eval`, checked when they are made; the DictConfig ends here."""

from dataclasses import dataclass, field

from dataset_diffusion.settings.checks import require

DATASETS = ("toy", "voc", "coco", "folder")


@dataclass(frozen=True)
class EvaluationDatasetSettings:
    """What to evaluate on, and which of its splits: "toy" is the toy world's own, "folder" any VOC-style folder."""

    name: str = "toy"
    split: str = "val"

    def __post_init__(self) -> None:
        require(self.name in DATASETS, "dataset.name", self.name, f"must be one of {', '.join(DATASETS)}")
        require(bool(self.split), "dataset.split", self.split, "name a split, such as val")
        fixed = self.name == "toy" and self.split != "val"
        require(not fixed, "dataset.split", self.split, "the toy dataset has the split val alone")


@dataclass(frozen=True)
class EvaluateSettings:
    """All settings of a `dd-eval` run.

    `data_root` is needed for every dataset but "toy". `output_dir` None is a folder beside the checkpoint.
    `cache_dir` takes what is made once from a dataset: the toy scenes, COCO's semantic masks.
    """

    checkpoint: str
    dataset: EvaluationDatasetSettings = field(default_factory=EvaluationDatasetSettings)
    data_root: str | None = None
    output_dir: str | None = None
    cache_dir: str = "runs/cache"
    tta: bool = False
    device: str = "auto"
    save_predictions: bool = False

    def __post_init__(self) -> None:
        require(bool(self.checkpoint), "checkpoint", self.checkpoint, "name the segmentor.pth that dd-train exported")
        require(bool(self.cache_dir), "cache_dir", self.cache_dir, "name a folder that can be written")
        needs_root = self.dataset.name != "toy" and not self.data_root
        require(not needs_root, "data_root", "null", f"name the folder of dataset={self.dataset.name}")
