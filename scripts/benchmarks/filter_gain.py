"""What dd-filter gains on the toy world: segmentors trained on all images of a folder, the best half, a random half.

    python -m scripts.benchmarks.filter_gain --work runs/filter --output docs/results/filter_gain

Each seed has a folder made by dd-generate, a random half of it, and one training per split, all with the same number of
iterations. Finished results are kept in the work folder, so a stopped run resumes. The table also goes to OUTPUT.md and
OUTPUT.json.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from dataset_diffusion.dataset.filter import filter_split
from dataset_diffusion.files import encode_json, write_atomically
from dataset_diffusion.generate import generate
from dataset_diffusion.labelled.faults import read_split
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.filter import FilterSettings
from dataset_diffusion.settings.generate import GenerateSettings
from dataset_diffusion.toy.scenes import VALIDATION_SEEDS
from scripts.benchmarks.toy_table import (
    MEAN_MASKS,
    NETWORKS,
    SIDE,
    generated_items,
    markdown_row,
    small_training,
    split_file,
    train_and_test,
)
from scripts.reproduction.statistics import interval, paired_difference
from scripts.reproduction.training_sets import rendered_items, write_folder

NETWORK = "DeepLabV3-R18"
ALL, BEST, RANDOM = "train", "best", "random"
TITLES = {ALL: "all", BEST: "the best, `best_share=0.5`", RANDOM: "equally many, at random"}
"""The splits' names in the table."""


@dataclass(frozen=True)
class Study:
    """The study's work folder and its size."""

    work: Path
    num_images: int
    iterations: int
    num_validation: int

    @property
    def validation(self) -> Path:
        """The folder of test scenes."""
        return self.work / "validation"


def main() -> None:
    """Generate, filter, train and test whatever is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets, results and logs")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    parser.add_argument("--seeds", type=int, default=6, help="number of folders (default %(default)s)")
    parser.add_argument("--images", type=int, default=100, help="images per folder (default %(default)s)")
    parser.add_argument("--iterations", type=int, default=800, help="iterations per training (default %(default)s)")
    parser.add_argument("--validation", type=int, default=150, help="test scenes (default %(default)s)")
    args = parser.parse_args()
    work = args.work / f"{args.images}_{args.iterations}_{args.validation}"
    study = Study(work, args.images, args.iterations, args.validation)
    work.mkdir(parents=True, exist_ok=True)
    if not split_file(study.validation, "val").exists():
        write_folder(study.validation, rendered_items(VALIDATION_SEEDS[: study.num_validation]), "val", SIDE)
    results = [result for seed in range(args.seeds) for result in seed_results(study, seed)]
    text = format_table(study, results)
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.output.with_suffix(".md"), text.encode())
        write_atomically(args.output.with_suffix(".json"), encode_json(results))


def seed_results(study: Study, seed: int) -> Iterator[dict[str, Any]]:
    """The figures of each split of a seed's folder: `split`, `seed`, `images`, `miou`."""
    folder = make_folder(study, seed)
    for split in TITLES:
        training = study.work / f"{split}_seed{seed}"
        path = training.with_suffix(".json")
        if not path.exists():
            names = sample_ids(folder, split, seed)
            settings = small_training(NETWORKS[NETWORK], training, seed, study.iterations)
            figures = train_and_test(training, generated_items(folder, names), settings, study.validation)
            write_atomically(path, encode_json({"split": split, "seed": seed, "images": len(names), **figures}))
        result = json.loads(path.read_text())
        print(f"seed {seed}  {split:10}  {result['images']:4} images  mIoU {100 * result['miou']:.1f}", flush=True)
        yield result


def make_folder(study: Study, seed: int) -> Path:
    """The seed's folder, generated and filtered."""
    folder = study.work / f"generated_seed{seed}"
    overrides = [f"output_dir={folder}", f"num_images={study.num_images}", f"seed={seed}", *MEAN_MASKS]
    with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
        generate(to_settings(GenerateSettings, compose("config", overrides)))
    if not split_path(folder, BEST).exists():
        filter_split(FilterSettings(str(folder), output=BEST, best_share=0.5))
    return folder


def sample_ids(folder: Path, split: str, seed: int) -> list[str]:
    """The ids in a split; the random split is drawn with the seed."""
    if split != RANDOM:
        return read_split(split_path(folder, split))[0]
    count = len(sample_ids(folder, BEST, seed))
    return sorted(random.Random(seed).sample(sample_ids(folder, ALL, seed), count))


def split_path(folder: Path, split: str) -> Path:
    """The file with a split's ids."""
    return folder / "ImageSets" / "Segmentation" / f"{split}.txt"


def format_table(study: Study, results: list[dict[str, Any]]) -> str:
    """The table in Markdown."""

    def values(split: str) -> list[float]:
        return [100 * result["miou"] for result in results if result["split"] == split]

    def gain(split: str, other: str) -> str:
        difference = paired_difference(values(split), values(other))
        return f"{difference.mean:+.1f} ± {difference.half_width:.1f}"

    lines = [
        f"{len(values(ALL))} folders of {study.num_images} images, each with its own seed; {NETWORK}, "
        f"{study.iterations} iterations of 8 from scratch at {SIDE} x {SIDE}; mIoU in percent on "
        f"{study.num_validation} rendered scenes; 95% intervals.",
        "",
        markdown_row(["trained on", "images", "mIoU", "more than all", "more than at random"]),
        markdown_row(["---", "---:", "---:", "---:", "---:"]),
    ]
    for split, title in TITLES.items():
        images = [result["images"] for result in results if result["split"] == split]
        gains = [gain(split, other) if split == BEST or other == ALL != split else "" for other in (ALL, RANDOM)]
        lines.append(
            markdown_row([title, f"{sum(images) / len(images):.0f}", f"{interval(values(split)).mean:.1f}", *gains])
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
