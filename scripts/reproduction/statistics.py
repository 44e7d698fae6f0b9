"""Means with their 95% intervals, and how to read a difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

Verdict = Literal["supported", "contradicted", "inconclusive"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95% interval (Student's t; nan for fewer than two values)."""

    mean: float
    half_width: float

    @property
    def is_positive(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.mean - self.half_width > 0

    @property
    def is_negative(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.mean + self.half_width < 0


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean of independent values."""
    count = len(values)
    if count < 2:
        return Interval(float(np.mean(values)), float("nan"))
    error = float(np.std(values, ddof=1)) / count**0.5
    return Interval(float(np.mean(values)), _quantile(count - 1, confidence) * error)


def paired_difference(better: Sequence[float], worse: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean difference, paired by seed: both have the same images and the same random numbers."""
    return interval([a - b for a, b in zip(better, worse, strict=True)], confidence)


@dataclass(frozen=True)
class CommonVariance:
    """The variance that a table's rows have in common: all vary alike from seed to seed. Rows can differ in seed count.

    Two or three values of a single row hardly determine its variance, so its interval would be wide; all rows together
    do. `within` is the standard deviation of a row's values around their mean; `residual` is the standard deviation of
    what neither the row nor the seed explains (two-way analysis of variance without interaction). With two rows, a
    difference's interval is that of `paired_difference`.
    """

    within: float
    residual: float
    within_freedom: int
    residual_freedom: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> "CommonVariance":
        """The common variance of rows whose values are for the seeds 0, 1, 2, ..."""
        cells = [(row, seed) for row, values in enumerate(rows) for seed in range(len(values))]
        values = np.array([rows[row][seed] for row, seed in cells])
        row_of, seed_of = np.array(cells).T
        by_row = (row_of[:, None] == np.arange(len(rows))).astype(float)
        by_both = np.hstack([by_row, seed_of[:, None] == np.arange(seed_of.max() + 1)])
        (within, within_freedom), (residual, residual_freedom) = (_left_over(values, by) for by in (by_row, by_both))
        return cls(within, residual, within_freedom, residual_freedom)

    def mean(self, values: Sequence[float]) -> Interval:
        """The interval of a row's mean."""
        half_width = _quantile(self.within_freedom, CONFIDENCE) * self.within / len(values) ** 0.5
        return Interval(float(np.mean(values)), half_width)

    def difference(self, better: Sequence[float], worse: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
        """The interval of the difference of two rows' means, over the same seeds."""
        error = self.residual * (2 / len(better)) ** 0.5
        mean = paired_difference(better, worse).mean
        return Interval(mean, _quantile(self.residual_freedom, confidence) * error)


def _quantile(freedom: int, confidence: float) -> float:
    """The two-sided quantile of Student's t."""
    return float(student.ppf((1 + confidence) / 2, freedom)) if freedom else float("nan")


def _left_over(values: np.ndarray, by: np.ndarray) -> tuple[float, int]:
    """Standard deviation of `values` [N] that the columns of `by` [N, F] do not explain, and its degrees of freedom."""
    explained, _, rank, _ = np.linalg.lstsq(by, values, rcond=None)
    freedom = len(values) - int(rank)
    return (float(((values - by @ explained) ** 2).sum() / freedom) ** 0.5 if freedom else float("nan")), freedom


def verdict(difference: Interval) -> Verdict:
    """What a difference says about the claim that it is positive."""
    if difference.is_positive:
        return "supported"
    return "contradicted" if difference.is_negative else "inconclusive"
