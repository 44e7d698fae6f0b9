"""The settings of `dd-train`, checked when they are made; the DictConfig ends here."""

import math
from dataclasses import dataclass, field

from dataset_diffusion.settings.checks import one_of, require

DEPTHS = (18, 50, 101)
OUTPUT_STRIDES = (8, 16)
"""Pixels of the image per position of the feature map that is classified."""
PRECISIONS = ("auto", "float32", "bfloat16")
TOY_VALIDATION = "toy"
"""The `val_dir` that stands for held-out scenes of the toy world."""


@dataclass(frozen=True)
class SegmentorSettings:
    """A DeepLabV3.

    `depth` is that of its ResNet. `pretrained` is "none", a file, or open-mmlab://NAME. `aspp_dilations` are the rates
    of the spatial pyramid, in positions of the feature map, which are `output_stride` pixels each. `base_channels` is
    the width of the ResNet's first stage: 64 in the published ones; half of it makes a quarter of the work.
    """

    depth: int = 101
    aspp_dilations: list[int] = field(default_factory=lambda: [1, 12, 24, 36])
    pretrained: str = "none"
    base_channels: int = 64
    output_stride: int = 8

    def __post_init__(self) -> None:
        require(self.depth in DEPTHS, "segmentor.depth", self.depth, one_of(tuple(map(str, DEPTHS))))
        rates = self.aspp_dilations
        require(
            bool(rates) and all(1 <= rate <= 256 for rate in rates),
            "segmentor.aspp_dilations",
            rates,
            "must be a list of numbers in 1 ... 256, as [1,12,24,36]",
        )
        width = self.base_channels
        require(8 <= width <= 256 and width % 2 == 0, "segmentor.base_channels", width, "must be even, in 8 ... 256")
        stride = self.output_stride
        require(stride in OUTPUT_STRIDES, "segmentor.output_stride", stride, one_of(tuple(map(str, OUTPUT_STRIDES))))
        require(bool(self.pretrained), "segmentor.pretrained", self.pretrained, "name a file, or write none")


@dataclass(frozen=True)
class TrainSettings:
    """All settings of a `dd-train` run.

    `batch_size` and `num_workers` are those of each process. `lr` falls to 0 over the `iterations` (polynomially, with
    the exponent 0.9); the backbone's is `backbone_lr_mult` times that. `ema_horizon` is the span over which weights are
    averaged, as a share of the run. `val_dir` None trains without validation and exports the last weights; else those
    of the best mIoU are exported.
    """

    dataset_dir: str
    work_dir: str
    iterations: int
    batch_size: int
    crop_size: int
    scale_range: list[float]
    lr: float
    backbone_lr_mult: float
    weight_decay: float
    clip_norm: float
    ema_horizon: float
    avg_non_ignore: bool
    precision: str
    checkpoint_interval: int
    num_workers: int
    segmentor: SegmentorSettings = field(default_factory=SegmentorSettings)
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    val_dir: str | None = None
    val_split: str = "val"
    val_interval: int = 1000
    self_training: bool = False
    self_training_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("dataset_dir", "work_dir"):
            require(bool(getattr(self, name)), name, getattr(self, name), "name a folder")
        for name in ("iterations", "batch_size", "checkpoint_interval", "val_interval"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be 1 or more")
        for name in ("lr", "clip_norm"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, value, "must be more than 0")
        for name in ("backbone_lr_mult", "weight_decay", "num_workers", "seed"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, value, "must be 0 or more")
        # Below one position of the feature map in each direction, batch normalisation has nothing to average.
        require(self.crop_size >= 32, "crop_size", self.crop_size, "must be 32 or more")
        scales = self.scale_range
        require(
            len(scales) == 2 and 0.1 <= scales[0] <= scales[1] <= 10,
            "scale_range",
            scales,
            "must be the least and the largest, in 0.1 ... 10, as [0.5,2]",
        )
        require(0 < self.ema_horizon <= 1, "ema_horizon", self.ema_horizon, "must lie in (0, 1]")
        require(self.precision in PRECISIONS, "precision", self.precision, one_of(PRECISIONS))
        threshold = self.self_training_threshold
        require(0 <= threshold <= 1, "self_training_threshold", threshold, "must lie in [0, 1]")
        require(bool(self.val_split), "val_split", self.val_split, "name a split, such as val")
        # The image-level branch of the pyramid normalises over the batch alone.
        require(self.batch_size >= 2, "batch_size", self.batch_size, "must be 2 or more: batch normalisation needs it")
