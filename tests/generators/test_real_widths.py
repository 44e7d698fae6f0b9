"""Whole pipelines with real models' widths, heads and text lengths, but random weights and one block of each kind.

    RUN_SLOW=1 pytest -s tests/generators/test_real_widths.py

Each takes up to 6 GiB of memory and a few minutes on one CPU core. Vocabularies are small, and each text encoder has
one layer, or two if the pipeline uses the last but one.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from dataset_diffusion import record_attention
from scripts.benchmarks.random_models import make_autoencoder
from tests.clip import real_clip_tokenizer
from tests.generators.test_real_configurations import SD35_MEDIUM, SDXL
from tests.tiny_families import qwen_tokenizer, sharpen, t5_tokenizer

SIDE = 256
TEXT, WORDS = "a cat on a sofa; cat dining table", [["cat", "dining table"]]


def clip(kind: type[nn.Module], width: int, heads: int, layers: int = 2) -> nn.Module:
    """CLIP ViT-L/14 (768, 12) or OpenCLIP ViT-bigG/14 (1280, 20)."""
    tokenizer = real_clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width, projection_dim=width,
        num_hidden_layers=layers, num_attention_heads=heads, max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return kind(config).to(torch.bfloat16)


def t5() -> nn.Module:
    """T5 v1.1 XXL's encoder."""
    config = T5Config(
        vocab_size=len(t5_tokenizer(512)), d_model=4096, d_kv=64, d_ff=10240, num_heads=64, num_layers=1,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return T5EncoderModel(config).to(torch.bfloat16)


def autoencoder() -> nn.Module:
    """The 16-channel autoencoder of Stable Diffusion 3, Flux.1 and Z-Image."""
    usual = {key: value for key, value in make_autoencoder().config.items() if not key.startswith("_")}
    channels = {"latent_channels": 16, "shift_factor": 0.1, "use_quant_conv": False, "use_post_quant_conv": False}
    return AutoencoderKL(**usual | channels).to(torch.bfloat16)


def denoiser(model: nn.Module) -> nn.Module:
    sharpen(model, 2.0)
    return model.to(torch.bfloat16)


def sdxl() -> DiffusionPipeline:
    unet = UNet2DConditionModel(**SDXL | {"layers_per_block": 1, "transformer_layers_per_block": 1})
    tokenizer = real_clip_tokenizer()
    return StableDiffusionXLPipeline(
        vae=make_autoencoder().to(torch.bfloat16),
        text_encoder=clip(CLIPTextModel, 768, 12),
        text_encoder_2=clip(CLIPTextModelWithProjection, 1280, 20),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=denoiser(unet),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def sd3() -> DiffusionPipeline:
    """A block with image-only attention, one without, and the last, which outputs no text."""
    transformer = SD3Transformer2DModel(**SD35_MEDIUM | {"num_layers": 3, "dual_attention_layers": (0,)})
    tokenizer, tokenizer_3 = real_clip_tokenizer(), t5_tokenizer(512)
    return StableDiffusion3Pipeline(
        transformer=denoiser(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(),
        text_encoder=clip(CLIPTextModelWithProjection, 768, 12),
        tokenizer=tokenizer,
        text_encoder_2=clip(CLIPTextModelWithProjection, 1280, 20),
        tokenizer_2=tokenizer,
        text_encoder_3=t5(),
        tokenizer_3=tokenizer_3,
    )


def flux() -> DiffusionPipeline:
    transformer = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder(),
        text_encoder=clip(CLIPTextModel, 768, 12),
        tokenizer=real_clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(512),
        transformer=denoiser(transformer),
    )


def z_image() -> DiffusionPipeline:
    """Qwen3 4B reads the prompt."""
    tokenizer = qwen_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=2560, intermediate_size=9728, num_hidden_layers=2,
        num_attention_heads=32, num_key_value_heads=8, head_dim=128,
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(),
        text_encoder=Qwen3Model(config).to(torch.bfloat16),
        tokenizer=tokenizer,
        transformer=denoiser(ZImageTransformer2DModel(n_layers=1, n_refiner_layers=1)),
    )


BLOCKS = {"sdxl": [None], "sd3": [[0], [1], [2]], "flux": [[0], [1]], "z_image": [[0]]}
PIPELINES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "z_image": z_image,
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", PIPELINES)
def test_a_pipeline_of_real_widths_records_without_changing_the_image(family: str) -> None:
    torch.manual_seed(0)
    pipe: Any = PIPELINES[family]()
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()  # as from_pretrained returns it: without dropout
    pipe.set_progress_bar_config(disable=True)

    def call() -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        images = pipe(
            TEXT, num_inference_steps=1, guidance_scale=1.0 if family == "z_image" else 3.0, height=SIDE, width=SIDE,
            generator=torch.Generator().manual_seed(0), output_type="np",
        ).images  # fmt: skip
        return images, time.perf_counter() - start

    plain, seconds = call()
    assert plain.std() > 0
    report = [f"{family}: {seconds:.1f} s without recording"]
    # Selects SDXL's layers of width 1280, which have 32x32 positions at 1024 pixels.
    sizes = {"self_resolution": 8, "cross_resolution": 8} if family == "sdxl" else {}
    class_prompts = ["appended"] if family == "z_image" else ["own", "appended"]
    for class_prompt in class_prompts:
        for blocks in BLOCKS[family]:
            with record_attention(pipe, WORDS, class_prompt=class_prompt, blocks=blocks, **sizes) as recorded:
                images, seconds = call()
            assert np.array_equal(images, plain)
            (maps,) = recorded.maps
            rows = maps.self_attention.sum(dim=1)
            torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-3, rtol=0)
            assert maps.cross.std() > 0
            assert recorded.heatmaps()[0].shape == (2, SIDE, SIDE)
            report.append(f"{seconds:.1f} s with class_prompt={class_prompt}, blocks={blocks}")
    print("; ".join(report))
