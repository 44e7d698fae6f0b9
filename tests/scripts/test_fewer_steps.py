import numpy as np

from scripts.benchmarks.fewer_steps import Case, difference_interval, miou, parse_cases, present_share


def test_cases_are_schedulers_with_numbers_of_steps() -> None:
    assert parse_cases("dpmsolver++:20,4 ddim:10") == [
        Case("dpmsolver++", 20),
        Case("dpmsolver++", 4),
        Case("ddim", 10),
    ]


def test_presence_is_the_share_of_all_asked_classes() -> None:
    assert present_share(np.array([[1, 1, 0], [2, 0, 5], [1, 1, 0]])) == 0.5


def test_miou_is_that_of_the_pixels_of_all_images() -> None:
    confusions = np.array([[[3, 1], [0, 0]], [[1, 0], [1, 2]]])
    assert miou(confusions) == (4 / 6 + 2 / 4) / 2


def test_the_interval_of_a_difference_is_that_of_pairs() -> None:
    first = np.array([[1, index % 2, 0] for index in range(40)])
    assert difference_interval(first, first, present_share) == (0, 0)
    # Every fourth image loses its class: a tenth of all, whatever is drawn.
    worse = first * [1, 1, 1]
    worse[1::10, 1] = 0
    low, high = difference_interval(worse, first, present_share)
    assert -0.25 < low < -0.1 < high <= 0
