from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset_diffusion.attention.layer_weights import feature_attention
from dataset_diffusion.attention.layers import AttentionLayer, find_attention_layers, select_layers
from dataset_diffusion.attention.recorder import AttentionRecorder
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import AttentionSettings
from dataset_diffusion.types import AttentionMaps
from tests.generators.slow_attention import layer_weights, observed
from tests.tiny_pipeline import LATENT_SIZE, tiny_unet

BATCH = 2


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    torch.manual_seed(0)
    return tiny_unet()


@pytest.fixture(scope="module")
def calls() -> list[tuple[Tensor, Tensor]]:
    """Latents and text for two UNet calls without guidance."""
    torch.manual_seed(1)
    text = torch.randn(BATCH, 5, 32)
    return [(torch.randn(BATCH, 4, LATENT_SIZE, LATENT_SIZE), text) for _ in range(2)]


def layers_at(unet: nn.Module, cross: int, self_attention: int) -> tuple[AttentionLayer, ...]:
    layers = find_attention_layers(unet, (LATENT_SIZE, LATENT_SIZE))
    settings = AttentionSettings(cross_resolution=cross, self_resolution=self_attention)
    return select_layers(layers, settings, (LATENT_SIZE, LATENT_SIZE))


@torch.no_grad()
def record(unet: nn.Module, layers: Sequence[AttentionLayer], calls: Sequence[tuple[Tensor, Tensor]]):
    with AttentionRecorder(unet, layers, calls[0][1], weighted=True, weighted_layers=True) as recorder:
        for latents, text in calls:
            unet(latents, 500, text)
    return recorder.maps()


def alone(unet: nn.Module, names: Sequence[str], size: int, call: tuple[Tensor, Tensor]) -> list[list[AttentionMaps]]:
    """The maps of each block's two layers, with only the heads weighted."""
    return [
        record(unet, [AttentionLayer(f"{name}.attn{i}", i == 2, (size, size)) for i in (1, 2)], [call])
        for name in names
    ]


@pytest.mark.parametrize(("cross", "self_attention"), [(16, 8), (8, 8)])
def test_layers_are_weighted_by_the_similarity_of_their_self_attention_to_the_features(
    unet: nn.Module, calls, cross: int, self_attention: int
) -> None:
    """The features come from the last layer of a size to run, which is in the last up block."""
    found = record(unet, layers_at(unet, cross, self_attention), calls[:1])
    for is_cross, size in ((True, cross), (False, self_attention)):
        layers = [layer for layer in layers_at(unet, cross, self_attention) if layer.is_cross == is_cross]
        blocks = [layer.name.rpartition(".")[0] for layer in layers]
        maps = alone(unet, blocks, size, calls[0])
        last = max(block for block in blocks if block.startswith("up_blocks"))
        with observed(unet.get_submodule(f"{last}.attn1")) as inputs, torch.no_grad():
            unet(calls[0][0], 500, calls[0][1])
        for sample in range(BATCH):
            selves = [of_block[sample].self_attention for of_block in maps]
            weights = layer_weights(selves, inputs[0]["hidden_states"][sample], (size, size), 1)
            assert max(weights) > 1.1 * min(weights)
            parts = [of_block[sample].cross if is_cross else of_block[sample].self_attention for of_block in maps]
            expected = sum(weight * part for weight, part in zip(weights, parts, strict=True))
            actual = found[sample].cross if is_cross else found[sample].self_attention
            torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def test_each_call_has_its_own_weights(unet: nn.Module, calls) -> None:
    layers = layers_at(unet, 16, 8)
    both = record(unet, layers, calls)
    single = [record(unet, layers, [call]) for call in calls]
    for sample in range(BATCH):
        for kind in ("cross", "self_attention"):
            expected = torch.stack([getattr(maps[sample], kind) for maps in single]).mean(dim=0)
            torch.testing.assert_close(getattr(both[sample], kind), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "setting"), [(False, "self_resolution"), (True, "cross_resolution")])
def test_maps_too_large_to_keep_per_layer_are_refused(unet: nn.Module, kind: bool, setting: str) -> None:
    sizes = {kind: (64, 64), not kind: (16, 16)}
    layers = [AttentionLayer(f"block.{int(is_cross)}.attn", is_cross, sizes[is_cross]) for is_cross in (True, False)]
    with pytest.raises(InputError, match=rf"at 64x64 is too large; choose a smaller attention\.{setting}, or weighted"):
        AttentionRecorder(unet, layers, torch.zeros(1, 5, 32), weighted_layers=True)


def test_features_of_a_wide_grid_are_averaged_over_its_cells() -> None:
    states = torch.randn(1, 2 * 8, 5)
    cells = states.reshape(2, 4, 2, 5).mean(dim=2).reshape(8, 5)
    cells = F.normalize(cells - cells.mean(dim=0), dim=1)
    expected = (cells @ cells.T / 0.1).softmax(dim=1)
    torch.testing.assert_close(feature_attention(states, (2, 8), (2, 4))[0], expected)
