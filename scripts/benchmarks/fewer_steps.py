"""What fewer sampling steps cost on the toy world: images, masks, and a segmentor trained on them.

    python -m scripts.benchmarks.fewer_steps --work runs/steps --output docs/results/fewer_steps

For each scheduler and number of steps, it measures the share of the requested classes that are in the images and the
mIoU of the masks against labels, both according to a judge (a segmentor trained on rendered scenes); the mIoU of masks
of rendered scenes, whose exact masks are known, from attention at the sampler's time steps; and the mIoU of segmentors
trained on the images. Differences to the first case are paired by prompt and seed, or by scene, with 95% bootstrap
intervals; those of segmentors are paired by seed, with the variance of all trainings. An interval around 0 means that
this many images show no loss.
Results are kept in the work folder as they are made, so a stopped run resumes. The output also goes to OUTPUT.md and
OUTPUT.json.
"""

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from dataset_diffusion.calibration.quality import score
from dataset_diffusion.dataset.manifest import Manifest
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import encode_json, write_atomically
from dataset_diffusion.generate import generate
from dataset_diffusion.generators.loading import load_pipeline, model_fingerprint, silence_libraries
from dataset_diffusion.images import read_image, read_label_mask
from dataset_diffusion.masks import label_mask
from dataset_diffusion.metrics import confusion_matrix, segmentation_metrics
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.segmentation.segmentor import Segmentor, load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import GenerateSettings, ModelSettings, SamplerSettings
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS
from dataset_diffusion.types import IGNORE_INDEX
from scripts.benchmarks.toy_table import (
    MEAN_MASKS,
    SIDE,
    Budget,
    generated_items,
    markdown_row,
    small_training,
    split_file,
    train_and_test,
)
from scripts.reproduction.judge import likeliest
from scripts.reproduction.segmentor import SMALL_SEGMENTOR
from scripts.reproduction.statistics import CommonVariance
from scripts.reproduction.training_sets import rendered_items, write_folder
from scripts.toy_model.measure_presence import LEAST_SHARE
from scripts.toy_model.quality import NUM_LABELS, record_scenes

CASES = "dpmsolver++:100,50,20,15,10,8,4 unipc:20,10 ddim:20,10"
"""The others are compared with the first; dpmsolver++ is the scheduler of `experiment=toy`."""
JUDGE_SCENES = TRAINING_SEEDS[700_000:]
"""Neither the shipped model nor any other segmentor was trained on these."""
RESAMPLES = 1000
Confusions = np.ndarray
"""[images, C, C]: a confusion matrix for each image."""


@dataclass(frozen=True)
class Case:
    """A scheduler and its number of sampling steps."""

    scheduler: str
    steps: int

    @property
    def name(self) -> str:
        """The case's name, for use in file names."""
        return f"{self.scheduler.replace('+', 'p')}_{self.steps}"


@dataclass(frozen=True)
class Sizes:
    """How much to measure."""

    images: int
    scenes: int
    judge_scenes: int
    judge_iterations: int
    training: Budget


