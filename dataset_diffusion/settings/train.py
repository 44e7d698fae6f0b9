"""The settings of `dd-train`, checked when they are created.

`--help` shows the docstring below each field.
"""

import math
from dataclasses import dataclass, field, replace

from dataset_diffusion.settings.checks import expand_home, one_of, require
from dataset_diffusion.settings.protocol import OWN_SIZE, TestProtocol, parse_scale, require_protocol

DEPTHS = (18, 50, 101)
SEGMENTOR_KINDS = ("deeplabv3", "mask2former", "mmseg")
OUTPUT_STRIDES = (8, 16)
"""Image pixels per position of the feature map that is classified."""
PRECISIONS = ("auto", "float32", "bfloat16")
TOY_VALIDATION = "toy"
"""The value of `val` that stands for held-out scenes of the toy world."""
USUAL_FOLDERS = {"voc": "data/voc", "coco": "data/coco"}
"""The folders that `val=voc` and `val=coco` stand for."""
GENERATED = "generated"
"""The name of `dataset_dir` among the training folders."""


@dataclass(frozen=True)
class SegmentorSettings:
    """A DeepLabV3 or a Mask2Former with a ResNet, or the network of an mmsegmentation config."""

    pretrained: str
    """none, a file of backbone weights, open-mmlab://resnet101_v1c, or a hub id (timm/resnet50.a1_in1k); with
    segmentor=mmseg also config: the weights that the config names"""
    kind: str = "deeplabv3"
    """deeplabv3, mask2former, mmseg"""
    config: str | None = None
    """mmseg: a config that mmsegmentation ships (segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512), or a .py file"""
    depth: int = 101
    """depth of the ResNet: 18, 50, 101"""
    base_channels: int = 64
    """width of the ResNet's first stage; half the published 64 takes a quarter of the computation"""
    aspp_dilations: list[int] = field(default_factory=lambda: [1, 12, 24, 36])
    """deeplabv3: dilation rates of the spatial pyramid, in positions of the feature map"""
    output_stride: int = 8
    """deeplabv3: image pixels per position of the feature map: 8, or 16 (faster)"""
    num_queries: int = 100
    """mask2former: number of masks that it predicts"""
    hidden_dim: int = 256
    """mask2former: width of its decoders"""
    encoder_layers: int = 6
    """mask2former: layers of the pixel decoder"""
    decoder_layers: int = 9
    """mask2former: layers of the transformer decoder"""
    num_points: int = 12544
    """mask2former: points of an image at which the loss is computed"""

    def __post_init__(self) -> None:
        expand_home(self, "config", "pretrained")
        require(self.kind in SEGMENTOR_KINDS, "segmentor.kind", self.kind, one_of(SEGMENTOR_KINDS))
        if self.kind == "mmseg":
            remedy = "name one of mmsegmentation's, e.g. segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512, or a file"
            require(bool(self.config), "segmentor.config", self.config, remedy)
        for name in ("num_queries", "encoder_layers", "decoder_layers", "num_points"):
            require(getattr(self, name) >= 1, f"segmentor.{name}", getattr(self, name), "must be 1 or more")
        width = self.hidden_dim
        require(width >= 64 and width % 32 == 0, "segmentor.hidden_dim", width, "must be a multiple of 32, 64 or more")
        require(self.depth in DEPTHS, "segmentor.depth", self.depth, one_of(tuple(map(str, DEPTHS))))
        rates = self.aspp_dilations
        require(
            bool(rates) and all(1 <= rate <= 256 for rate in rates),
            "segmentor.aspp_dilations",
            rates,
            "must be a list of numbers in 1 ... 256, e.g. [1,12,24,36]",
        )
        width = self.base_channels
        require(8 <= width <= 256 and width % 2 == 0, "segmentor.base_channels", width, "must be even, in 8 ... 256")
        stride = self.output_stride
        require(stride in OUTPUT_STRIDES, "segmentor.output_stride", stride, one_of(tuple(map(str, OUTPUT_STRIDES))))
        require(bool(self.pretrained), "segmentor.pretrained", self.pretrained, "name a file, or write none")


