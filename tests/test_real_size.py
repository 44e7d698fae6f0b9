"""Stable Diffusion 1.5 and 2.1 at real size, with random weights (real ones are not available in a test)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import nn

from dataset_diffusion.attention.layers import find_attention_layers, select_layers
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import AttentionSettings
from scripts.benchmarks import random_models
from scripts.benchmarks.random_models import ARCHITECTURES

ROOT = Path(__file__).resolve().parents[1]
LATENT_SIZE = (64, 64)


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def size(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def unet(size: str) -> UNet2DConditionModel:
    """The UNet on the meta device, which takes no memory for its weights."""
    with torch.device("meta"):
        return random_models.make_unet(ARCHITECTURES[size])


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts_equal_those_of_the_published_checkpoints(size: str, unet: UNet2DConditionModel) -> None:
    architecture = ARCHITECTURES[size]
    with torch.device("meta"):
        text_encoder = random_models.make_text_encoder(architecture, random_models.make_tokenizer(architecture))
        autoencoder = random_models.make_autoencoder()
    counts = [count_parameters(model) for model in (unet, text_encoder, autoencoder)]
    assert (
        counts
        == {
            "sd15": [859_520_964, 123_060_480, 83_653_863],
            "sd21": [865_910_724, 340_387_840, 83_653_863],
        }[size]
    )


def test_padding_matches_the_version(size: str) -> None:
    tokenizer = random_models.make_tokenizer(ARCHITECTURES[size])
    tokens = tokenizer("a cat", padding="max_length").input_ids
    assert len(tokens) == 77
    assert tokens[:4] == [49406, 320, 2368, 49407]
    assert set(tokens[4:]) == {{"sd15": 49407, "sd21": 0}[size]}


def test_default_attention_is_cross_16_and_self_32(unet: UNet2DConditionModel) -> None:
    """The layers whose attention makes the masks (arXiv 2309.14303), by their names in any checkpoint."""
    layers = select_layers(find_attention_layers(unet, LATENT_SIZE), AttentionSettings(), LATENT_SIZE)

    def names(block: str, count: int, kind: str) -> set[str]:
        return {f"{block}.attentions.{index}.transformer_blocks.0.{kind}" for index in range(count)}

    assert {layer.name for layer in layers if layer.is_cross} == {
        *names("down_blocks.2", 2, "attn2"),
        *names("up_blocks.1", 3, "attn2"),
    }
    assert {layer.name for layer in layers if not layer.is_cross} == {
        *names("down_blocks.1", 2, "attn1"),
        *names("up_blocks.2", 3, "attn1"),
    }
    assert {layer.size for layer in layers if layer.is_cross} == {(16, 16)}
    assert {layer.size for layer in layers if not layer.is_cross} == {(32, 32)}


def test_resolutions_follow_the_image(unet: UNet2DConditionModel) -> None:
    """768 x 512 pixels are 96 x 64 latents."""
    layers = select_layers(find_attention_layers(unet, (96, 64)), AttentionSettings(), (96, 64))
    assert {(layer.is_cross, layer.size) for layer in layers} == {(True, (24, 16)), (False, (48, 32))}


def test_a_resolution_that_the_model_lacks_is_refused(unet: UNet2DConditionModel) -> None:
    settings = AttentionSettings(cross_resolution=20)
    with pytest.raises(InputError, match=r"attention\.cross_resolution=20: .* 64, 32, 16, 8"):
        select_layers(find_attention_layers(unet, LATENT_SIZE), settings, LATENT_SIZE)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_dd_generate_at_real_size(size: str, tmp_path: Path) -> None:
    """Needs 2.5 GiB of disk, 5 GiB of memory and two minutes of CPU time."""
    model, output = tmp_path / "model", tmp_path / "dataset"
    run_python("-m", "scripts.benchmarks.random_models", "--size", size, "--dtype", "bfloat16", str(model))
    run_python(
        *("-m", "dataset_diffusion.cli.generate", "experiment=voc", f"model.path={model}", f"output_dir={output}"),
        *("num_images=1", "sampler.num_inference_steps=2", "model.dtype=bfloat16", "model.device=cpu"),
    )
    (sample_id,) = (output / "ImageSets/Segmentation/train.txt").read_text().split()
    image = np.asarray(Image.open(output / f"JPEGImages/{sample_id}.jpg"))
    mask = np.asarray(Image.open(output / f"SegmentationClass/{sample_id}.png"))
    assert image.shape == (512, 512, 3)
    assert mask.shape == (512, 512)
    assert image.std() > 0
    labels = set(np.unique(mask))
    assert {0} < labels <= {*range(21), 255}
    assert labels & set(range(1, 21))


def run_python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
