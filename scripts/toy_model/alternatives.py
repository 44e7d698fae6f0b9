"""Other architectures for the toy model's UNet: what a training step of each costs, and what a short training gains.

    python -m scripts.toy_model.alternatives
    python -m scripts.toy_model.alternatives --train "attention on the way down" --work-dir runs/down --samples 16000

Training starts from the shipped weights (layers that they lack have no effect at first) and writes a pipeline folder
for `scripts.toy_model.measure_masks model.path=...`. Compare it with a training of "shipped" of the same length, which
sees the same scenes, captions and noise. Runs on the CPU.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from tqdm import trange

from dataset_diffusion.paths import toy_model_dir
from scripts.toy_model.denoiser import Denoiser, DenoiserTraining
from scripts.toy_model.distributed import join_processes, process_rank, wait_for_all
from scripts.toy_model.export import assemble, export
from scripts.toy_model.recipe import IMAGE_SIZE, TEXT_LENGTH, UNET_CONFIG, Recipe, Stage
from scripts.toy_model.scenes import SceneStore

SHIPPED = "shipped"
ALTERNATIVES: Mapping[str, Mapping[str, Any]] = {
    SHIPPED: {},
    "attention on the way down": {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")},
    "attention at 32 x 32": {"up_block_types": ("CrossAttnUpBlock2D",) * 3},
    "autoencoder of factor 8": {
        "sample_size": IMAGE_SIZE // 8,
        "in_channels": 16,
        "out_channels": 16,
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "block_out_channels": UNET_CONFIG["block_out_channels"][1:],
    },
}
"""What each changes in UNET_CONFIG. The one with factor 8 has no 32 x 32 level; its autoencoder does not exist."""
TRAINABLE = tuple(name for name in ALTERNATIVES if name != "autoencoder of factor 8")
WARMUP_STEPS = 50
DECAY_FROM = 0.5
REPEATS = 5
SAVE_EVERY = 20
"""Steps between two saved states: an interrupted training loses no more than this."""


def main() -> None:
    """Time all alternatives, or train one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", choices=TRAINABLE, help="train this one instead of timing all")
    parser.add_argument("--work-dir", type=Path, help="work folder of the training; use a different one for each")
    parser.add_argument(
        "--samples", type=int, default=16_000, help="samples that the training sees (default %(default)s)"
    )
    parser.add_argument(
        "--scenes", type=int, default=8_000, help="scenes that the samples are drawn from (default %(default)s)"
    )
    args = parser.parse_args()
    if args.train:
        if not args.work_dir:
            parser.error("--train needs a --work-dir")
        train(args.train, args.work_dir, args.samples, args.scenes)
    else:
        print_costs()


def print_costs() -> None:
    """Print how many parameters each has, and the CPU time of its steps as a ratio to the shipped one's."""
    unets = {name: new_unet(changes) for name, changes in ALTERNATIVES.items()}
    rounds = [[step_seconds(unet) for unet in unets.values()] for _ in trange(REPEATS, unit="round")]
    # The minimum over rounds, each of which times all in turn: other work on the machine only adds time.
    seconds = dict(zip(unets, np.array(rounds).min(axis=0), strict=True))
    print("| UNet | parameters | time of a training step | of a sampler's step |\n|---|---|---|---|")
    for name, unet in unets.items():
        training, sampling = seconds[name] / seconds[SHIPPED]
        print(f"| {name} | {unet.num_parameters() / 1e6:.1f} M | {training:.2f} | {sampling:.2f} |", flush=True)


def new_unet(changes: Mapping[str, Any]) -> UNet2DConditionModel:
    """A UNet with random weights and the attention that is fastest to train on a CPU."""
    unet = UNet2DConditionModel(**{**UNET_CONFIG, **changes})
    unet.set_attn_processor(AttnProcessor())
    return unet


def step_seconds(unet: UNet2DConditionModel) -> tuple[float, float]:
    """The CPU seconds of a training step, and of a call with eight images."""
    batch, config = Recipe().batch_size, unet.config
    noisy = torch.randn(batch, config.in_channels, config.sample_size, config.sample_size)
    times, states = torch.full((batch,), 500), torch.randn(batch, TEXT_LENGTH, config.cross_attention_dim)
    start = time.process_time()
    unet(noisy, times, states).sample.square().mean().backward()
    between = time.process_time()
    with torch.no_grad():
        unet(noisy[:8], times[:8], states[:8])
    return between - start, time.process_time() - between


def train(name: str, work_dir: Path, num_samples: int, num_scenes: int) -> None:
    """Train an alternative, starting from the shipped weights; after an interruption, the same call resumes."""
    join_processes()
    work_dir.mkdir(parents=True, exist_ok=True)
    recipe = replace(Recipe(), warmup_steps=WARMUP_STEPS)
    pipe = StableDiffusionPipeline.from_pretrained(toy_model_dir(), safety_checker=None, dtype=torch.float32)
    scenes = SceneStore(work_dir, num_scenes)
    if process_rank() == 0:
        scenes.latents(IMAGE_SIZE, pipe.vae)
    wait_for_all()
    denoiser = Denoiser(with_more_attention(pipe.unet, ALTERNATIVES[name]), pipe.text_encoder, pipe.tokenizer)
    training = DenoiserTraining(denoiser, recipe, work_dir / "state.pt", torch.device("cpu"))
    stage = Stage(IMAGE_SIZE, num_samples, DECAY_FROM)

    def save_now_and_then() -> None:
        if process_rank() == 0 and training.num_samples // training.samples_per_step % SAVE_EVERY == 0:
            training.save()

    training.run(stage, 0, scenes.latents(IMAGE_SIZE, pipe.vae), scenes.descriptions(), save_now_and_then)
    if process_rank() == 0:
        export(assemble(training.averaged(), pipe.vae), work_dir / "model")


def with_more_attention(unet: UNet2DConditionModel, changes: Mapping[str, Any]) -> UNet2DConditionModel:
    """A UNet with a changed configuration that predicts what `unet` does: new layers add nothing at first.

    Raises RuntimeError if the change is anything but additional attention layers.
    """
    torch.manual_seed(0)
    changed = UNet2DConditionModel.from_config({**unet.config, **changes})
    missing, unexpected = changed.load_state_dict(unet.state_dict(), strict=False)
    if unexpected or not all(".attentions." in key for key in missing):
        raise RuntimeError(f"the weights do not fit: {unexpected or missing}")
    for key in missing:
        if ".proj_out." in key:
            nn.init.zeros_(changed.get_parameter(key))
    return changed


if __name__ == "__main__":
    main()
