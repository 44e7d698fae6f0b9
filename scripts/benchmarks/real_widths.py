"""Time and peak memory of recording in a transformer of real width with few blocks and random weights.

    python -m scripts.benchmarks.real_widths --family flux --image-size 512

It calls the transformer once without recording, once with it, and once with attention.class_prompt=own where that is
possible, each in a separate process, on the CPU in bfloat16.
Widths, heads and text lengths match the real models, which have 24 (sd3), 19 + 38 (flux) and 30 (z_image) blocks.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from dataset_diffusion.attention.layers import joint_layers
from dataset_diffusion.settings.generate import AttentionSettings
from scripts.benchmarks.memory import peak_mebibytes

WORDS, CLASSES = 20, 4
"""Tokens of the prompt, and how many of them (the last ones) are class tokens."""
TEXTS = {"sd3": 333, "flux": 512}
"""Text positions, 4096 wide, in the transformers that can run a second text alongside."""


def sd3(torch: Any, grid: int) -> tuple[Any, dict[str, Any], str, int, int]:
    """Stable Diffusion 3.5 medium: two blocks, the first with additional image-only attention."""
    from diffusers import SD3Transformer2DModel

    model = SD3Transformer2DModel(
        sample_size=128, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=64, num_attention_heads=24,
        joint_attention_dim=4096, caption_projection_dim=1536, pooled_projection_dim=2048, pos_embed_max_size=384,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(1, 16, 2 * grid, 2 * grid),
        "encoder_hidden_states": torch.randn(1, TEXTS["sd3"], 4096),
        "pooled_projections": torch.randn(1, 2048),
        "timestep": torch.tensor([500.0]),
    }
    return model, inputs, "transformer_blocks.0.attn", 0, grid * grid


def flux(torch: Any, grid: int) -> tuple[Any, dict[str, Any], str, int, int]:
    """Flux.1: one double block and one single block."""
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    ids = torch.zeros(grid, grid, 3)
    ids[..., 1], ids[..., 2] = torch.arange(grid)[:, None], torch.arange(grid)[None]
    inputs = {
        "hidden_states": torch.randn(1, grid * grid, 64),
        "encoder_hidden_states": torch.randn(1, TEXTS["flux"], 4096),
        "pooled_projections": torch.randn(1, 768),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.tensor([3.5]),
        "txt_ids": torch.zeros(TEXTS["flux"], 3),
        "img_ids": ids.flatten(0, 1),
    }
    return model, inputs, "transformer_blocks.0.attn", 512, 0


def z_image(torch: Any, grid: int) -> tuple[Any, dict[str, Any], str, int, int]:
    """Z-Image: one main layer after one refiner of each kind."""
    from diffusers import ZImageTransformer2DModel

    model = ZImageTransformer2DModel(n_layers=1, n_refiner_layers=1)
    inputs = {
        "x": [torch.randn(16, 1, 2 * grid, 2 * grid)],
        "t": torch.tensor([0.5]),
        "cap_feats": [torch.randn(40, 2560)],
    }
    return model, inputs, "layers.0.attention", 0, -(-grid * grid // 32) * 32


FAMILIES: dict[str, Callable[[Any, int], tuple[Any, dict[str, Any], str, int, int]]] = {
    "sd3": sd3,
    "flux": flux,
    "z_image": z_image,
}


def run(family: str, image_size: int, case: str) -> dict[str, float]:
    """Build the model and call it once; returns the call's seconds and this process's peak memory in GiB."""
    import torch

    from dataset_diffusion.attention.class_stream import ClassStream
    from dataset_diffusion.attention.recorder import AttentionRecorder, JointText

    torch.manual_seed(0)
    grid = image_size // 16
    torch.set_default_dtype(torch.bfloat16)
    model, inputs, name, image_start, text_start = FAMILIES[family](torch, grid)
    words = [text_start + position for position in range(WORDS)]
    layers = joint_layers([name], (grid, grid), AttentionSettings())
    text = JointText(image_start, [words], [words[-CLASSES:]])
    stream = None
    if case == "own":
        stream = ClassStream(torch.randn(1, TEXTS[family], 4096), model.context_embedder, ["transformer_blocks.0"])
    recorder = AttentionRecorder(model, layers, text, stream=stream)
    start = time.perf_counter()
    with torch.no_grad(), nullcontext() if case == "plain" else recorder:
        model(**inputs)
    seconds = time.perf_counter() - start
    if case != "plain":
        (maps,) = recorder.maps()
        rows = maps.self_attention.sum(dim=1)
        assert maps.cross.shape == (CLASSES, grid, grid)
        assert (rows - 1).abs().max() < 1e-3
    return {"seconds": seconds, "gib": peak_mebibytes() / 1024}


def main() -> None:
    """Run this script for each case, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, default="flux", help="default: %(default)s")
    parser.add_argument("--image-size", type=int, default=512, help="side in pixels; default: %(default)s")
    parser.add_argument("--case", choices=("plain", "recording", "own"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(run(arguments.family, arguments.image_size, arguments.case)))
        return
    command = [sys.executable, "-m", "scripts.benchmarks.real_widths", "--family", arguments.family]
    print(f"{arguments.family}, {arguments.image_size} pixels, bfloat16 on the CPU, one recorded block:")
    plain = 0.0
    for case in ("plain", "recording", *(["own"] if arguments.family in TEXTS else [])):
        done = subprocess.run(
            [*command, "--image-size", str(arguments.image_size), "--case", case],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        plain = plain or found["gib"]
        added = 1024 * (found["gib"] - plain)
        print(f"{case:9} {found['seconds']:6.1f} s  {found['gib']:.2f} GiB, {added:+.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
