"""Intervals checked against a published table of Student's t, and verdicts on differences."""

import math

import numpy as np
import pytest

from scripts.reproduction.statistics import CommonVariance, interval, paired_difference, verdict


def test_the_interval_of_three_values_uses_students_t() -> None:
    result = interval([1.0, 2.0, 3.0])
    assert result.mean == 2.0
    assert result.half_width == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)  # t for 2 degrees of freedom, deviation 1


def test_one_value_has_no_interval_and_is_inconclusive() -> None:
    result = interval([5.0])
    assert result.mean == 5.0
    assert math.isnan(result.half_width)
    assert verdict(result) == "inconclusive"


def test_a_difference_is_taken_seed_by_seed() -> None:
    better, worse = [10.0, 20.0, 30.1], [9.0, 19.0, 29.0]
    assert verdict(paired_difference(better, worse)) == "supported"
    assert verdict(paired_difference(worse, better)) == "contradicted"
    assert verdict(paired_difference([1.0, 5.0, 2.0], [2.0, 1.0, 3.0])) == "inconclusive"
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 2.0], [1.0])


def test_a_common_variance_of_two_rows_gives_the_paired_difference() -> None:
    better, worse = [30.0, 33.0, 31.5], [29.0, 30.5, 31.0]
    common = CommonVariance.of([better, worse]).difference(better, worse)
    paired = paired_difference(better, worse)
    assert common.mean == pytest.approx(paired.mean)
    assert common.half_width == pytest.approx(paired.half_width)


def test_a_common_variance_excludes_row_and_seed_effects() -> None:
    rows = [[row + seed for seed in (0.0, 2.0, 7.0)] for row in (10.0, 20.0, 30.0, 40.0)]
    exact = CommonVariance.of(rows)
    assert exact.residual == pytest.approx(0)
    assert exact.within == pytest.approx(np.std([0, 2, 7], ddof=1))
    # Neither effect explains a checkerboard; its 12 squares leave 6 degrees of freedom.
    board = np.array(rows) + np.array([[1, -1, 0], [-1, 1, 0], [1, -1, 0], [-1, 1, 0]])
    common = CommonVariance.of(board.tolist())
    assert common.residual == pytest.approx(math.sqrt(8 / 6))
    difference = common.difference(board[1].tolist(), board[0].tolist())
    assert difference.mean == pytest.approx(10)
    assert difference.half_width == pytest.approx(2.447 * math.sqrt(8 / 6 * 2 / 3), rel=1e-3)  # t for 6


def test_a_common_variance_covers_the_true_difference_in_95_of_100_tables() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        rows = generator.normal(size=(6, 3)) + generator.normal(size=3) + np.arange(6)[:, None]
        found = CommonVariance.of(rows.tolist()).difference(rows[5].tolist(), rows[1].tolist())
        hits += abs(found.mean - 4) <= found.half_width
    assert 0.935 <= hits / 2000 <= 0.965


def test_rows_with_different_numbers_of_seeds_share_a_variance() -> None:
    rows = [[row + seed for seed in (0.0, 2.0, 7.0, -3.0)] for row in (10.0, 20.0, 30.0)]
    rows.append([51.0, 51.0])  # 50 + 0 + 1 and 50 + 2 - 1: the seeds leave +1 and -1 unexplained
    common = CommonVariance.of(rows)
    assert common.residual_freedom == 14 - (4 + 4 - 1)
    # The last row deviates from the others' common seed effects by 1 and -1. Least squares spreads that: with three
    # exact rows besides it, the seed effects absorb a quarter.
    assert common.residual == pytest.approx(math.sqrt(2 * (1 - 1 / 4) / 7), rel=1e-6)
    assert common.within_freedom == 14 - 4
    assert common.mean([1.0] * 4).half_width < common.mean([1.0] * 2).half_width


def test_a_single_row_or_seed_has_no_interval() -> None:
    assert math.isnan(CommonVariance.of([[1.0, 2.0, 3.0]]).difference([1.0], [1.0]).half_width)
    assert math.isnan(CommonVariance.of([[1.0], [2.0]]).mean([1.0]).half_width)
