"""The reproduction as Markdown: a table for each experiment, one of the claims, one of the new ideas."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scripts.reproduction.statistics import CommonVariance, Interval, interval, paired_difference, verdict
from scripts.reproduction.study import Figures
from scripts.reproduction.variants import (
    CLAIMS,
    EXPERIMENTS,
    NEW_IDEAS,
    REFERENCE,
    Claim,
    Experiment,
    Metric,
    Variant,
)

METRICS: tuple[Metric, ...] = ("masks", "judged", "segmentor")
COMMAND = "python -m scripts.reproduction --only"
NO_FIGURE = "–"
FULL_SCHEDULE_ROWS = {
    row.name for table in EXPERIMENTS for row in (table.reference, *table.variants) if row.full_schedule
}


@dataclass(frozen=True)
class Outcome:
    """What was found of a claim by one metric: the difference in percent points, and what it says."""

    claim: Claim
    metric: Metric
    difference: Interval

    @property
    def verdict(self) -> str:
        """supported, contradicted or inconclusive."""
        return verdict(self.difference)


def values(figures: Figures, name: str, metric: Metric, figure: str = "miou") -> list[float] | None:
    """A figure of a row in percent, of each group of scenes or of each training; None where it was not measured."""
    if metric == "segmentor":
        measured = figures.segmentor.get(name)
        return None if measured is None else [100 * value for value in measured]
    groups = (figures.masks if metric == "masks" else figures.judged).get(name)
    return None if groups is None else [100 * float(getattr(group, figure)) for group in groups]


def mean(figures: Figures, name: str, metric: Metric, figure: str = "miou") -> Interval | None:
    """The mean of a row's figure with its interval; None where it was not measured."""
    measured = values(figures, name, metric, figure)
    if measured is None:
        return None
    variance = _common_variance(figures, name) if metric == "segmentor" else None
    return variance.mean(measured) if variance else interval(measured)


def difference(figures: Figures, better: str, worse: str, metric: Metric, figure: str = "miou") -> Interval | None:
    """The difference of two rows' means with its interval; None where one was not measured.

    Of groups of scenes each pair of rows has its own variance; of trainings, which are few, all have the same.
    """
    pair = values(figures, better, metric, figure), values(figures, worse, metric, figure)
    if pair[0] is None or pair[1] is None:
        return None
    count = min(len(pair[0]), len(pair[1]))
    first, second = pair[0][:count], pair[1][:count]
    variance = _common_variance(figures, better) if metric == "segmentor" else None
    return variance.difference(first, second) if variance else paired_difference(first, second)


def _common_variance(figures: Figures, name: str) -> CommonVariance | None:
    """That of all rows with the small schedule; None of a row with the full one."""
    if name in FULL_SCHEDULE_ROWS:
        return None
    alike = [measured for other, measured in figures.segmentor.items() if other not in FULL_SCHEDULE_ROWS]
    # Rows that differ by name alone are one.
    return CommonVariance.of(list(dict.fromkeys(tuple(100 * value for value in measured) for measured in alike)))


def outcomes(figures: Figures, claims: Sequence[Claim] = CLAIMS) -> list[Outcome]:
    """What the figures say of each claim, by each of its metrics that was measured."""
    found = []
    for claim in claims:
        for metric in claim.metrics:
            figure = claim.figure if metric != "segmentor" else "miou"
            points = difference(figures, claim.better, claim.worse, metric, figure)
            if points is not None:
                found.append(Outcome(claim, metric, points))
    return found


def experiment_table(figures: Figures, table: Experiment) -> str:
    """A row for the table's reference and for each variant, with means and 95% intervals, in percent."""
    by_masks = "masks" in table.metrics
    by_judge = "judged" in table.metrics and bool(figures.judged)
    by_segmentor = "segmentor" in table.metrics and bool(figures.segmentor)
    header = ["", "masks: mIoU without band", "kept mIoU", "kept accuracy", "ignored"] if by_masks else [""]
    header += ["judged: mIoU without band"] if by_judge else []
    header += ["segmentor: mIoU", "difference to the reference"] if by_segmentor else []
    variants = (table.reference, *table.variants)
    rows = [_row(figures, variant, table.reference.name, by_masks, by_judge, by_segmentor) for variant in variants]
    return f"**{table.title}** (`{COMMAND} {table.name}`)\n\n{_markdown(header, rows)}"


