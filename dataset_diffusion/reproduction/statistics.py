"""Means with their 95% intervals, and what a difference says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

Verdict = Literal["holds", "does not hold", "cannot be told"]
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


def verdict(difference: Interval) -> Verdict:
    """What a difference says of the claim that it is positive."""
    if difference.is_positive:
        return "holds"
    return "does not hold" if difference.is_negative else "cannot be told"
