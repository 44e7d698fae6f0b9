"""The paper in miniature: its claims and ablations, measured on the toy world.

    python scripts/reproduce.py                 all of it, overnight on two cores
    python scripts/reproduce.py --main          masks of all rows, segmentors of the main ones: about an hour
    python scripts/reproduce.py --only power    one table
    python scripts/reproduce.py --quick         masks alone, on few scenes; exits with 1 unless the main claims hold

Two yardsticks. Masks: rendered scenes are noised to the sampler's time steps and passed through the model; masks of the
recorded attention are compared with the exact ones. Segmentor: one is trained on generated images and their masks, and
tested on rendered scenes. Attention is recorded once, and the masks of all variants are made from it. Started again, it
goes on where it was stopped. It writes reproduction.json, reproduction.md and plots to --results.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from hydra import compose, initialize_config_dir

from dataset_diffusion.paths import configs_dir
from dataset_diffusion.reproduction.images import load_model
from dataset_diffusion.reproduction.plots import plot_claims, plot_experiments, plot_numbers
from dataset_diffusion.reproduction.scale import FULL, QUICK
from dataset_diffusion.reproduction.study import Study
from dataset_diffusion.reproduction.tables import (
    Outcome,
    claims_table,
    class_words_line,
    experiment_table,
    new_ideas_table,
    outcomes,
)
from dataset_diffusion.reproduction.variants import EXPERIMENTS, MAIN_ROWS, experiment
from dataset_diffusion.reproduction.workers import default_at_once
from dataset_diffusion.sampler import model_fingerprint
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import GenerateSettings

README = Path(__file__).parents[1] / "README.md"
README_MARKS = ("<!-- reproduction -->", "<!-- end of reproduction -->")
MAIN_TABLES = ("power", "band")
"""What --quick measures, by masks alone; what class words tell the model, it measures by the loss."""
THE_PAPERS_WAY = ("attention.skip_steps=0", "mask.refine=false")
MAIN_CLAIMS = ("power 0", "no band")
"""The worse rows of the claims that --quick checks."""


def main() -> None:
    """Measure, write, and say what holds."""
    args = parse_arguments()
    settings = reference_settings(args.model)
    scale = QUICK if args.quick else FULL
    names = args.only or (MAIN_TABLES if args.quick else [table.name for table in EXPERIMENTS])
    tables = [experiment(name) for name in names]
    start = time.monotonic()
    # Another model has other results: each has a folder of its own.
    weights = model_fingerprint(load_model(settings.model.path, None), settings.model)["revision"][-12:]
    folder = args.work_dir / weights / ("quick" if args.quick else "full")
    study = Study(settings, folder, scale, args.jobs or default_at_once())
    figures = study.measure(tables, MAIN_ROWS if args.main else None)
    found = outcomes(figures)
    args.results.mkdir(parents=True, exist_ok=True)
    record = {"scale": asdict(scale), "model": settings.model.path, **asdict(figures), "claims": claims_record(found)}
    (args.results / "reproduction.json").write_text(json.dumps(record, indent=1) + "\n")
    summary = [claims_table(found)]
    if figures.class_word_gain:
        summary.append(class_words_line(figures))
    if "beyond" in names:
        summary.append(new_ideas_table(figures))
    text = "\n".join([*summary, *(experiment_table(figures, table) for table in tables)])
    (args.results / "reproduction.md").write_text(text)
    plot_claims(found, args.results / "claims.png")
    plot_experiments(figures, tables, args.results / "experiments.png")
    if figures.segmentor and "data" in names and not args.main:
        plot_numbers(figures, scale, args.results / "numbers.png")
    if not args.only and not args.quick:
        update_readme("\n".join(summary))
    print(text)
    print(f"{len(tables)} tables in {(time.monotonic() - start) / 60:.1f} minutes; wrote {args.results}")
    if args.quick:
        sys.exit(check_main_claims(found, figures.class_word_gain))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--main", action="store_true", help="train segmentors of the main rows alone")
    parser.add_argument("--quick", action="store_true", help="masks alone, on few scenes")
    parser.add_argument(
        "--only", nargs="+", metavar="TABLE", choices=[table.name for table in EXPERIMENTS], help="some of the tables"
    )
    parser.add_argument("--model", default="toy", help="a pipeline folder trained on the toy world (default: toy)")
    parser.add_argument("--jobs", type=int, help="processes at once (default: one a core, one with a GPU)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/reproduction"), help="(default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="(default: %(default)s)")
    return parser.parse_args()


def reference_settings(model: str) -> GenerateSettings:
    """Those of the reference of every table: `experiment=toy`, without what is not in the paper."""
    with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
        return to_settings(GenerateSettings, compose("config", [f"model.path={model}", *THE_PAPERS_WAY]))


def claims_record(found: list[Outcome]) -> list[dict[str, object]]:
    """The claims as they go into reproduction.json; differences in points."""
    return [
        {
            "claim": outcome.claim.text,
            "yardstick": outcome.yardstick,
            "better": outcome.claim.better,
            "worse": outcome.claim.worse,
            "difference": outcome.difference.mean,
            "half_width": outcome.difference.half_width,
            "verdict": outcome.verdict,
        }
        for outcome in found
    ]


def update_readme(summary: str) -> None:
    """Put the summary between the marks of the README, where the script lies in a checkout of it."""
    if README.exists():
        before, _, rest = README.read_text().partition(README_MARKS[0])
        _, _, after = rest.partition(README_MARKS[1])
        README.write_text(f"{before}{README_MARKS[0]}\n\n{summary}\n{README_MARKS[1]}{after}")


def check_main_claims(found: list[Outcome], class_word_gain: list[float]) -> int:
    """Exit status 0 if the mean differences of the main claims point where the paper's do."""
    main_outcomes = [o for o in found if o.yardstick == "masks" and o.claim.worse in MAIN_CLAIMS]
    wrong = [outcome.claim.text for outcome in main_outcomes if not outcome.difference.mean > 0]
    if not class_word_gain or sum(class_word_gain) <= 0:
        wrong.append("class words tell the model what captions leave out")
    for claim in wrong:
        print(f"the direction does not hold: {claim}", file=sys.stderr)
    return 1 if wrong or len(main_outcomes) != len(MAIN_CLAIMS) else 0


if __name__ == "__main__":
    main()
