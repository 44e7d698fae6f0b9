"""The reproduction as Markdown: a table for each experiment, one for the claims, one for the new ideas."""

import math
from collections.abc import Callable, Sequence

from scripts.reproduction.figures import Figures
from scripts.reproduction.findings import Finding, difference, findings, mean
from scripts.reproduction.mechanism import POWERS, SizeGroup
from scripts.reproduction.statistics import Interval, interval
from scripts.reproduction.variants import EXPERIMENTS, NEW_IDEAS, REFERENCE, Claim, Experiment, Metric, Variant

METRICS: tuple[Metric, ...] = ("masks", "judged", "segmentor")
COMMAND = "python -m scripts.reproduction --only"
NO_FIGURE = "–"
COUNTED: dict[Metric, str] = {"judged": "groups", "segmentor": "seeds"}
"""What the values are of that a difference compares, where rows can have more of them than others."""
DIFFERENCES = [f"{metric} ({COUNTED[metric]})" if metric in COUNTED else metric for metric in METRICS]
"""Headings of the columns of differences."""


def experiment_table(figures: Figures, table: Experiment) -> str:
    """A row for the table's reference and for each variant, with means and 95% intervals, in percent."""
    by_masks = "masks" in table.metrics
    by_judge = "judged" in table.metrics and bool(figures.judged)
    by_segmentor = "segmentor" in table.metrics and bool(figures.segmentor)
    header = ["", "masks: mIoU without band", "kept mIoU", "kept accuracy", "ignored"] if by_masks else [""]
    header += ["judged: mIoU without band"] if by_judge else []
    header += ["segmentor: mIoU", "difference from the reference"] if by_segmentor else []
    variants = (table.reference, *table.variants)
    rows = [_row(figures, variant, table.reference.name, by_masks, by_judge, by_segmentor) for variant in variants]
    return f"**{table.title}** (`{COMMAND} {table.name}`)\n\n{_markdown(header, rows)}"


def class_words_line(figures: Figures) -> str:
    """How much class words tell the model that captions do not."""
    gain = interval(figures.class_word_gain)
    return (
        "Class words tell the model what captions leave out: on rendered scenes whose captions omit a class, appending "
        f"the class words lowers the denoising loss at high noise by {gain.mean:.4f} ± {gain.half_width:.4f} "
        f"(`{COMMAND} prompt`).\n"
    )


def judge_line(figures: Figures) -> str:
    """How far the judge itself can be trusted."""
    return (
        "The judge is a segmentor trained on rendered scenes. Given the classes of held-out scenes, it labels them "
        f"with mIoU {100 * (figures.judge_miou or 0):.1f}. For the metric *judged*, it chooses between the classes "
        "requested for an image.\n"
    )


def claims_table(found: Sequence[Finding]) -> str:
    """For each claim, the difference by each metric, in points, and whether the metrics support it."""
    rows = [
        [
            finding.claim.text,
            finding.claim.source,
            f"{finding.claim.better} − {finding.claim.worse}",
            *(_cell(finding, metric) for metric in METRICS),
            finding.verdict,
            f"`--only {_table_of(finding.claim)}`",
        ]
        for finding in found
    ]
    return _markdown(["claim", "source", "difference", *DIFFERENCES, "verdict", "command"], rows)


def claims_line(found: Sequence[Finding]) -> str:
    """How many claims were decided, and how."""
    verdicts = [finding.verdict for finding in found]
    counts = [f"{verdicts.count(name)} {name}" for name in ("supported", "contradicted", "inconclusive")]
    return f"{len(found)} claims: {', '.join(counts)}.\n"


def new_ideas_table(figures: Figures) -> str:
    """What each idea beyond the paper gains by each metric; an idea is kept if all intervals are above zero."""
    rows = []
    for name in NEW_IDEAS:
        for finding in findings(figures, [Claim(name, better=name, worse=REFERENCE.name)]):
            fails = any(not outcome.difference.is_positive for outcome in finding.outcomes)
            verdict_of_all = "no" if fails else "yes" if finding.outcome("segmentor") else NO_FIGURE
            rows.append([name, *(_cell(finding, metric) for metric in METRICS), verdict_of_all])
    return _markdown(["idea", *DIFFERENCES, "gains by all metrics"], rows)


def power_table(groups: Sequence[SizeGroup]) -> str:
    """The effect of powers of the self-attention on objects of several sizes, in percent."""
    header = ["area in positions of 16 x 16 (objects)", "share of the image", ""]
    header += [f"power {power}" for power in POWERS]
    rows = []
    for group in groups:
        size = f"{group.smallest:.0f} to {group.largest:.0f} ({group.num_objects})"
        measured = {"stays, 16 x 16": group.fine, "stays, 8 x 8": group.coarse, "IoU": group.iou}
        for what, means in measured.items():
            cells = (_plus_minus(Interval(100 * value.mean, 100 * value.half_width)) for value in means)
            rows.append([size, f"{100 * group.chance:.1f}", what, *cells])
    return (
        "**What powers do, by object size**: at each power, how much of the self-attention from an object's positions "
        "stays on the object, and the IoU of its mask "
        f"(`{COMMAND} power`; [plot](power.png))\n\n{_markdown(header, rows)}"
    )


def _cell(finding: Finding, metric: Metric) -> str:
    outcome = finding.outcome(metric)
    if outcome is None:
        return NO_FIGURE
    return _signed(outcome.difference) + (f" ({outcome.count})" if metric in COUNTED else "")


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
