import dataclasses
import json

import pytest
import torch

from dataset_diffusion.segmentation.model import (
    Architecture,
    architecture_from_json,
    build_segmentor,
    segmentor_config,
)

DILATIONS = (1, 12, 24, 36)


@pytest.mark.parametrize("depth", [18, 50, 101])
@pytest.mark.parametrize(("deep_stem", "stride"), [(True, 8), (False, 8), (True, 16)])
def test_all_depths_and_stems_give_scores_at_the_output_stride(depth: int, deep_stem: bool, stride: int) -> None:
    architecture = Architecture(depth, deep_stem, DILATIONS, 21, output_stride=stride)
    with torch.device("meta"):
        model = build_segmentor(segmentor_config(architecture)).eval()
        assert model(torch.empty(1, 3, 64, 96), mode="tensor").shape == (1, 21, 64 // stride, 96 // stride)
    blocks = {18: 8, 50: 16, 101: 33}[depth]
    assert sum(name.endswith(".conv2") for name, _ in model.backbone.named_modules()) == blocks
    # The last stage is dilated instead of strided (Chen et al., arXiv 1706.05587).
    dilated = model.backbone.layer4[1].conv1 if depth == 18 else model.backbone.layer4[1].conv2
    assert dilated.dilation == (32 // stride, 32 // stride)
    branches = model.decode_head.aspp_modules
    assert [branch.conv.dilation[0] for branch in branches] == list(DILATIONS)


@pytest.mark.parametrize("depth", [18, 50])
def test_half_the_width_gives_a_quarter_of_the_weights(depth: int) -> None:
    def count(base_channels: int) -> int:
        architecture = Architecture(depth, True, DILATIONS, 21, base_channels)
        with torch.device("meta"):
            return sum(weight.numel() for weight in build_segmentor(segmentor_config(architecture)).parameters())

    assert count(32) == pytest.approx(count(64) / 4, rel=0.01)


def test_the_loss_ignores_255_and_weights_the_auxiliary_head_less() -> None:
    config = segmentor_config(Architecture(18, True, (1, 2), 3))
    assert config["decode_head"]["ignore_index"] == config["auxiliary_head"]["ignore_index"] == 255
    assert config["decode_head"]["loss_decode"]["loss_weight"] == 1.0
    assert config["auxiliary_head"]["loss_decode"]["loss_weight"] == 0.4
    # Padding up to the crop size must not count as background.
    assert config["data_preprocessor"]["seg_pad_val"] == 255


def test_architectures_survive_json() -> None:
    architecture = Architecture(50, False, (1, 6), 81)
    assert architecture_from_json(architecture.to_json()) == architecture


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 34},
        {"deep_stem": "no"},
        {"aspp_dilations": []},
        {"aspp_dilations": [0]},
        {"num_labels": 256},
        {"base_channels": 4},
        {"output_stride": 32},
        {"x": 1},
    ],
)
def test_invalid_architectures_are_refused(change: dict) -> None:
    content = dataclasses.asdict(Architecture(18, True, (1, 2), 3)) | change
    with pytest.raises((ValueError, TypeError)):
        architecture_from_json(json.dumps(content))
