"""Aeroplanes."""

import random

from dataset_diffusion.toy.draw import CREAM, DARK, GLASS, LAMP, RGB, STEEL, Pen, jitter, shade


def draw_airliner(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A long aeroplane with swept wings, a row of windows and an engine under the wing."""
    pen.airborne = True
    half_length = rng.uniform(0.44, 0.5)
    half_height = rng.uniform(0.085, 0.11)
    sweep = rng.uniform(0.12, 0.24)
    dark = shade(paint, 0.65)
    pen.polygon(
        [
            (-half_length + 0.02, 0.0),
            (-half_length - 0.03, -0.26),
            (-half_length + 0.09, -0.26),
            (-half_length + 0.2, -0.02),
        ],
        dark,
    )
    pen.polygon([(-0.04, -0.02), (-sweep, -0.3), (-sweep + 0.12, -0.3), (0.15, -0.02)], shade(paint, 0.8))
    pen.ellipse(0.0, 0.0, half_length, half_height, paint)
    pen.rounded(-half_length * 0.5, -half_height, half_length * 0.7, half_height, 0.06, paint)
    for index in range(rng.randint(4, 6)):
        pen.circle(-0.22 + index * 0.09, -half_height * 0.3, 0.024, (60, 80, 110))
    pen.ellipse(half_length - 0.08, -half_height * 0.3, 0.055, half_height * 0.4, GLASS)
    pen.polygon([(-0.1, 0.02), (-sweep - 0.1, 0.33), (-sweep + 0.04, 0.33), (0.16, 0.03)], dark)
    pen.rounded(-0.08, 0.13, 0.1, 0.21, 0.04, STEEL)


def draw_propeller_plane(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A short aeroplane with a straight high wing, a propeller and fixed wheels."""
    pen.airborne = True
    dark = shade(paint, 0.65)
    wing_top = -rng.uniform(0.2, 0.24)
    pen.polygon([(-0.46, 0.0), (-0.5, -0.22), (-0.4, -0.25), (-0.27, -0.04)], dark)
    for x in (0.08, 0.24):
        pen.bar((x - 0.03, 0.1), (x, 0.27), 0.035, STEEL)
        pen.circle(x, 0.28, 0.06, DARK)
    pen.polygon(
        [
            (-0.48, -0.06),
            (-0.1, -0.15),
            (0.12, -0.17),
            (0.24, -0.1),
            (0.4, -0.08),
            (0.43, 0.05),
            (0.36, 0.13),
            (0.0, 0.16),
            (-0.46, 0.03),
        ],
        paint,
    )
    pen.polygon([(0.02, -0.15), (0.11, -0.15), (0.22, -0.07), (0.02, -0.06)], jitter(GLASS, rng, 10))
    pen.rectangle(-0.46, 0.03, 0.38, 0.06, rng.choice([CREAM, dark]))
    pen.rounded(-0.22, wing_top, 0.26, wing_top + 0.08, 0.04, shade(paint, 0.82))
    pen.bar((-0.02, 0.05), (0.02, wing_top + 0.06), 0.03, STEEL)
    pen.ellipse(0.46, -0.01, 0.028, rng.uniform(0.2, 0.26), (96, 90, 86))
    pen.circle(0.45, -0.01, 0.05, LAMP)
