"""The toy world's table: what each network learns from generated images, from rendered ones, and from both.

    python -m scripts.benchmarks.toy_table --generated datasets/toy --work runs/table --output docs/results/toy_table

Every training has the same budget: the same number of images, iterations and test scenes, at half the toy world's size.
"both" has half of its images from each source; "generated + 10% rendered" has nine in ten from dd-generate. Results are
kept in the work folder as they are made, so a stopped run resumes. After 250 iterations a network still predicts only
background (mIoU 3.5), so a shorter table says nothing. The output also goes to OUTPUT.md and OUTPUT.json.
"""

import argparse
import contextlib
import hashlib
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from dataset_diffusion.dataset.manifest import MANIFEST_FILE
from dataset_diffusion.evaluation.evaluate import measure
from dataset_diffusion.files import encode_json, write_atomically
from dataset_diffusion.images import read_image, read_label_mask
from dataset_diffusion.labelled.faults import read_split
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.metrics import segmentation_metrics
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.segmentation.segmentor import load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.train import TrainSettings
from dataset_diffusion.toy.scenes import TRAINING_SEEDS, VALIDATION_SEEDS
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.reproduction.training_sets import TrainingItem, rendered_items, write_folder

SIDE = 64
CHECKPOINT_INTERVAL = 200
"""Iterations between checkpoints: an interrupted training loses no more than this."""
FIRST_RENDERED = 300_000
"""The first training scene to render; the shipped model was not trained on these scenes."""
MEAN_MASKS = [
    "attention.aggregation=mean",
    "attention.steps=null",
    "mask.threshold=0.55",
    "mask.uncertainty_threshold=0.45",
]
"""The masks of the published tables: the mean over all heads and steps, as in the paper."""
NETWORKS = {
    "DeepLabV3-R18": ["segmentor.base_channels=16", "segmentor.output_stride=8"],
    "SegFormer-b0": [
        "segmentor=mmseg",
        "segmentor.config=segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
        "lr=1e-3",
    ],
    "Mask2Former-R18": [
        "segmentor=mask2former_r50",
        "segmentor.depth=18",
        "segmentor.base_channels=16",
        "segmentor.num_queries=20",
        "segmentor.hidden_dim=64",
        "segmentor.encoder_layers=1",
        "segmentor.decoder_layers=2",
        "segmentor.num_points=512",
        "lr=1e-3",
    ],
}
SOURCES = {"generated": 1.0, "rendered": 0.0, "both": 0.5, "generated + 10% rendered": 0.9}
"""The share of generated images in each."""


@dataclass(frozen=True)
class Budget:
    """The budget of each training."""

    images: int
    iterations: int
    validation: int


@dataclass(frozen=True)
class Row:
    """A training. `generated` and `rendered` are its numbers of images of each kind."""

    table: str
    network: str
    source: str
    generated: int
    rendered: int
    seed: int

    @property
    def name(self) -> str:
        """The row's name, for use in file names."""
        return f"{self.network}_{self.generated}g_{self.rendered}r_seed{self.seed}"


def rows(budget: Budget, seeds: int) -> list[Row]:
    """All trainings: three networks with four sources, then real + synthetic against only real, with several seeds."""
    table = []
    for network in NETWORKS:
        for source, share in SOURCES.items():
            generated = round(share * budget.images)
            table.append(Row("networks", network, source, generated, budget.images - generated, 0))
    few = budget.images // 10
    for seed in range(seeds):
        for source, generated in (
            (f"{few} rendered", 0),
            (f"{few} rendered + {budget.images} generated", budget.images),
        ):
            table.append(Row("few", "DeepLabV3-R18", source, generated, few, seed))
    return table


def main() -> None:
    """Train whatever is missing, then print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, required=True, help="a folder of the toy world that dd-generate made")
    parser.add_argument("--work", type=Path, required=True, help="folder for results and logs")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    parser.add_argument("--images", type=int, default=150, help="images per training (default %(default)s)")
    parser.add_argument("--iterations", type=int, default=1500, help="iterations per training (default %(default)s)")
    parser.add_argument("--validation", type=int, default=150, help="test scenes (default %(default)s)")
    parser.add_argument("--only", choices=["networks", "few"], help="one of the two tables")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the second table (default %(default)s)")
    args = parser.parse_args()
    budget = Budget(args.images, args.iterations, args.validation)
    work = args.work / f"{budget.images}_{budget.iterations}_{budget.validation}_{_digest(args.generated)}"
    work.mkdir(parents=True, exist_ok=True)
    validation = work / "validation"
    if not split_file(validation, "val").exists():
        write_folder(validation, rendered_items(VALIDATION_SEEDS[: budget.validation]), "val", SIDE)
    results = {}
    chosen = [row for row in rows(budget, args.seeds) if args.only in (None, row.table)]
    for row in chosen:
        path = work / f"{row.name}.json"
        if not path.exists():
            write_atomically(path, encode_json(run(row, budget, args.generated, work, validation)))
        results[row] = json.loads(path.read_text())
        print(f"{row.name}: mIoU {100 * results[row]['miou']:.1f}", flush=True)
    text = format_tables(results, budget, args.seeds)
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.output.with_suffix(".md"), text.encode())
        record = [{**vars(row), **figures} for row, figures in results.items()]
        write_atomically(args.output.with_suffix(".json"), encode_json({"budget": vars(budget), "rows": record}))


def _digest(folder: Path) -> str:
    """The folder's digest, so that results of another folder are not taken for this one's."""
    manifest = folder / MANIFEST_FILE
    if not manifest.is_file():
        raise SystemExit(f"--generated={folder}: is not a finished dd-generate folder")
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:8]


def split_file(folder: Path, split: str) -> Path:
    """The file with a split's ids; a completely written folder has it."""
    return folder / "ImageSets" / "Segmentation" / f"{split}.txt"


