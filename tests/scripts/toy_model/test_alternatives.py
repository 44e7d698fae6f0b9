"""Other architectures initially behave like the network whose weights they take."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from scripts.toy_model.alternatives import ALTERNATIVES, SHIPPED, TRAINABLE, with_more_attention
from scripts.toy_model.recipe import TEXT_LENGTH, UNET_CONFIG

SMALL_UNET = {**UNET_CONFIG, "block_out_channels": (16, 16, 16), "sample_size": 16}


@pytest.mark.parametrize("name", [name for name in TRAINABLE if name != SHIPPED])
@torch.no_grad()
def test_new_attention_layers_initially_add_nothing(name: str) -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**SMALL_UNET)
    changed = with_more_attention(unet, ALTERNATIVES[name])
    inputs = torch.randn(2, 4, 16, 16), torch.tensor([5, 900]), torch.randn(2, TEXT_LENGTH, 128)
    assert changed.num_parameters() > unet.num_parameters()
    torch.testing.assert_close(changed(*inputs).sample, unet(*inputs).sample)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RuntimeError, match="do not fit"):
        with_more_attention(UNet2DConditionModel(**SMALL_UNET), {"layers_per_block": 2})
