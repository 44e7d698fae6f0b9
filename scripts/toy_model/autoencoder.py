"""Train the autoencoder between 128 x 128 images and 32 x 32 latents."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import trange

from dataset_diffusion.hardware import bfloat16_is_fast
from scripts.toy_model.recipe import AUTOENCODER_CONFIG, IMAGE_SIZE, Recipe
from scripts.toy_model.scenes import encode_images

CROP_SIZE = 64
CROP_BATCH, WHOLE_BATCH = 16, 4
WHOLE_EVERY = 10
"""Crops are four times cheaper; every tenth batch has whole scenes, so that the middle attention block sees them."""
LEARNING_RATE = 2e-3
KL_WEIGHT = 3e-3
EDGE_WEIGHT = 0.3


def train_autoencoder(
    images: np.ndarray, recipe: Recipe, device: torch.device, config: Mapping[str, Any] = AUTOENCODER_CONFIG
) -> AutoencoderKL:
    """Train on [scenes, 128, 128, 3] uint8 images; the latents have mean 0 and standard deviation 1 in each channel."""
    vae = AutoencoderKL(**config).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / recipe.autoencoder_steps))
    generator = np.random.default_rng(recipe.seed)
    in_bfloat16 = bfloat16_is_fast(device)
    bar = trange(recipe.autoencoder_steps, desc="autoencoder", unit="step")
    for step in bar:
        pixels = _batch(images, generator, whole=step % WHOLE_EVERY == WHOLE_EVERY - 1).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bfloat16):
            distribution = vae.encode(pixels).latent_dist
            decoded = vae.decode(distribution.sample()).sample
        loss = reconstruction_loss(decoded.float(), pixels) + KL_WEIGHT * distribution.kl().mean() / pixels[0].numel()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    vae.eval()
    standardise_latents(vae, images[:512])
    return vae


def reconstruction_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """L1 of the pixels, of their vertical differences (otherwise edges blur) and of the image's mean colour."""
    pixel_loss = (decoded - pixels).abs().mean()
    edge_loss = (decoded.diff(dim=2) - pixels.diff(dim=2)).abs().mean()
    colour_loss = (decoded - pixels).mean(dim=(2, 3)).abs().mean()
    return pixel_loss + EDGE_WEIGHT * edge_loss + colour_loss


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, images: np.ndarray) -> None:
    """Fold each latent channel's mean and standard deviation over `images` into the 1 x 1 convolutions at the latents.

    The channels differ in scale by a factor of two, but a pipeline has one scaling factor for all of them. This makes
    that factor 1, so any loader gets it right.
    """
    latents = torch.cat([encode_images(vae, images[start : start + 16]) for start in range(0, len(images), 16)])
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    channels = len(mean)
    into, out_of = vae.quant_conv, vae.post_quant_conv
    into.weight[:channels] /= deviation[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / deviation
    into.bias[channels:] -= 2 * deviation.log()  # the second half is the logarithm of the variance
    out_of.bias += out_of.weight[:, :, 0, 0] @ mean
    out_of.weight *= deviation[None, :, None, None]


def _batch(images: np.ndarray, generator: np.random.Generator, whole: bool) -> Tensor:
    """[B, 3, H, W] float32 in [-1, 1]: whole scenes, or crops at one random position."""
    chosen = np.sort(generator.integers(len(images), size=WHOLE_BATCH if whole else CROP_BATCH))
    top, left = (0, 0) if whole else generator.integers(IMAGE_SIZE - CROP_SIZE + 1, size=2)
    side = IMAGE_SIZE if whole else CROP_SIZE
    batch = images[chosen, top : top + side, left : left + side]
    pixels = torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2) / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)


def _rate(progress: float) -> float:
    """Warm up over the first hundredth, hold until half of the run, then decay linearly to 2%."""
    return min(1.0, 100 * progress + 0.02) * min(1.0, max(0.02, 2 * (1 - progress)))
