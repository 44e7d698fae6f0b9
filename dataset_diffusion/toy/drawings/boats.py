"""Boats."""

import random

from dataset_diffusion.toy.draw import CREAM, RGB, Pen, jitter, shade


def draw_sailing_boat(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A hull under a mast with two sails."""
    mast = rng.uniform(-0.1, 0.08)
    sail = jitter(CREAM, rng, 8)
    jib = jitter(rng.choice([CREAM, (222, 84, 72), (240, 200, 84), (92, 140, 205)]), rng, 10)
    pen.bar((mast, 0.14), (mast, -0.5), 0.04, (95, 65, 35))
    pen.polygon([(mast + 0.03, -0.48), (mast + 0.03, 0.08), (mast + rng.uniform(0.3, 0.38), 0.08)], sail)
    pen.polygon([(mast - 0.03, -0.4), (mast - 0.03, 0.08), (mast - rng.uniform(0.2, 0.32), 0.08)], jib)
    pen.polygon([(-0.5, 0.12), (0.5, 0.12), (0.36, 0.38), (-0.34, 0.38)], paint)
    pen.polygon([(-0.5, 0.12), (0.5, 0.12), (0.475, 0.17), (-0.47, 0.17)], shade(paint, 0.65))


def draw_motor_boat(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A hull with a cabin and a funnel."""
    funnel = rng.uniform(-0.12, 0.06)
    pen.rectangle(funnel, -0.34, funnel + 0.14, -0.08, shade(paint, 0.65))
    pen.rectangle(funnel, -0.28, funnel + 0.14, -0.22, CREAM)
    pen.rounded(-0.3, -0.14, 0.24, 0.14, 0.03, CREAM)
    for index in range(3):
        pen.circle(-0.18 + index * 0.15, -0.02, 0.045, (70, 100, 130))
    pen.polygon([(-0.48, 0.08), (0.3, 0.08), (0.52, 0.0), (0.38, 0.36), (-0.4, 0.36)], paint)
    pen.polygon([(-0.43, 0.26), (0.42, 0.26), (0.38, 0.36), (-0.4, 0.36)], shade(paint, 0.6))
