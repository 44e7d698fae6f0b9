"""Read the figures: means, differences, and whether a claim is supported."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scripts.reproduction.figures import Figures
from scripts.reproduction.statistics import (
    CONFIDENCE,
    CommonVariance,
    Interval,
    Verdict,
    interval,
    paired_difference,
    verdict,
)
from scripts.reproduction.variants import CLAIMS, EXPERIMENTS, Claim, Metric, Variant

EARLY_CONFIDENCE = 0.999
"""Confidence of an interval that ends a comparison before its last seed. Checking repeatedly at 95% would find
differences where there are none; with so high a bar before the last check, that check can stay at 95% (Haybittle and
Peto)."""
NARROW = 1.2
"""Half-width, in points, at which an interval needs no more seeds."""
LOW_NOISE: tuple[Metric, ...] = ("masks", "judged")
"""Metrics without training: groups of scenes or images decide them, not seeds."""

_VARIANTS = {row.name: row for table in EXPERIMENTS for row in (table.reference, *table.variants)}


@dataclass(frozen=True)
class Outcome:
    """One metric's result for a claim: the difference in percentage points, and the number of groups or seeds."""

    metric: Metric
    difference: Interval
    count: int

    @property
    def verdict(self) -> Verdict:
        """This metric's verdict."""
        return verdict(self.difference)


@dataclass(frozen=True)
class Finding:
    """A claim's outcomes by all metrics that it was measured by."""

    claim: Claim
    outcomes: tuple[Outcome, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict of the metrics whose interval excludes zero; inconclusive if there are none or they disagree."""
        clear = {outcome.verdict for outcome in self.outcomes} - {"inconclusive"}
        return clear.pop() if len(clear) == 1 else "inconclusive"

    def outcome(self, metric: Metric) -> Outcome | None:
        """A metric's outcome; None if it was not measured."""
        return next((outcome for outcome in self.outcomes if outcome.metric == metric), None)


def findings(figures: Figures, claims: Sequence[Claim] = CLAIMS) -> list[Finding]:
    """The findings for those claims that have any measurements."""
    found = [Finding(claim, tuple(_outcomes(figures, claim))) for claim in claims]
    return [finding for finding in found if finding.outcomes]


def needs_more_seeds(figures: Figures, claim: Claim, metric: Metric) -> bool:
    """Whether more seeds are needed to decide a claim by a metric that has seeds.

    They are not once its interval is clear of zero or narrow, nor for trainings where a low-noise metric has decided.
    """
    pair, figure = (claim.better, claim.worse), _figure(claim, metric)
    early = difference(figures, *pair, metric, figure, EARLY_CONFIDENCE)
    at_the_end = difference(figures, *pair, metric, figure)
    if metric not in claim.metrics or early is None or at_the_end is None:
        return False
    low_noise = [outcome.verdict for outcome in _outcomes(figures, claim) if outcome.metric in LOW_NOISE]
    if metric == "segmentor" and set(low_noise) - {"inconclusive"}:
        return False
    return verdict(early) == "inconclusive" and not at_the_end.half_width <= NARROW


def _figure(claim: Claim, metric: Metric) -> str:
    """What a claim compares by a metric."""
    return claim.figure if metric != "segmentor" else "miou"


def _outcomes(figures: Figures, claim: Claim) -> list[Outcome]:
    found = []
    for metric in claim.metrics:
        figure = _figure(claim, metric)
        points = difference(figures, claim.better, claim.worse, metric, figure)
        if points is not None:
            count = min(len(values(figures, name, metric, figure) or ()) for name in (claim.better, claim.worse))
            found.append(Outcome(metric, points, count))
    return found


def values(figures: Figures, name: str, metric: Metric, figure: str = "miou") -> list[float] | None:
    """A row's figure in percent, for each group of scenes or each training; None if it was not measured."""
    if metric == "segmentor":
        measured = figures.segmentor.get(name)
        return None if measured is None else [100 * value for value in measured]
    groups = (figures.masks if metric == "masks" else figures.judged).get(name)
    return None if groups is None else [100 * float(getattr(group, figure)) for group in groups]


def mean(figures: Figures, name: str, metric: Metric, figure: str = "miou") -> Interval | None:
    """The mean of a row's figure with its interval; None if it was not measured."""
    measured = values(figures, name, metric, figure)
    if measured is None:
        return None
    return _common_variance(figures).mean(measured) if metric == "segmentor" else interval(measured)


def difference(
    figures: Figures,
    better: str,
    worse: str,
    metric: Metric,
    figure: str = "miou",
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """The difference of two rows' means with its interval; None if either was not measured.

    For groups of scenes, and for two tests of the same weights, each pair of rows has its own variance; trainings,
    which are few, all share one.
    """
    pair = values(figures, better, metric, figure), values(figures, worse, metric, figure)
    if pair[0] is None or pair[1] is None:
        return None
    count = min(len(pair[0]), len(pair[1]))
    first, second = pair[0][:count], pair[1][:count]
    if metric == "segmentor" and not _same_training(better, worse):
        return _common_variance(figures).difference(first, second, confidence)
    return paired_difference(first, second, confidence)


def _same_training(first: str, second: str) -> bool:
    """Whether two rows are tests of the same training steps: averaging the weights does not change them."""
    return _training(first) == _training(second)


def _training(name: str) -> Variant | str:
    """A row's training; rows that differ only in name or test have the same one."""
    variant = _VARIANTS.get(name)
    return name if variant is None else replace(variant, name="", tta=False, ema=True)


def _common_variance(figures: Figures) -> CommonVariance:
    """The common variance, with one row for each training."""
    rows = {_training(name): row for name, row in reversed(figures.segmentor.items())}
    return CommonVariance.of([[100 * value for value in row] for row in rows.values()])
