"""transformers' Mask2Former (Cheng et al., arXiv 2112.01527), with a ResNet, as an mmsegmentation model.

mmsegmentation's own version needs mmdet and compiled operators. Here the pixel decoder, the transformer decoder and the
losses come from transformers' `Mask2FormerForUniversalSegmentation`; the runner, averaging, resuming, test-time
augmentation, evaluation and export see an `EncoderDecoder` like any other.

Each label in an image, including the background, is one mask to find. A pixel's score for a label is the sum over the
queries of the label's probability times the mask's (section 3.3 of Cheng et al., arXiv 2107.06278).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig
from transformers.modeling_outputs import BackboneOutput

from dataset_diffusion.segmentation.mask2former_loss import ValidPixelsLoss
from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.segmentation.model import PREPROCESSOR, test_config
from dataset_diffusion.settings.protocol import TestProtocol
from dataset_diffusion.settings.train import DEPTHS
from dataset_diffusion.types import IGNORE_INDEX

import_mmseg()
from mmseg.models.segmentors import EncoderDecoder  # noqa: E402
from mmseg.models.segmentors.base import BaseSegmentor  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402

NUM_BLOCKS = {18: [2, 2, 2, 2], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}
LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class Mask2FormerArchitecture:
    """The sizes that determine a Mask2Former's layers; `deep_stem` and `base_channels` as in an Architecture."""

    depth: int
    deep_stem: bool
    base_channels: int
    num_labels: int
    num_queries: int = 100
    hidden_dim: int = 256
    encoder_layers: int = 6
    decoder_layers: int = 9
    num_points: int = 12544

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS or not isinstance(self.deep_stem, bool):
            raise ValueError(f"not a known ResNet: {self}")
        sizes = {name: value for name, value in asdict(self).items() if name != "deep_stem"}
        if not all(isinstance(value, int) and 1 <= value <= 100_000 for value in sizes.values()):
            raise ValueError(f"not sizes of a Mask2Former: {self}")


def mask2former_config(
    architecture: Mask2FormerArchitecture,
    protocol: TestProtocol,
    *,
    crop_size: int | None = None,
    sync_batch_norm: bool = False,
) -> dict[str, Any]:
    """The model part of an mmengine config."""
    return {
        "type": "mmseg.Mask2FormerSegmentor",
        "data_preprocessor": {**PREPROCESSOR, "size": (crop_size, crop_size) if crop_size else None},
        "architecture": asdict(architecture),
        "sync_batch_norm": sync_batch_norm,
        "train_cfg": {},
        "test_cfg": test_config(protocol),
    }


