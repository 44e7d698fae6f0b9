"""Bottles."""

import random

from dataset_diffusion.toy.draw import CREAM, RGB, Pen, jitter, shade, some_paint


def _label(pen: Pen, rng: random.Random, half_width: float, top: float, bottom: float) -> None:
    pen.rectangle(-half_width, top, half_width, bottom, jitter((240, 235, 215), rng, 10))
    if rng.random() < 0.7:
        pen.circle(0.0, (top + bottom) / 2, 0.07, some_paint(rng))


def draw_wine_bottle(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A bottle with straight sides, steep shoulders and a long neck."""
    half_width = rng.uniform(0.15, 0.19)
    shoulder = rng.uniform(-0.16, -0.06)
    pen.rectangle(-0.06, -0.42, 0.06, shoulder - 0.05, paint)
    pen.polygon(
        [
            (-half_width, shoulder + 0.06),
            (-0.06, shoulder - 0.1),
            (0.06, shoulder - 0.1),
            (half_width, shoulder + 0.06),
        ],
        paint,
    )
    pen.rounded(-half_width, shoulder + 0.02, half_width, 0.5, 0.05, paint)
    pen.rounded(-0.075, -0.5, 0.075, -0.39, 0.02, shade(paint, 0.6))
    pen.rectangle(-half_width * 0.8, shoulder + 0.08, -half_width * 0.55, 0.44, shade(paint, 1.25))
    _label(pen, rng, half_width, 0.1, 0.34)


def draw_soda_bottle(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A waisted bottle with round shoulders, a short neck and a wide cap."""
    half_width = rng.uniform(0.17, 0.21)
    waist = half_width * 0.82
    pen.rectangle(-0.075, -0.4, 0.075, -0.2, paint)
    pen.ellipse(0.0, -0.06, half_width, 0.22, paint)
    pen.polygon(
        [
            (-half_width, -0.06),
            (half_width, -0.06),
            (waist, 0.12),
            (half_width, 0.3),
            (-half_width, 0.3),
            (-waist, 0.12),
        ],
        paint,
    )
    pen.rounded(-half_width, 0.2, half_width, 0.5, 0.07, paint)
    pen.rounded(-0.1, -0.48, 0.1, -0.36, 0.03, rng.choice([CREAM, shade(paint, 0.55)]))
    pen.ellipse(-half_width * 0.55, -0.08, 0.03, 0.1, shade(paint, 1.3))
    _label(pen, rng, waist * 1.02, 0.0, 0.24)
