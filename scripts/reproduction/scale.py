"""How large the reproduction is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """`seeds` of generated images and trainings; `groups` of `scenes` rendered ones for the masks' quality, and
    `calibration` others to choose thresholds on. A training has `images` images and `iterations` iterations, and is
    tested on `validation` scenes. The judge is trained on `judge_scenes` in `judge_iterations`.
    """

    seeds: int
    groups: int
    scenes: int
    calibration: int
    images: int
    iterations: int
    validation: int
    judge_scenes: int
    judge_iterations: int


FULL = Scale(
    seeds=3,
    groups=20,
    scenes=40,
    calibration=100,
    images=150,
    iterations=1500,
    validation=300,
    judge_scenes=2000,
    judge_iterations=3500,
)
QUICK = Scale(
    seeds=0,
    groups=3,
    scenes=8,
    calibration=8,
    images=0,
    iterations=0,
    validation=0,
    judge_scenes=0,
    judge_iterations=0,
)
"""The masks' quality alone, on few scenes."""
