"""Write a Stable Diffusion pipeline of real size with random weights, to check code where real ones are unavailable.

    python -m scripts.benchmarks.random_models --size sd15 --dtype bfloat16 OUT_DIR
    dd-generate model.path=OUT_DIR experiment=voc num_images=1 model.dtype=bfloat16

The architectures are those of Stable Diffusion 1.5 and 2.1-base, and the tokenizer has CLIP's real vocabulary. Only the
weights are untrained, so the images are noise.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dataset_diffusion.generators.loading import silence_libraries
from scripts.clip_vocabulary import clip_tokenizer

CLIP_MERGES = Path(__file__).resolve().parents[2] / "tests/data/clip_bpe/bpe_simple_vocab_16e6.txt.gz"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# As initialised, every position attends equally to all others, and masks from such flat maps are empty.
QUERY_SCALE = 32


@dataclass(frozen=True)
class Architecture:
    """Where the two versions differ: the text encoder, and the UNet's heads, projections and text width."""

    text_width: int
    text_layers: int
    text_heads: int
    text_activation: str
    pad_token: str
    unet_heads: int | tuple[int, ...]
    use_linear_projection: bool


ARCHITECTURES = {
    # CLIP ViT-L/14.
    "sd15": Architecture(768, 12, 12, "quick_gelu", "<|endoftext|>", 8, use_linear_projection=False),
    # OpenCLIP ViT-H/14 without its last layer.
    "sd21": Architecture(1024, 23, 16, "gelu", "!", (5, 10, 20, 20), use_linear_projection=True),
}


def make_pipeline(size: str, dtype: torch.dtype) -> "diffusers.StableDiffusionPipeline":
    """Make the pipeline of the architecture `size` ("sd15" or "sd21"), with the same weights in every call."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[size]
    tokenizer = make_tokenizer(architecture)
    # Each part is cast before the next is made, so the float32 weights are never all in memory at once.
    return diffusers.StableDiffusionPipeline(
        vae=make_autoencoder().to(dtype),
        text_encoder=make_text_encoder(architecture, tokenizer).to(dtype),
        tokenizer=tokenizer,
        unet=make_unet(architecture).to(dtype),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_tokenizer(architecture: Architecture) -> CLIPTokenizer:
    """CLIP's tokenizer with the padding token of the version."""
    tokenizer = clip_tokenizer(CLIP_MERGES)
    tokenizer.pad_token = architecture.pad_token
    return tokenizer


def make_text_encoder(architecture: Architecture, tokenizer: CLIPTokenizer) -> torch.nn.Module:
    """The CLIP text model."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.text_width,
        intermediate_size=4 * architecture.text_width,
        num_hidden_layers=architecture.text_layers,
        num_attention_heads=architecture.text_heads,
        hidden_act=architecture.text_activation,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def make_unet(architecture: Architecture) -> diffusers.UNet2DConditionModel:
    """The UNet for 64 x 64 latents and 512 x 512 images (attention at 64, 32, 16 and 8)."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        attention_head_dim=architecture.unet_heads,  # the number of heads in these two models, despite its name
        cross_attention_dim=architecture.text_width,
        use_linear_projection=architecture.use_linear_projection,
    )
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if name.endswith(".to_q.weight"):
                parameter *= QUERY_SCALE
    return unet


def make_autoencoder() -> diffusers.AutoencoderKL:
    """The autoencoder: 8 x 8 pixels to 4 channels."""
    block_out_channels = (128, 256, 512, 512)
    return diffusers.AutoencoderKL(
        sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * len(block_out_channels),
        up_block_types=("UpDecoderBlock2D",) * len(block_out_channels),
        block_out_channels=block_out_channels,
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.18215,
    )


def make_scheduler() -> diffusers.PNDMScheduler:
    """The scheduler that both versions ship with; the model predicts the noise."""
    return diffusers.PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
    )


def main() -> None:
    """Write the pipeline that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="the folder to write (2 GiB in bfloat16)")
    parser.add_argument("--size", choices=ARCHITECTURES, default="sd15", help="default: %(default)s")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="bfloat16", help="dtype of the weights; default: %(default)s"
    )
    arguments = parser.parse_args()
    silence_libraries()
    make_pipeline(arguments.size, DTYPES[arguments.dtype]).save_pretrained(arguments.out_dir)
    print(f"{arguments.out_dir}: {arguments.size} with random weights, {arguments.dtype}")


if __name__ == "__main__":
    main()