class _MmsegBackbone(nn.Module):
    """mmsegmentation's ResNet with the interface of transformers' backbones."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        return BackboneOutput(feature_maps=tuple(self.backbone(pixel_values)))


@MODELS.register_module(force=True)
class Mask2FormerSegmentor(EncoderDecoder):
    """See the module's docstring."""

    def __init__(
        self,
        architecture: dict[str, Any],
        data_preprocessor: dict[str, Any],
        sync_batch_norm: bool = False,
        train_cfg: Any = None,
        test_cfg: Any = None,
    ) -> None:
        BaseSegmentor.__init__(self, data_preprocessor=data_preprocessor)
        sizes = Mask2FormerArchitecture(**architecture)
        with _quiet_transformers():
            network: Any = Mask2FormerForUniversalSegmentation(_transformers_config(sizes))
        self.network: Any = network
        backbone = MODELS.build(
            {
                "type": "ResNetV1c" if sizes.deep_stem else "ResNet",
                "depth": sizes.depth,
                "base_channels": sizes.base_channels,
                "stem_channels": sizes.base_channels,
                "norm_eval": False,
                "norm_cfg": {"type": "SyncBN" if sync_batch_norm else "BN", "requires_grad": True},
            }
        )
        self.network.model.pixel_level_module.encoder = _MmsegBackbone(backbone)
        self.network.criterion = ValidPixelsLoss(self.network.config, self.network.weight_dict)
        self.num_classes = self.out_channels = sizes.num_labels
        self.align_corners = False
        self.train_cfg, self.test_cfg = train_cfg, test_cfg

    @property
    def backbone(self) -> Any:
        """The ResNet."""
        encoder: Any = self.network.model.pixel_level_module.encoder
        return encoder.backbone

    def init_weights(self) -> None:
        """Initialise the ResNet; transformers initialised the other parts when it built them."""
        self.backbone.init_weights()

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """The losses on images [B, 3, H, W], without the ignored pixels."""
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples]).long()
        present = [image[image != IGNORE_INDEX].unique() for image in labels]
        masks = [(image[None] == found[:, None, None]).float() for image, found in zip(labels, present, strict=True)]
        class_logits, mask_logits, auxiliary = self._query(inputs)
        criterion: Any = self.network.criterion
        # Costs and losses depend on small differences, so they are not computed in half precision.
        with torch.autocast(inputs.device.type, enabled=False), criterion.ignoring(labels == IGNORE_INDEX):
            losses = self.network.get_loss_dict(
                mask_logits.float(),
                class_logits.float(),
                masks,
                present,
                [{name: logits.float() for name, logits in outputs.items()} for outputs in auxiliary],
            )
        totals: dict[str, Tensor] = {}
        for name, value in losses.items():
            part = name.rstrip("0123456789").rstrip("_")
            totals[part] = totals.get(part, 0) + value
        return totals

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:  # noqa: ARG002
        """Scores [B, C, H, W] of images [B, 3, H, W]: non-negative, not normalised."""
        class_logits, mask_logits, _ = self._query(inputs)
        masks = F.interpolate(mask_logits, size=inputs.shape[2:], mode="bilinear", align_corners=False)
        return torch.einsum("bqc,bqhw->bchw", class_logits.softmax(-1)[..., :-1], masks.sigmoid())

    def postprocess_result(self, seg_logits: Tensor, data_samples: Any = None) -> Any:
        """Postprocess as usual, with log-probabilities as logits, so that their softmax gives the probabilities."""
        results = super().postprocess_result(seg_logits, data_samples)
        for sample in results:
            scores = sample.seg_logits.data.clamp(min=LEAST_SCORE)
            sample.seg_logits.data = (scores / scores.sum(dim=0)).log()
        return results

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:  # noqa: ARG002
        return self.encode_decode(inputs, [])

    def _query(self, inputs: Tensor) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
        """Class logits [B, Q, C + 1] and mask logits [B, Q, h, w] of the last layer, and both of each earlier layer."""
        outputs = self.network.model(pixel_values=inputs, output_hidden_states=True, return_dict=True)
        states = outputs.transformer_decoder_intermediate_states
        class_logits = [self.network.class_predictor(state.transpose(0, 1)) for state in states]
        mask_logits = outputs.masks_queries_logits
        auxiliary = self.network.get_auxiliary_logits(class_logits, mask_logits)
        return class_logits[-1], mask_logits[-1], auxiliary


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence its warning that a ResNet is not a Swin Transformer, which the published checkpoints have."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)


def _transformers_config(sizes: Mask2FormerArchitecture) -> Mask2FormerConfig:
    width = sizes.base_channels * (1 if sizes.depth < 50 else 4)
    # The backbone that transformers builds from this is replaced; the decoder takes the channel counts from it.
    backbone = ResNetConfig(
        embedding_size=sizes.base_channels,
        hidden_sizes=[width * 2**stage for stage in range(4)],
        depths=NUM_BLOCKS[sizes.depth] if sizes.depth < 50 else [1, 1, 1, 1],
        layer_type="basic" if sizes.depth < 50 else "bottleneck",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerConfig(
        backbone_config=backbone,
        num_labels=sizes.num_labels,
        num_queries=sizes.num_queries,
        hidden_dim=sizes.hidden_dim,
        feature_size=sizes.hidden_dim,
        mask_feature_size=sizes.hidden_dim,
        encoder_feedforward_dim=4 * sizes.hidden_dim,
        dim_feedforward=8 * sizes.hidden_dim,
        encoder_layers=sizes.encoder_layers,
        # transformers counts the prediction from the bare queries as a layer.
        decoder_layers=sizes.decoder_layers + 1,
        train_num_points=sizes.num_points,
        use_auxiliary_loss=True,
    )
