"""Birds."""

import random

from dataset_diffusion.toy.draw import RGB, Pen, shade
from dataset_diffusion.toy.drawings.parts import draw_eye

_BEAK: RGB = (242, 162, 36)


def draw_standing_bird(pen: Pen, rng: random.Random, feathers: RGB) -> None:
    """A small bird on two legs."""
    dark = shade(feathers, 0.66)
    tail = rng.uniform(0.38, 0.5)
    pen.polygon([(-0.16, 0.0), (-tail, -0.02), (-tail, 0.13), (-0.12, 0.15)], dark)
    for x in (-0.04, 0.08):
        pen.bar((x, 0.14), (x + 0.02, 0.48), 0.045, _BEAK)
        pen.rounded(x - 0.01, 0.45, x + 0.1, 0.5, 0.02, _BEAK)
    pen.ellipse(-0.02, 0.04, 0.27, 0.22, feathers)
    pen.ellipse(0.06, 0.1, 0.15, 0.13, shade(feathers, 1.22))
    radius = rng.uniform(0.145, 0.17)
    pen.circle(0.2, -0.17, radius, feathers)
    pen.polygon([(0.31, -0.22), (0.47, -0.14), (0.31, -0.09)], _BEAK)
    pen.polygon([(0.02, -0.08), (0.06, 0.06), (-0.08, 0.17), (-0.34, 0.12), (-0.2, -0.02)], dark)
    if rng.random() < 0.35:
        pen.polygon([(0.1, -0.28), (0.12, -0.46), (0.19, -0.34), (0.24, -0.44), (0.26, -0.3)], dark)
    draw_eye(pen, 0.24, -0.2, 0.034)


def draw_flying_bird(pen: Pen, rng: random.Random, feathers: RGB) -> None:
    """A bird in flight, its wings raised."""
    pen.airborne = True
    dark = shade(feathers, 0.66)
    lift = rng.uniform(0.36, 0.46)
    pen.polygon([(0.1, -0.02), (0.02, -lift), (0.12, -lift - 0.02), (0.26, -0.02)], shade(feathers, 0.8))
    pen.polygon([(-0.2, 0.0), (-0.48, -0.04), (-0.42, 0.06), (-0.5, 0.14), (-0.18, 0.14)], dark)
    pen.ellipse(0.0, 0.06, 0.29, 0.14, feathers)
    pen.circle(0.26, -0.02, 0.12, feathers)
    pen.polygon([(0.35, -0.06), (0.5, 0.0), (0.34, 0.04)], _BEAK)
    pen.polygon(
        [
            (0.12, 0.04),
            (-0.02, -0.16),
            (-0.34, -lift),
            (-0.32, -lift + 0.14),
            (-0.36, -lift + 0.2),
            (-0.28, -0.1),
            (-0.24, -0.02),
            (-0.16, 0.1),
        ],
        dark,
    )
    draw_eye(pen, 0.28, -0.04, 0.028)
