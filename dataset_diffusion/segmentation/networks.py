"""The networks that can be trained: turn the settings into an architecture and its pretrained weights."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dataset_diffusion.segmentation.architectures import AnyArchitecture
from dataset_diffusion.segmentation.mmseg_configs import fit, read_mmseg_config
from dataset_diffusion.segmentation.model import Architecture
from dataset_diffusion.segmentation.pretrained import BackboneWeights, load_backbone, read_backbone
from dataset_diffusion.settings.train import SegmentorSettings, TrainSettings


@dataclass(frozen=True)
class Network:
    """The network to train, and the pretrained weights of its backbone, if any.

    The weights are for the whole backbone, or for the network in it whose class is called `part`.
    """

    architecture: AnyArchitecture
    weights: BackboneWeights | None
    part: str | None = None

    def load_pretrained(self, model: Any) -> None:
        """Copy the pretrained weights into a model. Raises InputError if they do not fit."""
        if self.weights:
            inside = (module for module in model.backbone.modules() if type(module).__name__ == self.part)
            load_backbone(next(inside, model.backbone), self.weights)

    @staticmethod
    def compile(model: Any) -> None:
        """Compile the backbone and the heads in place, so that names in checkpoints do not change.

        mmsegmentation calls a head's `forward` by name, which `Module.compile` does not affect.
        """
        model.backbone.compile()
        heads = [getattr(model, name, None) or [] for name in ("decode_head", "auxiliary_head")]
        for head in itertools.chain(*(part if isinstance(part, list | nn.ModuleList) else [part] for part in heads)):
            head.forward = torch.compile(head.forward)


def plan_network(settings: TrainSettings, num_labels: int) -> Network:
    """Check the segmentor's settings and read its pretrained weights. Raises InputError naming what does not fit."""
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
    source = segmentor.pretrained
    if source == "config":
        source = published.source if published else "none"
    part = published.part if published else str(model["backbone"]["type"])
    return Network(architecture, read_backbone(source, any_backbone=not part.startswith("ResNet")), part)


_PLANS: dict[str, Callable[[TrainSettings, SegmentorSettings, int], Network]] = {
    "deeplabv3": _plan_deeplabv3,
    "mmseg": _plan_mmseg,
    "mask2former": _plan_mask2former,
}
