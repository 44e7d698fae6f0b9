"""Cars and buses."""

import random

from dataset_diffusion.toy.draw import CREAM, GLASS, LAMP, RGB, Pen, jitter, shade
from dataset_diffusion.toy.drawings.parts import draw_wheel


def _car_lights_and_wheels(pen: Pen, radius: float) -> None:
    pen.rectangle(0.44, 0.04, 0.5, 0.1, LAMP)
    pen.rectangle(-0.5, 0.04, -0.45, 0.09, (190, 40, 40))
    pen.rectangle(-0.5, 0.19, 0.5, 0.23, (70, 70, 74))
    for x in (-0.28, 0.28):
        draw_wheel(pen, x, 0.22, radius)


def draw_sedan(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A car with a bonnet, a cabin and a boot."""
    back, front = rng.uniform(-0.34, -0.27), rng.uniform(0.16, 0.27)
    roof = rng.uniform(-0.27, -0.21)
    glass = jitter(GLASS, rng, 12)
    pen.polygon(
        [(back - 0.08, 0.02), (back + 0.04, roof), (front - 0.04, roof), (front + 0.14, 0.02)],
        shade(paint, 0.8),
    )
    pen.polygon([(back, -0.01), (back + 0.07, roof + 0.04), (-0.04, roof + 0.04), (-0.04, -0.01)], glass)
    pen.polygon([(0.0, -0.01), (0.0, roof + 0.04), (front - 0.06, roof + 0.04), (front + 0.06, -0.01)], glass)
    pen.rounded(-0.5, -0.02, 0.5, 0.22, 0.06, paint)
    pen.rectangle(-0.1, 0.05, -0.03, 0.075, shade(paint, 0.55))
    _car_lights_and_wheels(pen, rng.uniform(0.115, 0.135))


def draw_hatchback(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A short, round car whose roof falls straight to the rear bumper."""
    roof = rng.uniform(-0.31, -0.26)
    glass = jitter(GLASS, rng, 12)
    pen.polygon(
        [(-0.46, 0.05), (-0.43, -0.1), (-0.32, roof), (0.05, roof - 0.01), (0.16, roof + 0.04), (0.34, 0.05)],
        paint,
    )
    pen.polygon([(-0.38, -0.03), (-0.29, roof + 0.05), (-0.1, roof + 0.05), (-0.1, -0.03)], glass)
    pen.polygon([(-0.05, -0.03), (-0.05, roof + 0.05), (0.1, roof + 0.06), (0.25, -0.03)], glass)
    pen.rounded(-0.47, -0.02, 0.48, 0.22, 0.08, paint)
    pen.rectangle(-0.12, 0.05, -0.05, 0.075, shade(paint, 0.55))
    _car_lights_and_wheels(pen, rng.uniform(0.125, 0.145))


def draw_van(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A small delivery van: a closed box behind a short slanted front."""
    roof = rng.uniform(-0.34, -0.29)
    pen.polygon([(-0.5, roof), (0.16, roof), (0.36, -0.04), (0.5, 0.02), (0.5, 0.22), (-0.5, 0.22)], paint)
    pen.polygon([(0.0, -0.04), (0.0, roof + 0.05), (0.13, roof + 0.05), (0.28, -0.04)], jitter(GLASS, rng, 12))
    pen.rectangle(-0.5, 0.05, -0.02, 0.1, rng.choice([CREAM, shade(paint, 0.6)]))
    pen.rectangle(-0.03, roof + 0.03, -0.015, 0.2, shade(paint, 0.6))
    _car_lights_and_wheels(pen, rng.uniform(0.115, 0.135))


def _window_row(pen: Pen, rng: random.Random, top: float, bottom: float, count: int) -> None:
    glass = jitter(GLASS, rng, 12)
    pitch = 0.92 / count
    for index in range(count):
        left = -0.46 + index * pitch
        pen.rounded(left, top, left + pitch * 0.82, bottom, 0.02, glass)


def _bus_underside(pen: Pen, bottom: float, radius: float) -> None:
    pen.rectangle(0.44, bottom - 0.15, 0.5, bottom - 0.08, LAMP)
    for x in (-0.3, 0.3):
        draw_wheel(pen, x, bottom, radius)


def draw_single_decker(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A bus with one row of large windows."""
    top = -rng.uniform(0.28, 0.35)
    pen.rounded(-0.5, top, 0.5, 0.27, 0.05, paint)
    stripe = rng.choice([shade(paint, 0.65), CREAM])
    pen.rectangle(-0.5, 0.04, 0.5, 0.1, stripe)
    _window_row(pen, rng, top + 0.07, 0.0, rng.randint(3, 5))
    if rng.random() < 0.5:
        pen.rectangle(0.1, -0.04, 0.22, 0.25, shade(paint, 0.55))
    _bus_underside(pen, 0.27, rng.uniform(0.1, 0.115))


def draw_double_decker(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A bus with two rows of windows, nearly as high as it is long."""
    pen.rounded(-0.46, -0.46, 0.46, 0.36, 0.06, paint)
    count = rng.randint(3, 5)
    _window_row(pen, rng, -0.39, -0.18, count)
    pen.rectangle(-0.46, -0.13, 0.46, -0.07, rng.choice([CREAM, shade(paint, 0.65)]))
    _window_row(pen, rng, -0.02, 0.16, count)
    pen.rectangle(0.4, 0.22, 0.47, 0.29, LAMP)
    for x in (-0.27, 0.27):
        draw_wheel(pen, x, 0.38, 0.11)
