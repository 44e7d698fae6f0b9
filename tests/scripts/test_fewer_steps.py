from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.benchmarks.fewer_steps import (
    Case,
    Sizes,
    add_segmentor_figures,
    difference_interval,
    format_table,
    miou,
    parse_cases,
    present_share,
    write_arrays,
)
from scripts.benchmarks.toy_table import Budget


def test_cases_are_parsed_into_schedulers_and_numbers_of_steps() -> None:
    assert parse_cases("dpmsolver++:20,4 ddim:10") == [
        Case("dpmsolver++", 20),
        Case("dpmsolver++", 4),
        Case("ddim", 10),
    ]


def test_presence_is_the_share_of_all_asked_classes() -> None:
    assert present_share(np.array([[1, 1, 0], [2, 0, 5], [1, 1, 0]])) == 0.5


def test_miou_is_computed_over_the_pixels_of_all_images() -> None:
    confusions = np.array([[[3, 1], [0, 0]], [[1, 0], [1, 2]]])
    assert miou(confusions) == (4 / 6 + 2 / 4) / 2


def test_the_interval_of_a_difference_is_paired() -> None:
    first = np.array([[1, index % 2, 0] for index in range(40)])
    assert difference_interval(first, first, present_share) == (0, 0)
    # Every tenth image loses its class.
    worse = first * [1, 1, 1]
    worse[1::10, 1] = 0
    low, high = difference_interval(worse, first, present_share)
    assert -0.25 < low < -0.1 < high <= 0


def test_the_interval_of_a_segmentor_difference_comes_from_all_cases() -> None:
    """Seeds shift all cases alike, so the residual is what the seed changed in one case only."""
    seeds = np.array([0.0, 0.05, -0.03])
    chance = np.array([[0.01, -0.01, 0.0], [-0.01, 0.0, 0.01], [0.0, 0.01, -0.01]])
    rows: list[dict] = [
        {"scheduler": "ddim", "steps": steps, "segmentors": list(level + seeds + noise)}
        for steps, level, noise in zip((100, 20, 4), (0.4, 0.4, 0.3), chance, strict=True)
    ]
    add_segmentor_figures(rows)
    means = [np.mean(row["segmentors"]) for row in rows]
    assert [row["segmentor"] for row in rows] == pytest.approx(means)
    low, high = rows[1]["segmentor_difference"]
    assert low < 0 < high
    assert rows[2]["segmentor_difference"][1] < 0
    text = format_table(rows, None, Sizes(64, 40, 0, 0, Budget(64, 800, 150)))
    assert "| `ddim` | 100 | - | - | - | 40.7 |" in text
    assert "| `ddim` | 4 | - | - | - | 30.7 (-12" in text
    assert "Segmentors: 3 of 800 iterations" in text


def test_without_trainings_there_are_no_segmentor_figures() -> None:
    rows: list[dict] = [{"scheduler": "ddim", "steps": 4}]
    add_segmentor_figures(rows)
    assert "Segmentors" not in format_table(rows, None, Sizes(64, 40, 0, 0, Budget(64, 800, 150)))
    assert "segmentor" not in rows[0]
    assert "| `ddim` | 4 | - | - | - | - |" in format_table(rows, None, Sizes(64, 40, 0, 0, Budget(64, 800, 150)))


def test_one_seed_gives_figures_without_intervals() -> None:
    rows: list[dict] = [
        {"scheduler": "ddim", "steps": steps, "segmentors": [miou]} for steps, miou in ((100, 0.4), (4, 0.3))
    ]
    add_segmentor_figures(rows)
    assert "| `ddim` | 4 | - | - | - | 30.0 |" in format_table(rows, None, Sizes(64, 40, 0, 0, Budget(64, 800, 150)))


class Stops:
    """Stops the program when it is written."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise KeyboardInterrupt


def test_an_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    stopped: Any = Stops()
    with pytest.raises(KeyboardInterrupt):
        write_arrays(tmp_path / "a.npz", presence=np.ones((2, 3)), masks=stopped)
    assert list(tmp_path.iterdir()) == []
