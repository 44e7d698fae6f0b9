"""Bicycles and motorbikes."""

import random

from dataset_diffusion.toy.draw import DARK, GLASS, LAMP, RGB, STEEL, Pen, jitter, shade
from dataset_diffusion.toy.drawings.parts import draw_wheel


def _bicycle_wheels(pen: Pen, rng: random.Random, radius: float, y: float) -> None:
    # The inside of the wheel is filled: a coarse attention grid cannot find a ring one pixel thick.
    inside = jitter((202, 202, 204), rng, 12)
    for x in (-0.28, 0.28):
        pen.circle(x, y, radius, (40, 40, 42))
        pen.circle(x, y, radius * 0.8, inside)
        for step in (-1.0, 0.0, 1.0):
            pen.bar((x - radius * 0.8, y + step * 0.08), (x + radius * 0.8, y - step * 0.08), 0.012, STEEL)
        pen.circle(x, y, radius * 0.16, (60, 60, 62))


def _saddle_and_handlebar(pen: Pen, saddle: tuple[float, float], head: tuple[float, float]) -> None:
    pen.bar(head, (head[0] - 0.02, head[1] - 0.14), 0.045, DARK)
    pen.stroke([(head[0] - 0.1, head[1] - 0.13), (head[0] + 0.05, head[1] - 0.16)], 0.05, DARK)
    pen.ellipse(saddle[0] - 0.01, saddle[1] - 0.02, 0.1, 0.038, DARK)


def draw_road_bicycle(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A bicycle with a diamond frame."""
    radius = rng.uniform(0.2, 0.235)
    y = 0.5 - radius
    pedals = (-0.02, y + 0.02)
    saddle = (-0.1, -0.1 - rng.uniform(0.0, 0.06))
    head = (0.18, -0.13)
    _bicycle_wheels(pen, rng, radius, y)
    for start, end in (
        (pedals, (-0.28, y)),
        ((-0.28, y), saddle),
        ((0.28, y), head),
        (pedals, saddle),
        (saddle, head),
        (pedals, head),
    ):
        pen.bar(start, end, 0.066, paint)
    pen.circle(*pedals, 0.055, DARK)
    _saddle_and_handlebar(pen, saddle, head)


def draw_city_bicycle(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A bicycle with a low, bent frame, mudguards and a basket."""
    radius = rng.uniform(0.2, 0.23)
    y = 0.5 - radius
    pedals = (-0.03, y + 0.04)
    saddle = (-0.12, -0.12 - rng.uniform(0.0, 0.05))
    head = (0.19, -0.14)
    for x in (-0.28, 0.28):
        pen.circle(x, y - 0.02, radius * 1.06, shade(paint, 0.75))
    _bicycle_wheels(pen, rng, radius, y)
    pen.bar(pedals, (-0.28, y), 0.06, paint)
    pen.bar(pedals, saddle, 0.06, paint)
    pen.bar((0.28, y), head, 0.06, paint)
    pen.stroke([(-0.06, y - 0.04), (0.06, y - 0.03), head], 0.075, paint)
    pen.circle(*pedals, 0.055, DARK)
    pen.polygon([(0.22, -0.22), (0.44, -0.22), (0.4, -0.05), (0.26, -0.05)], jitter((178, 130, 76), rng, 10))
    _saddle_and_handlebar(pen, saddle, head)


def draw_touring_motorbike(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A motorbike with a round tank, a long saddle and an open engine."""
    radius = rng.uniform(0.175, 0.2)
    for x in (-0.3, 0.3):
        draw_wheel(pen, x, 0.5 - radius, radius)
    pen.bar((0.3, 0.5 - radius), (0.16, -0.18), 0.06, (120, 120, 125))
    pen.stroke([(0.08, -0.2), (0.22, -0.24)], 0.05, DARK)
    pen.polygon([(-0.24, 0.06), (0.16, -0.1), (0.24, 0.08), (0.06, 0.34), (-0.16, 0.34)], (78, 78, 84))
    pen.circle(0.02, 0.22, 0.08, STEEL)
    pen.ellipse(0.08, -0.04, 0.19, 0.13, paint)
    pen.stroke([(0.2, 0.16), (0.3, 0.1), (0.41, 0.16)], 0.06, paint)
    pen.polygon([(-0.46, -0.08), (-0.04, -0.05), (-0.06, 0.04), (-0.3, 0.08)], DARK)
    pen.polygon([(-0.5, 0.03), (-0.34, -0.02), (-0.02, 0.04), (-0.1, 0.2), (-0.3, 0.18)], paint)
    pen.stroke([(-0.08, 0.32), (-0.46, 0.3)], 0.06, STEEL)
    pen.circle(0.28, -0.08, 0.055, LAMP)


def draw_sports_motorbike(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A motorbike with a pointed fairing and a raised tail."""
    radius = rng.uniform(0.17, 0.195)
    for x in (-0.3, 0.3):
        draw_wheel(pen, x, 0.5 - radius, radius)
    pen.bar((0.3, 0.5 - radius), (0.2, -0.08), 0.06, (120, 120, 125))
    pen.bar((-0.3, 0.5 - radius), (-0.02, 0.22), 0.07, (90, 90, 95))
    pen.polygon([(-0.2, 0.08), (0.1, -0.02), (0.16, 0.34), (-0.12, 0.34)], (78, 78, 84))
    pen.polygon([(-0.5, -0.2), (-0.16, -0.06), (-0.1, 0.1), (-0.28, 0.04)], paint)
    pen.polygon([(-0.38, -0.19), (-0.1, -0.1), (-0.12, -0.02), (-0.3, -0.08)], DARK)
    pen.polygon(
        [(-0.14, -0.06), (0.02, -0.16), (0.24, -0.24), (0.4, -0.06), (0.3, 0.06), (0.14, 0.3), (0.0, 0.24)],
        paint,
    )
    pen.polygon([(0.12, -0.22), (0.2, -0.34), (0.32, -0.16)], jitter(GLASS, rng, 12))
    pen.polygon([(0.02, 0.08), (0.2, 0.0), (0.12, 0.18)], shade(paint, 0.6))
    pen.circle(0.33, -0.06, 0.045, LAMP)
    pen.stroke([(-0.06, 0.3), (-0.36, 0.2)], 0.06, STEEL)
