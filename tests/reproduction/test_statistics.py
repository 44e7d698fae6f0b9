"""Intervals against a published table of Student's t, and what differences say."""

import math

import pytest

from dataset_diffusion.reproduction.statistics import interval, paired_difference, verdict


def test_the_interval_of_three_values() -> None:
    result = interval([1.0, 2.0, 3.0])
    assert result.mean == 2.0
    assert result.half_width == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)  # t of 2 degrees of freedom, deviation 1


def test_one_value_has_no_interval_and_decides_nothing() -> None:
    result = interval([5.0])
    assert result.mean == 5.0
    assert math.isnan(result.half_width)
    assert verdict(result) == "cannot be told"


def test_a_difference_is_taken_seed_by_seed() -> None:
    better, worse = [10.0, 20.0, 30.1], [9.0, 19.0, 29.0]
    assert verdict(paired_difference(better, worse)) == "holds"
    assert verdict(paired_difference(worse, better)) == "does not hold"
    assert verdict(paired_difference([1.0, 5.0, 2.0], [2.0, 1.0, 3.0])) == "cannot be told"
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 2.0], [1.0])
