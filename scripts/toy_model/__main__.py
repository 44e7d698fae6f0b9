"""Train the toy world's Stable Diffusion from scratch: tokenizer, autoencoder, then text encoder and UNet.

    python -m scripts.toy_model --work-dir runs/toy_model
    OMP_NUM_THREADS=1 torchrun --nproc-per-node=2 -m scripts.toy_model      on two cores, or two GPUs

One command, on a CPU or a GPU. Started again, it resumes where it stopped (SIGTERM saves the state first). At regular
intervals it saves its state, prints how much the model reads its prompts and how good the masks from its attention are,
adds these figures to curve.jsonl, and writes samples.png and the pipeline folder model/ from the weights so far.

To end a run whose learning rate is still high, stop after N samples and resume with --samples 1.25N --decay-from 0.8.
"""

import argparse
import json
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from tqdm import tqdm
from transformers import CLIPTokenizer

from dataset_diffusion.calibration.quality import mask_quality, score
from dataset_diffusion.generators.loading import silence_libraries
from dataset_diffusion.settings.generate import AttentionSettings, MaskSettings
from dataset_diffusion.toy.captions import write_caption
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, VOC_WORDS
from scripts.toy_model.autoencoder import train_autoencoder
from scripts.toy_model.denoiser import Denoiser, DenoiserTraining, new_denoiser
from scripts.toy_model.distributed import any_process, join_processes, process_rank, wait_for_all
from scripts.toy_model.export import assemble, export
from scripts.toy_model.memory import keep_freed_memory
from scripts.toy_model.quality import NUM_LABELS, CaptionLosses, caption_losses, record_scenes
from scripts.toy_model.recipe import IMAGE_SIZE, Recipe
from scripts.toy_model.scenes import SceneStore
from scripts.toy_model.tokenizer import train_tokenizer

FIGURE_SEEDS = HELD_OUT_SEEDS[:40]
NUM_STEPS = 20
GUIDANCE_SCALE = 4.0
POWERS = (0, 1)
THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55)


def main() -> None:
    """Train stage by stage, report at intervals, and export."""
    args = parse_arguments()
    silence_libraries()
    keep_freed_memory()
    join_processes()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda", process_rank()) if torch.cuda.is_available() else torch.device("cpu")
    recipe = make_recipe(args)
    scenes = SceneStore(args.work_dir, recipe.num_scenes)
    if process_rank() == 0:
        prepare(args, recipe, scenes, device)
    wait_for_all()
    vae, denoiser = start_networks(args, recipe, device)
    training = DenoiserTraining(denoiser, recipe, args.work_dir / "state.pt", device)
    reporter = Reporter(training, vae, args.work_dir, args.report_minutes)
    start = 0
    for stage in recipe.stages:
        if training.num_samples < start + stage.num_samples:
            latents = scenes.latents(stage.image_size, vae)
            training.run(stage, start, latents, scenes.descriptions(), pause=reporter.report_when_due)
        start += stage.num_samples
    reporter.report()


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    recipe = Recipe()
    parser = argparse.ArgumentParser(
        prog="python -m scripts.toy_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work-dir", type=Path, default=Path("runs/toy_model"), help="folder for everything that is made"
    )
    parser.add_argument("--init-from", type=Path, help="a pipeline folder of this architecture to start from")
    parser.add_argument("--scenes", type=int, default=recipe.num_scenes, help="rendered scenes (default %(default)s)")
    parser.add_argument(
        "--samples",
        type=int,
        nargs="+",
        metavar="N",
        default=[stage.num_samples for stage in recipe.stages],
        help="samples to see at 64 px and at 128 px; one number: at 128 px only (default %(default)s)",
    )
    parser.add_argument(
        "--decay-from",
        type=float,
        default=recipe.stages[-1].decay_from,
        metavar="SHARE",
        help="the learning rate falls after this share of the last stage; 1: never (default %(default)s)",
    )
    parser.add_argument(
        "--report-minutes", type=float, default=15, help="minutes between reports (default %(default)s)"
    )
    return parser.parse_args()


def make_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe with the changes from the command line."""
    recipe = Recipe()
    stages = recipe.stages[-len(args.samples) :]
    stages = tuple(replace(stage, num_samples=count) for stage, count in zip(stages, args.samples, strict=True))
    last = replace(stages[-1], decay_from=args.decay_from)
    return replace(recipe, num_scenes=args.scenes, stages=(*stages[:-1], last))


def prepare(args: argparse.Namespace, recipe: Recipe, scenes: SceneStore, device: torch.device) -> None:
    """Make everything that is made once: the scenes, the tokenizer, the autoencoder, and the scenes' latents."""
    tokenizer_dir, vae_dir = args.work_dir / "tokenizer", args.work_dir / "autoencoder"
    if not tokenizer_dir.exists() and not args.init_from:
        rng = random.Random(recipe.seed)
        captions = (write_caption(*description, rng, "appended") for description in scenes.descriptions())
        train_tokenizer(captions).save_pretrained(tokenizer_dir)
    if not vae_dir.exists() and not args.init_from:
        train_autoencoder(scenes.images(), recipe, device).save_pretrained(vae_dir)
    vae, _ = start_networks(args, recipe, device)
    for stage in recipe.stages:
        scenes.latents(stage.image_size, vae)