@dataclass(frozen=True)
class TrainingFolderSettings:
    """One of the training folders."""

    root: str | None = None
    """a folder made by dd-generate, PASCAL VOC, COCO, or a folder in their layout"""
    split: str = "train"
    """which images; trainaug: VOC's, with the masks of SegmentationClassAug"""
    weight: float | None = None
    """its share of the batches; null: what the others leave, shared in proportion to the numbers of images"""
    num_samples: int | None = None
    """use only this many of its images, drawn with the seed; null: all"""
    vocabulary: str | None = None
    """the labels of a folder without dataset.json: voc, coco, or a .yaml file"""

    def __post_init__(self) -> None:
        expand_home(self, "root", "vocabulary")


@dataclass(frozen=True)
class DataSettings:
    """The training data."""

    train: dict[str, TrainingFolderSettings] = field(default_factory=dict)
    """more folders, under names of your choice: data.train.real.root=data/voc data.train.real.weight=0.5; each has
    root, split, weight (its share of the batches), num_samples and vocabulary"""


@dataclass(frozen=True)
class TrainSettings:
    """All settings of a `dd-train` run."""

    dataset_dir: str | None
    """a folder made by dd-generate, called "generated" among the folders of data.train; null: only those folders"""
    work_dir: str
    """folder for checkpoints, logs and segmentor.pth"""
    iterations: int
    """length of the training"""
    batch_size: int
    """images per iteration, over all processes: with torchrun and two GPUs, each takes half of them"""
    crop_size: int
    """side of the squares that images are cropped to"""
    scale_range: list[float]
    """images are resized by a random factor in this range before they are cropped"""
    lr: float
    """initial learning rate (AdamW); it falls to 0 over the iterations (polynomial, exponent 0.9)"""
    backbone_lr_mult: float
    """the backbone's learning rate, as a factor of lr"""
    weight_decay: float
    """weight decay of AdamW"""
    clip_norm: float
    """gradients are clipped to this norm"""
    ema_horizon: float
    """weights are averaged exponentially over this share of the run"""
    avg_non_ignore: bool
    """false: the loss is divided by all pixels of a batch, as in mmsegmentation and the paper; true: only by its
    labelled pixels"""
    precision: str
    """float32; bfloat16 is up to twice as fast; auto: bfloat16 where it is faster"""
    checkpoint_interval: int
    """iterations between checkpoints"""
    num_workers: int
    """processes that load images, per training process; 0: none"""
    segmentor: SegmentorSettings
    """the network"""
    copy_paste: float = 0.0
    """share of images onto which the objects of another image of their folder are pasted (arXiv 2012.07177)"""
    accumulation_steps: int = 1
    """each process splits its images of an iteration into this many parts and runs them in turn; takes less memory"""
    compile: bool = False
    """true: torch.compile the network; takes minutes at the start, then iterations are faster; needs a C++ compiler"""
    seed: int = 0
    """another seed gives other random numbers"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1"""
    resume: bool = False
    """true: resume the training in work_dir"""
    data: DataSettings = field(default_factory=DataSettings)
    """training data in addition to dataset_dir"""
    cache_dir: str = "runs/cache"
    """folder for data that is derived once from a dataset: COCO's semantic masks"""
    val: str | None = None
    """validate on a folder, voc (in data/voc), coco (in data/coco), or toy (held-out scenes of the toy world), and
    export the weights with the best mIoU; null: no validation, export the last weights"""
    val_split: str = "val"
    """the split of val to validate on"""
    val_interval: int = 1000
    """iterations between validations"""
    test_scale: str = OWN_SIZE
    """test images are fitted into LONGERxSHORTER, e.g. 2048x512, keeping their proportions; own: images keep their
    size"""
    test_mode: str = "whole"
    """slide: large test images are processed in overlapping windows of crop_size"""
    self_training: bool = False
    """true: train, relabel the images with the trained segmentor, train again"""
    self_training_threshold: float = 0.5
    """a pixel is ignored if the first segmentor gives its label a lower probability"""

    def __post_init__(self) -> None:
        expand_home(self, "dataset_dir", "work_dir", "cache_dir", "val")
        for name in ("work_dir", "cache_dir"):
            require(bool(getattr(self, name)), name, getattr(self, name), "name a folder")
        require(self.dataset_dir != "", "dataset_dir", "", "name a folder")
        self._require_folders()
        for name in ("iterations", "batch_size", "accumulation_steps", "checkpoint_interval", "val_interval"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be 1 or more")
        for name in ("lr", "clip_norm"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, value, "must be more than 0")
        for name in ("backbone_lr_mult", "weight_decay", "num_workers", "seed"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, value, "must be 0 or more")
        # With less than one feature-map position in each direction, batch normalisation has nothing to average.
        require(self.crop_size >= 32, "crop_size", self.crop_size, "must be 32 or more")
        scales = self.scale_range
        require(
            len(scales) == 2 and 0.1 <= scales[0] <= scales[1] <= 10,
            "scale_range",
            scales,
            "must be the smallest and the largest factor, in 0.1 ... 10, e.g. [0.5,2]",
        )
        require(0 <= self.copy_paste <= 1, "copy_paste", self.copy_paste, "must lie in [0, 1]")
        require(0 < self.ema_horizon <= 1, "ema_horizon", self.ema_horizon, "must lie in (0, 1]")
        require(self.precision in PRECISIONS, "precision", self.precision, one_of(PRECISIONS))
        threshold = self.self_training_threshold
        require(0 <= threshold <= 1, "self_training_threshold", threshold, "must lie in [0, 1]")
        require_protocol(self.test_scale, self.test_mode)
        self.images_per_process(1)
        require(bool(self.val_split), "val_split", self.val_split, "name a split, such as val")

    @property
    def protocol(self) -> TestProtocol:
        """How the network sees a test image. A window has the size of a training crop."""
        return TestProtocol(parse_scale(self.test_scale), self.test_mode, self.crop_size)

    def images_per_process(self, num_processes: int) -> int:
        """Each process's images per iteration. Raises InputError if `batch_size` does not divide evenly."""
        parts = num_processes * self.accumulation_steps
        processes = "1 process" if num_processes == 1 else f"{num_processes} processes"
        what = f"{processes} with accumulation_steps={self.accumulation_steps}"
        batch = self.batch_size
        require(batch % parts == 0, "batch_size", batch, f"must be a multiple of {parts}, for {what}")
        # The image-level branch of DeepLabV3's pyramid normalises only over the batch.
        require(
            batch // parts >= 2,
            "batch_size",
            batch,
            f"must be {2 * parts} or more: batch normalisation needs 2 at once",
        )
        return batch // num_processes

    def folders(self) -> dict[str, TrainingFolderSettings]:
        """All training folders by name; each has a root."""
        folders = self.data.train
        if self.dataset_dir:
            generated = replace(folders.get(GENERATED, TrainingFolderSettings()), root=self.dataset_dir)
            folders = {GENERATED: generated, **{name: folders[name] for name in folders if name != GENERATED}}
        return folders

    def root_setting(self, name: str) -> str:
        """The name of the setting that gives a folder's root."""
        return "dataset_dir" if name == GENERATED and self.dataset_dir else f"data.train.{name}.root"

    def _require_folders(self) -> None:
        remedy = "name a folder that dd-generate made, or others as data.train.real.root=DIR"
        require(bool(self.folders()), "dataset_dir", self.dataset_dir, remedy)
        generated = self.data.train.get(GENERATED, TrainingFolderSettings()).root
        both = f"dataset_dir={self.dataset_dir} already names that folder; give only one of the two"
        doubled = bool(generated and self.dataset_dir and generated != self.dataset_dir)
        require(not doubled, f"data.train.{GENERATED}.root", generated, both)
        for name, folder in self.folders().items():
            setting = f"data.train.{name}"
            require(bool(folder.root), f"{setting}.root", folder.root, "name a folder")
            require(bool(folder.split), f"{setting}.split", folder.split, "name a split, such as train")
            weight, number = folder.weight, folder.num_samples
            require(weight is None or 0 < weight < math.inf, f"{setting}.weight", weight, "must be more than 0")
            require(number is None or number >= 1, f"{setting}.num_samples", number, "must be 1 or more")
        weights = [folder.weight for folder in self.folders().values()]
        total = sum(weight for weight in weights if weight is not None)
        rest = None in weights
        require(
            not rest or total < 1,
            "data.train",
            f"weights that add up to {total:g}",
            "must leave a share for the folders without a weight; or give every folder a weight",
        )
