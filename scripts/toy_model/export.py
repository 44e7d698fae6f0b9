"""Write the trained networks as a Stable Diffusion pipeline folder that any tool loads."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from scripts.toy_model.denoiser import Denoiser
from scripts.toy_model.recipe import NOISE_SCHEDULE

PREFIX = "text_model."


def assemble(denoiser: Denoiser, vae: AutoencoderKL) -> StableDiffusionPipeline:
    """The stock pipeline with the trained networks (shared, not copied) and DDIM as its scheduler."""
    scheduler = DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser.text_encoder,
        tokenizer=denoiser.tokenizer,
        unet=denoiser.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def export(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """Save the pipeline in float16, replacing `folder`, which stays unchanged until the new one is complete."""
    unfinished = folder.with_name(f"unfinished_{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(unfinished)
    for config in unfinished.glob("*/config.json"):
        _make_portable(config)
    write_for_older_tools(unfinished)
    pipe.to(dtype=torch.float32)
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)


def _make_portable(config: Path) -> None:
    """Remove the folder that a network was loaded from, which means nothing elsewhere, and replace the files' float16.

    transformers would load the text encoder in the dtype of its config but diffusers the rest in float32, and a
    pipeline loaded without a dtype could not run. The published checkpoints say float32, whatever their files hold.
    """
    content = json.loads(config.read_text())
    content.pop("_name_or_path", None)
    if "dtype" in content:
        content["dtype"] = "float32"
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_for_older_tools(folder: Path) -> None:
    """Add what transformers before version 5 reads; newer versions read it too. The published checkpoints have it.

    This is the tokenizer's vocab.json and merges.txt next to its tokenizer.json, and the prefix `text_model.` in the
    names of the text encoder's weights. Without the prefix, an older version would leave them random and only log it.
    """
    tokenizer = folder / "tokenizer"
    model = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
    (tokenizer / "vocab.json").write_text(vocabulary, encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    (tokenizer / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    weights = folder / "text_encoder" / "model.safetensors"
    renamed = {f"{PREFIX}{name.removeprefix(PREFIX)}": value for name, value in load_file(weights).items()}
    save_file(renamed, weights, metadata={"format": "pt"})
