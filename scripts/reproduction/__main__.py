"""The paper in miniature: its claims and ablations, measured on the toy world.

    python -m scripts.reproduction                 everything, overnight on two cores
    python -m scripts.reproduction --main          masks of all rows, segmentors of the main ones: about an hour
    python -m scripts.reproduction --only power    one table
    python -m scripts.reproduction --quick         only masks, on few scenes; exits with 1 if a main claim fails

There are three metrics. Masks: rendered scenes are noised to the sampler's time steps and passed through the model;
masks from the recorded attention are compared with the exact ones. Judged: masks of generated images are compared with
the labels of a segmentor trained on rendered scenes. Segmentor: one is trained on generated images and their masks, and
tested on rendered scenes. Attention is recorded once, and the masks of all variants are made from it. Started again, it
resumes where it stopped. It writes reproduction.json, reproduction.md and plots: to docs/results/ if everything was
measured with the shipped model, otherwise to the work folder.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from hydra import compose, initialize_config_dir

from dataset_diffusion.attention.layers import find_attention_layers
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import explaining_write_errors
from dataset_diffusion.generators.loading import model_fingerprint
from dataset_diffusion.generators.unet import latent_size
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import GenerateSettings
from scripts.reproduction.archive import ARCHIVED_TEXTS, COARSE, FINE
from scripts.reproduction.findings import Finding, findings
from scripts.reproduction.images import load_model
from scripts.reproduction.plots import plot_claims, plot_experiments, plot_numbers, plot_power
from scripts.reproduction.scale import FULL, QUICK
from scripts.reproduction.study import Study
from scripts.reproduction.tables import (
    claims_line,
    claims_table,
    class_words_line,
    experiment_table,
    judge_line,
    new_ideas_table,
    power_table,
)
from scripts.reproduction.variants import EXPERIMENTS, MAIN_ROWS, experiment
from scripts.reproduction.workers import default_at_once

ROOT = Path(__file__).parents[2]
SHIPPED_MODEL = "toy"
MAIN_TABLES = ("power", "band")
"""The tables that --quick measures, only by masks; it measures by the loss what class words tell the model."""
MAIN_CLAIMS = ("power 0", "no band")
"""The worse rows of the claims that --quick checks."""


def main() -> None:
    """Run the command; bad input ends it with one line."""
    try:
        reproduce(parse_arguments())
    except InputError as error:
        print(f"python -m scripts.reproduction: error: {error}", file=sys.stderr)
        sys.exit(2)


def reproduce(args: argparse.Namespace) -> None:
    """Measure, write, and say which claims are supported."""
    settings = reference_settings(args.model)
    scale = QUICK if args.quick else replace(FULL, seeds=args.seeds, most_seeds=args.most_seeds)
    names = args.only or (MAIN_TABLES if args.quick else [table.name for table in EXPERIMENTS])
    tables = [experiment(name) for name in names]
    start = time.monotonic()
    weights = weights_of(settings)
    folder = args.work_dir / digest(settings, weights) / ("quick" if args.quick else "full")
    results = results_folder(args, folder)
    study = Study(settings, folder, scale, args.jobs or default_at_once())
    with explaining_write_errors(f"--results={results}"):
        results.mkdir(parents=True, exist_ok=True)
    figures = study.measure(tables, MAIN_ROWS if args.main else None)
    found = findings(figures)
    record = {"scale": asdict(scale), "model": weights, **asdict(figures), "claims": claims_record(found)}
    (results / "reproduction.json").write_text(json.dumps(record, indent=1) + "\n")
    summary = [claims_table(found), claims_line(found)]
    if figures.class_word_gain:
        summary.append(class_words_line(figures))
    if figures.judge_miou is not None:
        summary.append(judge_line(figures))
    if "beyond" in names:
        summary.append(new_ideas_table(figures))
    if figures.power_by_size:
        summary.append(power_table(figures.power_by_size))
        plot_power(figures.power_by_size, results / "power.png")
    text = "\n".join([*summary, *(experiment_table(figures, table) for table in tables)])
    (results / "reproduction.md").write_text(text)
    plot_claims(found, results / "claims.png")
    plot_experiments(figures, tables, results / "experiments.png")
    if figures.segmentor and "data" in names and not args.main:
        plot_numbers(figures, scale, results / "numbers.png")
    print(text)
    print(f"{len(tables)} tables in {(time.monotonic() - start) / 60:.1f} minutes; wrote {results}")
    if args.quick:
        sys.exit(check_main_claims(found, figures.class_word_gain))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.reproduction", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--main", action="store_true", help="train segmentors only for the main rows")
    part.add_argument("--quick", action="store_true", help="only masks, on few scenes")
    part.add_argument(
        "--only", nargs="+", metavar="TABLE", choices=[table.name for table in EXPERIMENTS], help="only these tables"
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        default=FULL.seeds,
        help="seeds for images and trainings; can be raised later (default: 3)",
    )
    parser.add_argument(
        "--most-seeds",
        type=positive,
        default=FULL.most_seeds,
        help="most seeds for trainings of undecided claims; twice as many for the judge (default: %(default)s)",
    )
    parser.add_argument("--model", default=SHIPPED_MODEL, help="the folder of a toy model (default: the shipped one)")
    parser.add_argument("--jobs", type=positive, help="processes at once (default: one per core, one with a GPU)")
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=Path("runs/reproduction"),
        help="folder for everything that is made (default: %(default)s)",
    )
    parser.add_argument("--results", type=Path, help="write the results to this folder instead")
    return parser.parse_args()


def results_folder(args: argparse.Namespace, folder: Path) -> Path:
    """Where the results go: partial results, and those of another model, do not replace the published ones."""
    is_whole = not (args.only or args.quick or args.main)
    has_seeds = args.seeds >= FULL.seeds and args.most_seeds >= FULL.most_seeds
    published = is_whole and has_seeds and args.model == SHIPPED_MODEL
    return args.results or (ROOT / "docs" / "results" if published else folder / "results")


def positive(text: str) -> int:
    """A whole number above zero."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def reference_settings(model: str) -> GenerateSettings:
    """The settings of every table's reference: `experiment=toy`, with the paper's mean over all heads and steps."""
    with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
        settings = to_settings(GenerateSettings, compose("config"))
    attention = replace(settings.attention, aggregation="mean", steps=None)
    return replace(settings, model=replace(settings.model, path=model), attention=attention)