def start_networks(args: argparse.Namespace, recipe: Recipe, device: torch.device) -> tuple[AutoencoderKL, Denoiser]:
    """The trained autoencoder, and the networks to train."""
    if args.init_from:
        pipe = StableDiffusionPipeline.from_pretrained(args.init_from, safety_checker=None, dtype=torch.float32)
        denoiser = new_denoiser(pipe.tokenizer, recipe.seed)
        denoiser.unet.load_state_dict(pipe.unet.state_dict())
        denoiser.text_encoder.load_state_dict(pipe.text_encoder.state_dict())
        return pipe.vae.to(device).eval(), denoiser
    tokenizer = CLIPTokenizer.from_pretrained(args.work_dir / "tokenizer")
    vae = AutoencoderKL.from_pretrained(args.work_dir / "autoencoder").to(device).eval()
    return vae, new_denoiser(tokenizer, recipe.seed)


@dataclass(frozen=True)
class Figures:
    """How good the averaged weights are after `num_samples` samples."""

    num_samples: int
    losses: CaptionLosses
    miou: dict[int, dict[float, float]]
    """mIoU of the masks, by power and threshold, without an ignored band."""

    def __str__(self) -> str:
        lines = [f"{self.num_samples} samples, {self.losses}"]
        for power, by_threshold in self.miou.items():
            mious = ", ".join(f"{miou:.3f} at {threshold}" for threshold, miou in by_threshold.items())
            lines.append(f"  masks, power {power}: mIoU {mious}")
        return "\n".join(lines)


def mask_figures(pipe: StableDiffusionPipeline) -> dict[int, dict[float, float]]:
    """The mIoU of attention masks on a few held-out scenes, by power and threshold."""
    recorded = list(record_scenes(pipe, FIGURE_SEEDS, NUM_STEPS, AttentionSettings()))
    masks = [MaskSettings(threshold, threshold) for threshold in THRESHOLDS]
    qualities = {power: mask_quality(score(recorded, power), masks, NUM_LABELS) for power in POWERS}
    return {
        power: {threshold: quality.metrics.miou for threshold, quality in zip(THRESHOLDS, row, strict=True)}
        for power, row in qualities.items()
    }


@dataclass
class Reporter:
    """Saves the training state, measures its quality and reports its progress."""

    training: DenoiserTraining
    vae: AutoencoderKL
    folder: Path
    minutes: float

    def __post_init__(self) -> None:
        self._due = time.monotonic() + 60 * self.minutes
        self._stop = False
        signal.signal(signal.SIGTERM, self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        self._stop = True

    def report_when_due(self) -> None:
        """Report if the last report was `minutes` ago; if asked to stop, save and exit."""
        if any_process(self._stop):  # all stop in the same step, so that none is left waiting for the others' gradients
            if process_rank() == 0:
                self.training.save()
            sys.exit(0)
        if time.monotonic() >= self._due:
            self.report()
            self._due = time.monotonic() + 60 * self.minutes

    def report(self) -> None:
        """Save the state and the model, print the figures, draw the samples."""
        if process_rank() > 0:  # the others wait at their next gradient
            return
        self.training.save()
        pipe = assemble(self.training.averaged(), self.vae)
        figures = Figures(self.training.num_samples, caption_losses(pipe, FIGURE_SEEDS), mask_figures(pipe))
        tqdm.write(str(figures))
        with (self.folder / "curve.jsonl").open("a") as file:
            file.write(json.dumps(asdict(figures)) + "\n")
        draw_samples(pipe).save(self.folder / "samples.png")
        export(pipe, self.folder / "model")


def draw_samples(pipe: StableDiffusionPipeline, columns: int = 10) -> Image.Image:
    """A sheet with one image per class, always from the same noise."""
    images = []
    for start in range(0, len(VOC_WORDS), columns):
        words = VOC_WORDS[start : start + columns]
        images += pipe(
            [f"a photo of a {word}; {word}" for word in words],
            num_inference_steps=NUM_STEPS,
            guidance_scale=GUIDANCE_SCALE,
            generator=[torch.Generator().manual_seed(start + i) for i in range(len(words))],
            output_type="np",
        ).images.tolist()
    rows = np.round(255 * np.array(images)).astype(np.uint8).reshape(-1, columns, IMAGE_SIZE, IMAGE_SIZE, 3)
    return Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))


if __name__ == "__main__":
    main()