def run(row: Row, budget: Budget, generated: Path, work: Path, validation: Path) -> dict[str, Any]:
    """Train and test a row's network."""
    folder = work / row.name
    return train_and_test(folder, items(row, generated), training_settings(row, budget, folder), validation)


def train_and_test(
    folder: Path, images: Iterable[TrainingItem], settings: TrainSettings, validation: Path
) -> dict[str, Any]:
    """Train a network; returns its mIoU and pixel accuracy on `validation`. Output goes to a log next to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        folder.with_name(f"{folder.name}.log").open("w") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        write_folder(folder / "dataset", images, "train", SIDE)
        segmentor = load_segmentor(train(settings))
        dataset = VocDataset("toy", validation, "val", load_vocabulary("voc").label_names)
        metrics = segmentation_metrics(measure(segmentor, dataset, range(len(dataset.ids))))
    return {"miou": metrics.miou, "pixel_accuracy": metrics.pixel_accuracy}


def training_settings(row: Row, budget: Budget, folder: Path) -> TrainSettings:
    """The settings of experiment=toy, with a smaller network and fewer iterations: too few for copy-paste."""
    return small_training(NETWORKS[row.network], folder, row.seed, budget.iterations)


def small_training(network: Sequence[str], folder: Path, seed: int, iterations: int) -> TrainSettings:
    """The settings of a training on `folder`/dataset, at half the toy world's size."""
    overrides = [
        *network,
        f"dataset_dir={folder / 'dataset'}",
        f"work_dir={folder / 'run'}",
        f"seed={seed}",
        f"crop_size={SIDE}",
        "copy_paste=0",
        f"iterations={iterations}",
        f"checkpoint_interval={min(iterations, CHECKPOINT_INTERVAL)}",
        "resume=true",
    ]
    with initialize_config_dir(str(configs_dir() / "train"), version_base="1.3"):
        return to_settings(TrainSettings, compose("config", overrides))


def items(row: Row, generated: Path) -> Iterator[TrainingItem]:
    """A row's images: the first ones of dd-generate's folder, and scenes that no other seed has."""
    names, _ = read_split(generated / "ImageSets" / "Segmentation" / "train.txt")
    if len(names) < row.generated:
        raise SystemExit(f"{generated}: has {len(names)} images, but {row.generated} are needed")
    yield from generated_items(generated, names[: row.generated])
    first = FIRST_RENDERED + 1000 * row.seed
    yield from rendered_items(TRAINING_SEEDS[first : first + row.rendered])


def generated_items(folder: Path, names: Sequence[str]) -> Iterator[TrainingItem]:
    """Images from a folder that dd-generate made."""
    num_labels = len(load_vocabulary("voc").label_names)
    for name in names:
        labels = read_label_mask(folder / "SegmentationClass" / f"{name}.png", num_labels)
        yield TrainingItem(name, read_image(folder / "JPEGImages" / f"{name}.jpg"), labels, (0,))


def format_tables(results: dict[Row, dict[str, Any]], budget: Budget, seeds: int) -> str:
    """The tables in Markdown."""

    def percent(network: str, source: str) -> str:
        of_networks = {(row.network, row.source): r["miou"] for row, r in results.items() if row.table == "networks"}
        return f"{100 * of_networks[network, source]:.1f}"

    lines = [
        f"mIoU in percent on {budget.validation} rendered scenes at {SIDE} x {SIDE}. Each training: "
        f"{budget.iterations} iterations of 8, from scratch.",
    ]
    if any(row.table == "networks" for row in results):
        lines += [
            "",
            f"{budget.images} images each, one seed:",
            "",
            markdown_row(["network", *SOURCES]),
            markdown_row(["---", *["---:"] * len(SOURCES)]),
            *(markdown_row([network, *(percent(network, source) for source in SOURCES)]) for network in NETWORKS),
        ]
    few = dict.fromkeys(row.source for row in results if row.table == "few")
    if few:
        lines += [
            "",
            f"Few real images, with and without synthetic ones (DeepLabV3-R18, {seeds} seeds):",
            "",
            markdown_row(["trained on", "mean", "standard deviation", "each seed"]),
            markdown_row(["---", "---:", "---:", "---:"]),
        ]
    for source in few:
        found = [100 * r["miou"] for row, r in results.items() if row.table == "few" and row.source == source]
        spread = statistics.stdev(found) if len(found) > 1 else float("nan")
        each = ", ".join(f"{value:.1f}" for value in found)
        lines.append(markdown_row([source, f"{statistics.mean(found):.1f}", f"{spread:.1f}", each]))
    return "\n".join(lines) + "\n"


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