def weights_of(settings: GenerateSettings) -> str:
    """The digest of a model's weights; raises InputError if the model does not have the toy model's shape."""
    pipe = load_model(settings.model.path, settings.sampler.scheduler)
    sides = {layer.resolution for layer in find_attention_layers(pipe.unet, latent_size(pipe))}
    if not {FINE, COARSE} <= sides:
        raise InputError(
            f"--model={settings.model.path}: has attention at {sorted(sides)}, not at {FINE} and {COARSE}; "
            "use a model made by scripts/toy_model"
        )
    return str(model_fingerprint(pipe, settings.model)["revision"])


def digest(settings: GenerateSettings, weights: str) -> str:
    """The digest of everything that recordings and images depend on; if it differs, they are in another folder."""
    groups = (asdict(group) for group in (settings.prompts, settings.sampler, settings.attention))
    return hashlib.sha256(json.dumps([weights, ARCHIVED_TEXTS, settings.batch_size, *groups]).encode()).hexdigest()[:12]


def claims_record(found: list[Finding]) -> list[dict[str, object]]:
    """The claims as written to reproduction.json: differences in points; half-widths, null if there is none."""
    return [
        {
            "claim": finding.claim.text,
            "better": finding.claim.better,
            "worse": finding.claim.worse,
            "verdict": finding.verdict,
            "metrics": {
                outcome.metric: {
                    "difference": outcome.difference.mean,
                    "half_width": None if math.isnan(width := outcome.difference.half_width) else width,
                    "count": outcome.count,
                    "verdict": outcome.verdict,
                }
                for outcome in finding.outcomes
            },
        }
        for finding in found
    ]


def check_main_claims(found: list[Finding], class_word_gain: list[float]) -> int:
    """Exit status 0 if the mean differences of the main claims point where the paper's do."""
    main = [(finding, finding.outcome("masks")) for finding in found if finding.claim.worse in MAIN_CLAIMS]
    measured = [(finding.claim.text, outcome.difference.mean) for finding, outcome in main if outcome is not None]
    wrong = [text for text, difference in measured if not difference > 0]
    if not class_word_gain or sum(class_word_gain) <= 0:
        wrong.append("class words tell the model what captions leave out")
    for claim in wrong:
        print(f"not supported: {claim}", file=sys.stderr)
    return 1 if wrong or len(measured) != len(MAIN_CLAIMS) else 0


if __name__ == "__main__":
    main()