def class_words_line(figures: Figures) -> str:
    """How much class words tell the model that captions do not."""
    gain = interval(figures.class_word_gain)
    return (
        "Class words tell the model what captions leave out: of rendered scenes whose captions leave one out, the "
        f"denoising loss under much noise is lower by {gain.mean:.4f} ± {gain.half_width:.4f} when they are appended "
        f"(`{COMMAND} prompt`).\n"
    )


def judge_line(figures: Figures) -> str:
    """How far the judge itself can be trusted."""
    return (
        "The judge, a segmentor of rendered scenes, labels such scenes, told their classes, with mIoU "
        f"{100 * (figures.judge_miou or 0):.1f}; between the classes that an image was asked for it decides the metric "
        "*judged*.\n"
    )


def claims_table(found: Sequence[Outcome]) -> str:
    """Of each claim whether the figures support it."""
    rows = [
        [
            outcome.claim.text,
            outcome.claim.source,
            outcome.metric,
            f"{outcome.claim.better} − {outcome.claim.worse}",
            _signed(outcome.difference),
            outcome.verdict,
            f"`--only {_table_of(outcome.claim)}`",
        ]
        for outcome in found
    ]
    return _markdown(["claim", "whose", "metric", "difference of", "points", "here", "made by"], rows)


def new_ideas_table(figures: Figures) -> str:
    """Of each idea beyond the paper what it gains by each metric; it is kept if all intervals are above zero."""
    rows = []
    for name in NEW_IDEAS:
        gains = {
            outcome.metric: outcome.difference
            for outcome in outcomes(figures, [Claim(name, better=name, worse=REFERENCE.name)])
        }
        fails = any(not gain.is_positive for gain in gains.values())
        verdict_of_all = "no" if fails else "yes" if "segmentor" in gains else NO_FIGURE
        figures_of = [_signed(gains[metric]) if metric in gains else NO_FIGURE for metric in METRICS]
        rows.append([name, *figures_of, verdict_of_all])
    return _markdown(["idea", *METRICS, "gains by all"], rows)


def _table_of(claim: Claim) -> str:
    """The experiment whose rows decide a claim."""
    rows = {claim.better, claim.worse} - {REFERENCE.name}
    return next(
        table.name for table in EXPERIMENTS if rows <= {variant.name for variant in (table.reference, *table.variants)}
    )


def _row(
    figures: Figures, variant: Variant, reference_name: str, by_masks: bool, by_judge: bool, by_segmentor: bool
) -> list[str]:
    cells = [variant.name]
    if by_masks:
        names: tuple[tuple[str, Callable[[Interval], str]], ...] = (
            ("miou", _plus_minus),
            ("kept_miou", _plus_minus),
            ("kept_accuracy", _plus_minus),
            ("share_ignored", lambda value: f"{value.mean:.1f}"),
        )
        for figure, text in names:
            measured = mean(figures, variant.name, "masks", figure)
            cells.append(NO_FIGURE if measured is None else text(measured))
    if by_judge:
        measured = mean(figures, variant.name, "judged")
        cells.append(NO_FIGURE if measured is None else _plus_minus(measured))
    if by_segmentor:
        measured = mean(figures, variant.name, "segmentor")
        points = difference(figures, variant.name, reference_name, "segmentor")
        cells.append(NO_FIGURE if measured is None else _plus_minus(measured))
        cells.append("" if variant.name == reference_name else NO_FIGURE if points is None else _signed(points))
    return cells


def _plus_minus(value: Interval) -> str:
    return f"{value.mean:.1f}" + ("" if math.isnan(value.half_width) else f" ± {value.half_width:.1f}")


def _signed(value: Interval) -> str:
    return f"{value.mean:+.1f}" + ("" if math.isnan(value.half_width) else f" ± {value.half_width:.1f}")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
