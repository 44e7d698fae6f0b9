"""How large the reproduction is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """`seeds` of generated images and trainings, up to `most_seeds` where a claim needs them; `groups` of `scenes`
    rendered ones for the masks' quality, and `calibration` others to choose thresholds on. A training has `images`
    images and `iterations` iterations, and is tested on `validation` scenes. The judge is trained on `judge_scenes` in
    `judge_iterations`. Without seeds nothing is trained.
    """

    seeds: int
    groups: int
    scenes: int
    calibration: int
    images: int = 0
    iterations: int = 0
    validation: int = 0
    judge_scenes: int = 0
    judge_iterations: int = 0
    most_seeds: int = 0


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
    most_seeds=9,
)
QUICK = Scale(seeds=0, groups=3, scenes=8, calibration=8)
"""The masks' quality alone, on few scenes."""
