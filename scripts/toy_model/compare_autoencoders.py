"""Autoencoders of factor 4 (as shipped) and factor 8: how close their images come after a short training.

    python -m scripts.toy_model.compare_autoencoders --work-dir runs/autoencoders

Both are trained from scratch on the same scenes, in the same order. Their latents have equally many numbers: 4 channels
at 32 x 32, 16 channels at 16 x 16.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from dataset_diffusion.paths import toy_model_dir
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, render_scene
from scripts.toy_model.autoencoder import train_autoencoder
from scripts.toy_model.quality import reconstruction_psnr
from scripts.toy_model.recipe import AUTOENCODER_CONFIG, Recipe
from scripts.toy_model.scenes import SceneStore

FACTOR_4, FACTOR_8 = "factor 4, 4 channels", "factor 8, 16 channels"
AUTOENCODERS: Mapping[str, Mapping[str, Any]] = {
    FACTOR_4: AUTOENCODER_CONFIG,
    FACTOR_8: {
        **AUTOENCODER_CONFIG,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (*AUTOENCODER_CONFIG["block_out_channels"], 64),
        "latent_channels": 16,
    },
}
NUM_TEST_SCENES = 100


def main() -> None:
    """Train and measure each; one that is already trained is only measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, required=True, help="folder for scenes and autoencoders")
    parser.add_argument("--steps", type=int, default=600, help="steps per training (default %(default)s)")
    parser.add_argument("--scenes", type=int, default=2_000, help="training scenes (default %(default)s)")
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    images = SceneStore(args.work_dir, args.scenes).images()
    recipe = replace(Recipe(), num_scenes=args.scenes, autoencoder_steps=args.steps)
    test_images = np.stack([render_scene(seed).image for seed in HELD_OUT_SEEDS[:NUM_TEST_SCENES]])
    print(f"| autoencoder | steps | parameters | PSNR of {NUM_TEST_SCENES} scenes, dB |\n|---|---|---|---|")
    shipped = AutoencoderKL.from_pretrained(toy_model_dir(), subfolder="vae").eval()
    print(row("shipped", "", shipped, test_images), flush=True)
    for name, config in AUTOENCODERS.items():
        folder = args.work_dir / f"{name.replace(', ', '_').replace(' ', '_')}_{args.steps}"
        if not folder.exists():
            start = time.process_time()
            unfinished = folder.with_name(f"unfinished_{folder.name}")
            train_autoencoder(images, recipe, torch.device("cpu"), config).save_pretrained(unfinished)
            unfinished.rename(folder)
            print(f"{name}: {time.process_time() - start:.0f} seconds of CPU time", file=sys.stderr)
        trained = AutoencoderKL.from_pretrained(folder).eval()
        print(row(name, f"{args.steps:,}", trained, test_images), flush=True)


def row(name: str, steps: str, vae: AutoencoderKL, test_images: np.ndarray) -> str:
    """The Markdown row of an autoencoder."""
    psnr = reconstruction_psnr(vae, test_images)
    return f"| {name} | {steps} | {vae.num_parameters() / 1e6:.2f} M | {psnr:.1f} |"


if __name__ == "__main__":
    main()
