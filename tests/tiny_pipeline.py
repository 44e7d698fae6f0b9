"""A Stable Diffusion model with random weights, small enough to sample an image in a tenth of a second."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TEXT_LENGTH = 40
LATENT_SIZE = 16


def build_tiny_pipeline(folder: Path, sample_size: int | Sequence[int] = LATENT_SIZE, seed: int = 0) -> Path:
    """Write the pipeline with diffusers' save_pretrained and return its folder. Images are twice the latent size."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    pipe = StableDiffusionPipeline(
        vae=tiny_autoencoder(),
        text_encoder=tiny_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=tiny_unet(sample_size),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def tiny_tokenizer() -> CLIPTokenizer:
    """Byte-level BPE in CLIP's layout with few merges: "cat" is one token, "dog" two, other words one per letter."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "t</w>"), ("c", "at</w>"), ("o", "g</w>")]
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(pair) for pair in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges, model_max_length=TEXT_LENGTH
    )


def tiny_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tiny_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=2 * LATENT_SIZE,
    )


def tiny_unet(sample_size: int | Sequence[int] = LATENT_SIZE) -> UNet2DConditionModel:
    """Two heads; each kind of attention has three layers at the latent's size and four at half of it."""
    unet = UNet2DConditionModel(
        sample_size=sample_size,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=2,
    )
    # Fresh weights attend almost uniformly, so tests of averages would pass whatever is averaged.
    for module in unet.modules():
        if isinstance(module, Attention):
            module.to_q.weight.data *= 4
            module.to_k.weight.data *= 4
    return unet
