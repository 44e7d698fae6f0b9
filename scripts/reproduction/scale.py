"""The size of the reproduction."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Images are generated and segmentors trained with `seeds` seeds, where a claim needs them up to `most_seeds`, and
    twice as many for the judge. Mask quality is measured on `groups` groups of `scenes` rendered scenes; thresholds are
    chosen on `calibration` others. A training has `images` images and `iterations` iterations, and is tested on
    `validation` scenes. The judge is trained on `judge_scenes` scenes for `judge_iterations` iterations. Without seeds,
    nothing is trained.
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
"""Only the masks' quality, on few scenes."""
