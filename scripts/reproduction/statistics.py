"""Means with their 95% intervals, and what a difference says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

Verdict = Literal["supported", "contradicted", "inconclusive"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95% interval (Student's t; nan of fewer than two values)."""

    mean: float
    half_width: float

    @property
    def is_positive(self) -> bool:
        """The whole interval lies above zero."""
        return self.mean - self.half_width > 0

    @property
    def is_negative(self) -> bool:
        """The whole interval lies below zero."""
        return self.mean + self.half_width < 0


def interval(values: Sequence[float]) -> Interval:
    """The interval of the mean of independent values."""
    count = len(values)
    if count < 2:
        return Interval(float(np.mean(values)), float("nan"))
    error = float(np.std(values, ddof=1)) / count**0.5
    return Interval(float(np.mean(values)), float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * error)


def paired_difference(better: Sequence[float], worse: Sequence[float]) -> Interval:
    """The interval of the mean difference, seed by seed: the two have the same images and the same random numbers."""
    return interval([a - b for a, b in zip(better, worse, strict=True)])


@dataclass(frozen=True)
class CommonVariance:
    """What the rows of a table have in common: each row has a value of each seed, and all vary alike.

    Of a row's two or three values alone its variance is hardly known, and its interval as wide as that makes it; of all
    rows together it is. `within` is the standard deviation of a row's values around their mean; `residual` that of what
    neither the row nor the seed explains (two-way analysis of variance without interaction). For two rows a
    difference's interval is that of `paired_difference`.
    """

    within: float
    residual: float
    within_freedom: int
    residual_freedom: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> "CommonVariance":
        """Of rows with as many values each."""
        table = np.array(rows)
        num_rows, num_seeds = table.shape
        around_rows = table - table.mean(axis=1, keepdims=True)
        residuals = around_rows - around_rows.mean(axis=0)
        within_freedom, residual_freedom = num_rows * (num_seeds - 1), (num_rows - 1) * (num_seeds - 1)
        within, residual = _deviation(around_rows, within_freedom), _deviation(residuals, residual_freedom)
        return cls(within, residual, within_freedom, residual_freedom)

    def mean(self, values: Sequence[float]) -> Interval:
        """The interval of a row's mean."""
        return Interval(float(np.mean(values)), self._quantile(self.within_freedom) * self.within / len(values) ** 0.5)

    def difference(self, better: Sequence[float], worse: Sequence[float]) -> Interval:
        """The interval of the difference of two rows' means."""
        error = self.residual * (2 / len(better)) ** 0.5
        return Interval(paired_difference(better, worse).mean, self._quantile(self.residual_freedom) * error)

    def _quantile(self, freedom: int) -> float:
        return float(student.ppf((1 + CONFIDENCE) / 2, freedom)) if freedom else float("nan")


def _deviation(values: np.ndarray, freedom: int) -> float:
    return float((values**2).sum() / freedom) ** 0.5 if freedom else float("nan")


def verdict(difference: Interval) -> Verdict:
    """What a difference says of the claim that it is positive."""
    if difference.is_positive:
        return "supported"
    return "contradicted" if difference.is_negative else "inconclusive"