def parse_cases(text: str) -> list[Case]:
    """ "ddim:20,10 unipc:4" as three cases."""
    try:
        groups = [group.split(":") for group in text.split()]
        return [Case(scheduler, int(steps)) for scheduler, numbers in groups for steps in numbers.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 'ddim:20,10 unipc:4'") from error


def main() -> None:
    """Run the command; bad input ends it with one line."""
    try:
        compare(parse_arguments())
    except InputError as error:
        print(f"python -m scripts.benchmarks.fewer_steps: error: {error}", file=sys.stderr)
        sys.exit(2)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="toy", help="the toy model's folder (default: the shipped one)")
    parser.add_argument("--work", type=Path, required=True, help="folder for images, trainings and results")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    parser.add_argument("--cases", type=parse_cases, default=CASES, help="schedulers and steps (default %(default)r)")
    parser.add_argument("--images", type=int, default=48, help="images per case (default %(default)s)")
    parser.add_argument("--scenes", type=int, default=40, help="rendered scenes for exact masks (default %(default)s)")
    parser.add_argument(
        "--judge-scenes", type=int, default=2000, help="training scenes of the judge (default %(default)s)"
    )
    parser.add_argument(
        "--judge-iterations",
        type=int,
        default=1500,
        help="training iterations of the judge; 0: no judge (default %(default)s)",
    )
    parser.add_argument("--iterations", type=int, default=500, help="iterations per segmentor (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="segmentors per case; 0: none (default %(default)s)")
    parser.add_argument(
        "--validation", type=int, default=150, help="test scenes of the segmentors (default %(default)s)"
    )
    return parser.parse_args()


def compare(args: argparse.Namespace) -> None:
    """Measure whatever is missing, then print the table."""
    budget = Budget(args.images, args.iterations, args.validation)
    sizes = Sizes(args.images, args.scenes, args.judge_scenes, args.judge_iterations, budget)
    args.work.mkdir(parents=True, exist_ok=True)
    silence_libraries()
    study = Study(args.model, args.work, sizes)
    study.prepare(args.cases)
    rows = [study.measure(case) for case in args.cases]
    for seed in range(args.seeds):
        for row, case in zip(rows, args.cases, strict=True):
            row.setdefault("segmentors", []).append(study.train_segmentor(case, seed))
    add_segmentor_figures(rows)
    judge = study.judge_quality() if sizes.judge_iterations else None
    text = format_table(rows, judge, sizes)
    print(text)
    if args.output:
        write_atomically(args.output.with_suffix(".md"), text.encode())
        content = {"model": args.model, "judge_miou": judge, "sizes": {**vars(sizes), "training": vars(budget)}}
        write_atomically(args.output.with_suffix(".json"), encode_json({**content, "rows": rows}))


class Study:
    """The measurements of one work folder, each made once."""

    def __init__(self, model: str, work: Path, sizes: Sizes) -> None:
        self._model, self._sizes = model, sizes
        self._shared = work
        """Shared by all models: the judge and the test scenes."""
        self._work = work / self._weights()
        self._loaded: Segmentor | None = None
        self._first: dict[str, np.ndarray] = {}

    def prepare(self, cases: Sequence[Case]) -> None:
        """Make everything that needs the model: first the attention on rendered scenes, which takes least time."""
        for case in cases:
            self._exact(case)
        for case in cases:
            self._images(case)

    def measure(self, case: Case) -> dict[str, Any]:
        """A case's figures, with its differences to the first case that was measured."""
        parts = {"exact": self._exact(case), **(self._judged(case) if self._sizes.judge_iterations else {})}
        self._first = self._first or parts
        figures: dict[str, Any] = {"scheduler": case.scheduler, "steps": case.steps}
        for name in parts:
            statistic = STATISTICS[name]
            figures[name] = statistic(parts[name])
            figures[f"{name}_difference"] = difference_interval(parts[name], self._first[name], statistic)
        print(f"{case.name}: " + ", ".join(f"{name} {100 * figures[name]:.1f}" for name in parts), flush=True)
        return figures

    def train_segmentor(self, case: Case, seed: int) -> float:
        """The mIoU, on rendered scenes, of a small segmentor trained on a case's images."""
        validation = self._shared / f"validation_{self._sizes.training.validation}"
        self._write_scenes(validation, VALIDATION_SEEDS[: self._sizes.training.validation], "val")
        budget = self._sizes.training
        path = (
            self._work
            / f"segmentor_{case.name}_{budget.images}_{budget.iterations}_{budget.validation}_seed{seed}.json"
        )
        if not path.exists():
            work = self._work / path.stem
            folder = self._images(case)
            images = generated_items(folder, [record.id for record in Manifest(folder).stream()])
            settings = small_training(SMALL_SEGMENTOR, work, seed, budget.iterations)
            write_atomically(path, encode_json(train_and_test(work, images, settings, validation)))
        miou: float = json.loads(path.read_text())["miou"]
        print(f"{case.name}: segmentor of seed {seed}: mIoU {100 * miou:.1f}", flush=True)
        return miou

    def judge_quality(self) -> float:
        """The judge's mIoU on rendered scenes that it was not trained on, given the classes in them."""
        path = self._shared / f"{self._judge_name}_{self._sizes.training.validation}_miou.json"
        if not path.exists():
            confusions = np.zeros((NUM_LABELS, NUM_LABELS), np.int64)
            for item in rendered_items(VALIDATION_SEEDS[: self._sizes.training.validation]):
                asked = sorted(set(np.unique(item.labels).tolist()) - {0, IGNORE_INDEX})
                confusions += confusion_matrix(item.labels, self._look(item.image, asked)[1], NUM_LABELS)
            write_atomically(path, encode_json(segmentation_metrics(confusions).miou))
        quality: float = json.loads(path.read_text())
        return quality

    def _weights(self) -> str:
        """The first characters of the digest of the model's weights."""
        model = ModelSettings(self._model)
        return model_fingerprint(load_pipeline(model, SamplerSettings()), model)["revision"].removeprefix("sha256:")[
            :12
        ]

    def _settings(self, case: Case) -> GenerateSettings:
        overrides = [
            f"output_dir={self._work / 'images' / case.name}",
            f"model.path={self._model}",
            f"num_images={self._sizes.images}",
            *MEAN_MASKS,
            f"sampler.scheduler={case.scheduler}",
            f"sampler.num_inference_steps={case.steps}",
        ]
        with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
            return to_settings(GenerateSettings, compose("config", overrides))

    def _images(self, case: Case) -> Path:
        settings = self._settings(case)
        generate(settings)
        return Path(settings.output_dir)

    def _judged(self, case: Case) -> dict[str, np.ndarray]:
        """The judge's view of a case's images: their masks' confusions, and how many requested classes are present."""
        path = self._work / f"{self._judge_name}_{case.name}_{self._sizes.images}.npz"
        if not path.exists():
            folder = self._images(case)
            presence, masks = [], []
            for record in Manifest(folder).stream():
                asked = sorted(entry.label for entry in record.classes)
                present, labels = self._look(read_image(folder / "JPEGImages" / f"{record.id}.jpg"), asked)
                mask = read_label_mask(folder / "SegmentationClass" / f"{record.id}.png", NUM_LABELS)
                kept = mask != IGNORE_INDEX
                presence.append((len(asked), len(present & set(asked)), len(present - set(asked))))
                masks.append(confusion_matrix(labels[kept], mask[kept], NUM_LABELS))
            write_arrays(path, presence=np.array(presence), masks=np.array(masks))
        with np.load(path) as found:
            return dict(found)

    def _exact(self, case: Case) -> Confusions:
        """The confusions of masks of rendered scenes whose latents are noised to a case's time steps."""
        path = self._work / f"exact_{case.name}_{self._sizes.scenes}.npz"
        if not path.exists():
            settings = self._settings(case)
            pipe = load_pipeline(settings.model, settings.sampler)
            recorded = record_scenes(pipe, HELD_OUT_SEEDS[: self._sizes.scenes], case.steps, settings.attention)
            confusions = []
            for exact_labels, scores in score(recorded, settings.attention.power):
                labels = label_mask(scores, settings.mask.threshold, settings.mask.uncertainty_threshold).labels
                kept = labels != IGNORE_INDEX
                confusions.append(confusion_matrix(exact_labels[kept], labels[kept], NUM_LABELS))
            write_arrays(path, exact=np.array(confusions))
        with np.load(path) as found:
            exact: Confusions = found["exact"]
            return exact

    def _look(self, image: np.ndarray, asked: Sequence[int]) -> tuple[set[int], np.ndarray]:
        """The classes that the judge sees, and the most likely of background and `asked` at each pixel."""
        probabilities = self._judge.predict_probabilities(image).numpy()
        shares = np.bincount(probabilities.argmax(axis=0).ravel(), minlength=NUM_LABELS) / image[..., 0].size
        present = {int(label) for label in np.flatnonzero(shares >= LEAST_SHARE) if label}
        return present, likeliest(probabilities, asked)

    @property
    def _judge_name(self) -> str:
        return f"judge_{self._sizes.judge_scenes}_{self._sizes.judge_iterations}"

    @property
    def _judge(self) -> Segmentor:
        if self._loaded is None:
            folder = self._shared / self._judge_name
            self._write_scenes(folder / "dataset", JUDGE_SCENES[: self._sizes.judge_scenes], "train")
            settings = small_training(SMALL_SEGMENTOR, folder, 0, self._sizes.judge_iterations)
            with (
                (folder / "log.txt").open("a") as log,
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
            ):
                exported = train(settings)
            # It was trained at this size.
            self._loaded = load_segmentor(exported, test_scale=f"{SIDE}x{SIDE}")
        return self._loaded

    def _write_scenes(self, folder: Path, seeds: Sequence[int], split: str) -> None:
        if not split_file(folder, split).exists():
            write_folder(folder, rendered_items(seeds), split, SIDE)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write one .npz atomically, because an existing file is not measured again."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())


def miou(confusions: Confusions) -> float:
    """The mIoU over all images together."""
    return segmentation_metrics(confusions.sum(axis=0)).miou


def present_share(presence: np.ndarray) -> float:
    """The share of the requested classes that are present.

    `presence` [images, 3]: how many classes were requested, how many of these are present, and how many others.
    """
    return float(presence[:, 1].sum() / presence[:, 0].sum())


def add_segmentor_figures(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row its segmentors' mean and the 95% interval of the difference from the first row's mean."""
    if not all(row.get("segmentors") for row in rows):
        return
    variance = CommonVariance.of([row["segmentors"] for row in rows])
    for row in rows:
        row["segmentor"] = float(np.mean(row["segmentors"]))
        points = variance.difference(row["segmentors"], rows[0]["segmentors"])
        row["segmentor_difference"] = (points.mean - points.half_width, points.mean + points.half_width)


STATISTICS = {"presence": present_share, "masks": miou, "exact": miou}


def difference_interval(own: np.ndarray, first: np.ndarray, statistic: Any) -> tuple[float, float]:
    """The 95% bootstrap interval of statistic(own) - statistic(first), with images drawn in pairs."""
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(own), size=len(own)) for _ in range(RESAMPLES))
    differences = [statistic(own[chosen]) - statistic(first[chosen]) for chosen in drawn]
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def format_table(rows: Sequence[dict[str, Any]], judge: float | None, sizes: Sizes) -> str:
    """The table in Markdown."""
    seeds = len(rows[0].get("segmentors", []))
    heads = ["scheduler", "steps", "requested classes present", "masks, judged", "masks, exact", "segmentor"]
    lines = [
        f"Percent; in brackets the 95% interval of the difference from the first row. {sizes.images} images and "
        f"{sizes.scenes} rendered scenes. "
        + ("" if judge is None else f"The judge's own mIoU on rendered scenes: {100 * judge:.1f}. ")
        + (
            f"Segmentors: {seeds} of {sizes.training.iterations} iterations per row, at {SIDE} x {SIDE}."
            if seeds
            else ""
        ),
        "",
        markdown_row(heads),
        markdown_row(["---", *["---:"] * (len(heads) - 1)]),
    ]
    for number, row in enumerate(rows):
        cells = [f"`{row['scheduler']}`", str(row["steps"])]
        for name in (*STATISTICS, "segmentor"):
            if name not in row:
                cells.append("-")
                continue
            low, high = row[f"{name}_difference"]
            is_known = number and not np.isnan(low)  # with one seed each there is no interval
            cells.append(f"{100 * row[name]:.1f}" + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if is_known else ""))
        lines.append(markdown_row(cells))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
