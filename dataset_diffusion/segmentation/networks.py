"""The networks that can be trained: from the settings to an architecture and its pretrained weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from dataset_diffusion.segmentation.architectures import AnyArchitecture
from dataset_diffusion.segmentation.mmseg_configs import fit, read_mmseg_config
from dataset_diffusion.segmentation.model import Architecture
from dataset_diffusion.segmentation.pretrained import BackboneWeights, load_backbone, read_backbone
from dataset_diffusion.settings.train import SegmentorSettings, TrainSettings


@dataclass(frozen=True)
class Network:
    """What is to be trained, and the pretrained weights of its backbone, if any."""

    architecture: AnyArchitecture
    weights: BackboneWeights | None

    def load_pretrained(self, model: Any) -> None:
        """Copy the pretrained weights into a model. Raises InputError where they do not fit."""
        if self.weights:
            load_backbone(model.backbone, self.weights)

    @staticmethod
    def parts(model: Any) -> list[nn.Module]:
        """What torch.compile is worth its time for."""
        names = ("backbone", "decode_head", "auxiliary_head")
        return [part for name in names if isinstance(part := getattr(model, name, None), nn.Module)]


def plan_network(settings: TrainSettings, num_labels: int) -> Network:
    """Check the settings of the segmentor, read its pretrained weights. Raises InputError naming what does not fit."""
    return _PLANS[settings.segmentor.kind](settings, settings.segmentor, num_labels)


def _plan_deeplabv3(_: TrainSettings, segmentor: SegmentorSettings, num_labels: int) -> Network:
    weights = read_backbone(segmentor.pretrained)
    architecture = Architecture(
        depth=segmentor.depth,
        deep_stem=weights is None or weights.deep_stem,
        aspp_dilations=tuple(segmentor.aspp_dilations),
        base_channels=segmentor.base_channels,
        output_stride=segmentor.output_stride,
        num_labels=num_labels,
    )
    return Network(architecture, weights)


def _plan_mask2former(_: TrainSettings, segmentor: SegmentorSettings, num_labels: int) -> Network:
    from dataset_diffusion.segmentation.mask2former import Mask2FormerArchitecture

    weights = read_backbone(segmentor.pretrained)
    architecture = Mask2FormerArchitecture(
        depth=segmentor.depth,
        deep_stem=weights is None or weights.deep_stem,
        base_channels=segmentor.base_channels,
        num_labels=num_labels,
        num_queries=segmentor.num_queries,
        hidden_dim=segmentor.hidden_dim,
        encoder_layers=segmentor.encoder_layers,
        decoder_layers=segmentor.decoder_layers,
        num_points=segmentor.num_points,
    )
    return Network(architecture, weights)


def _plan_mmseg(settings: TrainSettings, segmentor: SegmentorSettings, num_labels: int) -> Network:
    name = str(segmentor.config)
    model, published = read_mmseg_config(name)
    architecture = fit(
        name,
        model,
        num_labels=num_labels,
        crop_size=settings.crop_size,
        avg_non_ignore=settings.avg_non_ignore,
        sync_batch_norm=False,
    )
    source = published or "none" if segmentor.pretrained == "config" else segmentor.pretrained
    is_resnet = str(model["backbone"]["type"]).startswith("ResNet")
    return Network(architecture, read_backbone(source, any_backbone=not is_resnet))


_PLANS: dict[str, Callable[[TrainSettings, SegmentorSettings, int], Network]] = {
    "deeplabv3": _plan_deeplabv3,
    "mmseg": _plan_mmseg,
    "mask2former": _plan_mask2former,
}
