"""Real configurations without their weights: every block is found, and words are in the positions they would have.

They are built on torch's meta device, which takes no memory. Flux's and Z-Image's are the defaults of diffusers'
classes; those of SDXL and Stable Diffusion 3.5 are written out here, and no checkpoint was available to compare with.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from hydra import compose, initialize_config_dir
from torch import nn

from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.family import Family
from dataset_diffusion.generators.flux import Flux
from dataset_diffusion.generators.sd3 import StableDiffusion3
from dataset_diffusion.generators.sdxl import StableDiffusionXL
from dataset_diffusion.generators.stable_diffusion import StableDiffusion
from dataset_diffusion.generators.z_image import ZImage
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import AttentionSettings, GenerateSettings
from scripts.benchmarks.random_models import ARCHITECTURES, make_unet
from tests.clip import real_clip_tokenizer
from tests.tiny_families import qwen_tokenizer, t5_tokenizer

SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
SD35_MEDIUM = {
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
SD35_LARGE = SD35_MEDIUM | {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "dual_attention_layers": (),
}


def pipeline(**parts: Any) -> SimpleNamespace:
    return SimpleNamespace(vae_scale_factor=8, **parts)


def make(kind: type[nn.Module], config: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        return kind(**config)


def sd3(config: dict[str, Any]) -> Family:
    clip = real_clip_tokenizer()
    return StableDiffusion3(
        pipeline(
            transformer=make(SD3Transformer2DModel, config),
            tokenizer=clip,
            tokenizer_max_length=77,
            tokenizer_3=t5_tokenizer(),
            text_encoder_3=object(),
        )
    )


def flux() -> Family:
    transformer = make(FluxTransformer2DModel, {"guidance_embeds": True})
    return Flux(pipeline(transformer=transformer, tokenizer_2=t5_tokenizer(), default_sample_size=128))


def z_image() -> Family:
    return ZImage(pipeline(transformer=make(ZImageTransformer2DModel, {}), tokenizer=qwen_tokenizer()))


def stable_diffusion() -> Family:
    with torch.device("meta"):
        return StableDiffusion(pipeline(unet=make_unet(ARCHITECTURES["sd21"])))


def sdxl() -> Family:
    return StableDiffusionXL(pipeline(unet=make(UNet2DConditionModel, SDXL)))


def names(family: Family, size=(1024, 1024), **settings: Any) -> tuple[list[str], set[Any]]:
    layers = family.attention_layers(size, AttentionSettings(**settings))
    for layer in layers:
        assert isinstance(family.denoiser.get_submodule(layer.name), nn.Module)
    return [layer.name for layer in layers if layer.is_cross], {(layer.is_cross, layer.size) for layer in layers}


def test_the_denoisers_have_the_documented_sizes() -> None:
    """In billions of parameters: SDXL, 3.5-medium, 3.5-large, Flux.1, Z-Image."""
    denoisers = [make(UNet2DConditionModel, SDXL), sd3(SD35_MEDIUM).denoiser, sd3(SD35_LARGE).denoiser]
    denoisers += [flux().denoiser, z_image().denoiser]
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in denoisers]
    assert [round(count / 1e9, 1) for count in counts] == [2.6, 2.2, 8.1, 11.9, 6.2]


def test_stable_diffusion_xl() -> None:
    family = sdxl()
    assert family.image_size == (1024, 1024)
    found, sizes = names(family)
    assert len(found) == 60
    assert sizes == {(True, (32, 32)), (False, (32, 32))}
    found, sizes = names(family, size=(768, 1024), self_resolution=48, cross_resolution=48)
    assert len(found) == 10
    assert sizes == {(True, (48, 64)), (False, (48, 64))}


@pytest.mark.parametrize(("config", "block"), [(SD35_MEDIUM, 9), (SD35_LARGE, 14)])
def test_stable_diffusion_35(config: dict[str, Any], block: int) -> None:
    family = sd3(config)
    assert family.image_size == (1024, 1024)
    found, sizes = names(family)
    assert found == [f"transformer_blocks.{block}.attn"]
    assert sizes == {(True, (64, 64)), (False, (32, 32))}
    assert len(names(family, blocks=list(range(config["num_layers"])))[0]) == config["num_layers"]
    tokens = family._find("a cat; aeroplane", ["aeroplane"])  # CLIP: start, a, cat, ;, aerop, lane; T5 follows its 77
    assert tokens.spans[0][:2] == (4, 5)
    assert min(tokens.spans[0][2:]) >= 77 + 3


def test_flux() -> None:
    family = flux()
    assert family.image_size == (1024, 1024)
    found, sizes = names(family, size=(768, 1024))
    assert found == [f"transformer_blocks.{block}.attn" for block in (15, 16, 17, 18)]
    assert sizes == {(True, (48, 64)), (False, (24, 32))}
    assert names(family, blocks=[19, 56])[0] == [
        "single_transformer_blocks.0.attn",
        "single_transformer_blocks.37.attn",
    ]
    with pytest.raises(InputError, match="this model has blocks 0 to 56"):
        names(family, blocks=[57])
    assert family.starts((64, 64)) == (512, 0)


def test_z_image() -> None:
    family = z_image()
    found, sizes = names(family)
    assert found == [f"layers.{block}.attention" for block in range(10, 20)]
    assert sizes == {(True, (64, 64)), (False, (32, 32))}
    assert family.starts((33, 33)) == (0, 1120)  # 1089 positions, padded to a multiple of 32


@pytest.mark.parametrize(
    ("experiment", "make_family", "side", "cross", "self_attention"),
    [
        ("voc", stable_diffusion, 512, 16, 32),
        ("voc_fast", stable_diffusion, 512, 16, 32),
        ("coco", stable_diffusion, 512, 16, 32),
        ("voc_sdxl", sdxl, 1024, 32, 32),
        ("voc_sd35", lambda: sd3(SD35_MEDIUM), 1024, 64, 32),
        ("voc_flux", flux, 1024, 64, 32),
    ],
)
def test_experiments_record_the_usual_sizes_and_take_images_of_any_shape(
    experiment: str, make_family: Callable[[], Family], side: int, cross: int, self_attention: int
) -> None:
    with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
        settings = to_settings(GenerateSettings, compose("config", [f"experiment={experiment}"])).attention
    family = make_family()

    def sizes(height: int, width: int) -> set[Any]:
        layers = family.attention_layers((height, width), settings)
        return {(layer.is_cross, layer.size) for layer in layers}

    assert sizes(side, side) == {(True, (cross, cross)), (False, (self_attention, self_attention))}
    # 768 x 1024 as in the documentation, and the size to which dd-calibrate scales a photo of 375 x 500.
    for height, width in [(side * 3 // 4, side), (side * 7 // 8, side * 9 // 8), (side * 9 // 8, side * 7 // 8)]:
        assert {is_cross for is_cross, _ in sizes(height, width)} == {True, False}
        assert all(size[0] / size[1] == height / width for _, size in sizes(height, width))
