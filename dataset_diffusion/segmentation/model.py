"""DeepLabV3 (Chen et al., arXiv 1706.05587) as mmsegmentation builds it."""

import json
import logging
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.settings.protocol import TestProtocol
from dataset_diffusion.settings.train import DEPTHS, OUTPUT_STRIDES
from dataset_diffusion.types import IGNORE_INDEX

# ImageNet's statistics, RGB in [0, 255]: what pretrained backbones expect.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
PREPROCESSOR = {
    "type": "mmseg.SegDataPreProcessor",
    "mean": PIXEL_MEAN,
    "std": PIXEL_STD,
    "bgr_to_rgb": True,
    "pad_val": 0,
    "seg_pad_val": IGNORE_INDEX,
}
AUXILIARY_LOSS_WEIGHT = 0.4


@dataclass(frozen=True)
class Architecture:
    """The sizes that determine a segmentor's layers, and so which weights fit it.

    `depth` is the ResNet's depth. `deep_stem` selects its stem: three 3 x 3 convolutions (ResNet-v1c, the usual choice
    for DeepLabV3) or one 7 x 7 convolution (the plain ResNet). `aspp_dilations` are the rates of the spatial pyramid,
    in positions of the feature map. `num_labels` includes the background. `base_channels` is the width of the ResNet's
    first stage, 64 in the published ones; all other widths scale with it. `output_stride` is the side of a position of
    the last feature map, in pixels: 8 or 16 (Chen et al., arXiv 1706.05587, section 3).
    """

    depth: int
    deep_stem: bool
    aspp_dilations: tuple[int, ...]
    num_labels: int
    base_channels: int = 64
    output_stride: int = 8

    def __post_init__(self) -> None:
        rates = self.aspp_dilations
        if self.depth not in DEPTHS or not isinstance(self.deep_stem, bool):
            raise ValueError(f"not a known ResNet: {self}")
        if not rates or not all(isinstance(rate, int) and 1 <= rate <= 256 for rate in rates):
            raise ValueError(f"not dilations: {rates}")
        if not isinstance(self.num_labels, int) or not 2 <= self.num_labels <= IGNORE_INDEX:
            raise ValueError(f"not a number of labels: {self.num_labels}")
        if not isinstance(self.base_channels, int) or not 8 <= self.base_channels <= 256:
            raise ValueError(f"not a width: {self.base_channels}")
        if self.output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"not an output stride: {self.output_stride}")

    def to_json(self) -> str:
        """JSON text that `architecture_from_json` reads."""
        return json.dumps(asdict(self))


def architecture_from_json(text: str) -> Architecture:
    """Read an architecture. Raises ValueError or TypeError if the text is not one."""
    content = json.loads(text)
    return Architecture(**{**content, "aspp_dilations": tuple(content["aspp_dilations"])})


def segmentor_config(
    architecture: Architecture,
    *,
    crop_size: int | None = None,
    avg_non_ignore: bool = False,
    sync_batch_norm: bool = False,
    protocol: TestProtocol = TestProtocol(),  # noqa: B008 (it is frozen)
) -> dict[str, Any]:
    """The model part of an mmengine config.

    `crop_size` is the side of training images; None if the model is only used for prediction.
    """
    # ResNet-18 and -34 have no bottlenecks: a quarter of the channels, and heads narrower in proportion.
    width = architecture.base_channels * (1 if architecture.depth < 50 else 4)
    # Stages that lose their stride are dilated instead.
    strides, dilations = (
        ((1, 2, 1, 1), (1, 1, 2, 4)) if architecture.output_stride == 8 else ((1, 2, 2, 1), (1, 1, 1, 2))
    )
    norm = {"type": "SyncBN" if sync_batch_norm else "BN", "requires_grad": True}

    def head(weight: float, **settings: Any) -> dict[str, Any]:
        loss = {"type": "CrossEntropyLoss", "loss_weight": weight, "avg_non_ignore": avg_non_ignore}
        return {
            "num_classes": architecture.num_labels,
            "ignore_index": IGNORE_INDEX,
            "dropout_ratio": 0.1,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": loss,
            **settings,
        }

    return {
        # The scope is written out wherever mmengine's own registry does the building.
        "type": "mmseg.EncoderDecoder",
        "data_preprocessor": {**PREPROCESSOR, "size": (crop_size, crop_size) if crop_size else None},
        "backbone": {
            "type": "ResNetV1c" if architecture.deep_stem else "ResNet",
            "depth": architecture.depth,
            "base_channels": architecture.base_channels,
            "stem_channels": architecture.base_channels,
            "strides": strides,
            "dilations": dilations,
            "contract_dilation": True,
            "norm_eval": False,
            "norm_cfg": norm,
        },
        "decode_head": head(
            1.0,
            type="ASPPHead",
            in_channels=8 * width,
            in_index=3,
            channels=2 * width,
            dilations=architecture.aspp_dilations,
        ),
        "auxiliary_head": head(
            AUXILIARY_LOSS_WEIGHT,
            type="FCNHead",
            in_channels=4 * width,
            in_index=2,
            channels=width,
            num_convs=1,
            concat_input=False,
        ),
        "train_cfg": {},
        "test_cfg": test_config(protocol),
    }


def test_config(protocol: TestProtocol) -> dict[str, Any]:
    """A protocol as what mmsegmentation calls a model's test_cfg."""
    if protocol.mode == "whole":
        return {"mode": "whole"}
    return {"mode": "slide", "crop_size": (protocol.window,) * 2, "stride": (protocol.stride,) * 2}


def build_segmentor(config: dict[str, Any]) -> nn.Module:
    """An mmsegmentation model with random weights, on the CPU."""
    import_mmseg()
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS

    # Some parts look up others in the current scope, not in the scope of mmsegmentation's registry.
    with warnings.catch_warnings(), DefaultScope.overwrite_default_scope("mmseg"):
        # mmseg recommends avg_non_ignore=True for every loss that is built without it.
        warnings.filterwarnings("ignore", message=".*avg_non_ignore.*")
        # For two labels, it also recommends a single output; two outputs are correct, and simpler.
        warnings.filterwarnings("ignore", message=".*binary segmentation.*")
        model: nn.Module = MODELS.build(ConfigDict(config))
    return model


def init_weights(model: Any) -> None:
    """mmsegmentation's initialisation, without the log line that it writes for every tensor."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
