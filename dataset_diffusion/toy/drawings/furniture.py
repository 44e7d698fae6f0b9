"""Chairs, dining tables and sofas."""

import random

from dataset_diffusion.toy.draw import RGB, Pen, jitter, shade, some_paint

WOOD: dict[str, RGB] = {"oak": (156, 106, 60), "walnut": (110, 70, 40), "pine": (194, 148, 92)}


def _seat_and_legs(pen: Pen, half_width: float, seat: float, paint: RGB) -> None:
    for side in (-1, 1):
        pen.bar((side * half_width * 0.5, seat), (side * half_width * 0.52, 0.4), 0.065, shade(paint, 0.5))
        pen.bar((side * (half_width - 0.03), seat), (side * half_width, 0.5), 0.085, shade(paint, 0.72))
    pen.rounded(-half_width - 0.04, seat - 0.06, half_width + 0.04, seat + 0.06, 0.03, shade(paint, 0.88))


def draw_slatted_chair(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A wooden chair with upright slats in its back."""
    half_width = rng.uniform(0.22, 0.27)
    seat, top = rng.uniform(0.03, 0.1), rng.uniform(-0.5, -0.42)
    for index in range(4):
        x = (half_width - 0.035) * (index * 2 / 3 - 1)
        pen.bar((x, top + 0.03), (x, seat), 0.07, paint)
    pen.rounded(-half_width, top, half_width, top + 0.12, 0.04, paint)
    _seat_and_legs(pen, half_width, seat, paint)


def draw_solid_chair(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A chair with a closed, padded back."""
    half_width = rng.uniform(0.21, 0.26)
    seat, top = rng.uniform(0.03, 0.1), rng.uniform(-0.5, -0.4)
    for side in (-1, 1):
        pen.bar((side * half_width * 0.7, seat - 0.12), (side * half_width * 0.7, seat), 0.06, shade(paint, 0.6))
    pen.rounded(-half_width, top, half_width, seat - 0.08, 0.06, paint)
    pen.rounded(-half_width * 0.72, top + 0.07, half_width * 0.72, seat - 0.15, 0.04, shade(paint, 1.12))
    _seat_and_legs(pen, half_width, seat, paint)


def draw_side_chair(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A kitchen chair seen from its side: an upright back behind a seat on splayed legs."""
    seat, top = rng.uniform(0.02, 0.08), rng.uniform(-0.5, -0.42)
    lean = rng.uniform(0.02, 0.07)
    pen.bar((-0.1, seat), (-0.18, 0.46), 0.07, shade(paint, 0.5))
    pen.bar((0.12, seat), (0.16, 0.46), 0.07, shade(paint, 0.5))
    pen.bar((-0.2, seat), (-0.27, 0.5), 0.085, shade(paint, 0.72))
    pen.bar((0.22, seat), (0.27, 0.5), 0.085, shade(paint, 0.72))
    pen.bar((-0.22, seat + 0.03), (-0.25 - lean, top), 0.11, paint, end_width=0.13)
    pen.rounded(-0.3, seat - 0.06, 0.3, seat + 0.06, 0.04, shade(paint, 0.9))


def _lay_table(pen: Pen, rng: random.Random, top: float) -> None:
    for x in (-0.24, 0.2):
        if rng.random() < 0.8:
            pen.ellipse(x, top + 0.005, 0.1, 0.042, (242, 242, 240))
            pen.ellipse(x, top + 0.005, 0.055, 0.022, (212, 214, 218))
    if rng.random() < 0.5:
        pen.circle(-0.05, top - 0.06, 0.05, (206, 60, 50))
        pen.circle(0.04, top - 0.06, 0.05, (235, 150, 50))
        pen.polygon(
            [(-0.12, top - 0.05), (0.11, top - 0.05), (0.06, top + 0.03), (-0.07, top + 0.03)],
            jitter((92, 120, 170), rng),
        )


def draw_rectangular_table(pen: Pen, rng: random.Random, wood: RGB) -> None:
    """A long table on four legs, its top seen from slightly above."""
    top = rng.uniform(-0.1, 0.0)
    for x in (-0.26, 0.2):
        pen.rectangle(x, top + 0.02, x + 0.06, 0.34, shade(wood, 0.45))
    for x in (-0.46, 0.37):
        pen.rectangle(x, top + 0.06, x + 0.09, 0.46, shade(wood, 0.62))
    pen.rectangle(-0.46, top + 0.08, 0.46, top + 0.17, shade(wood, 0.7))
    pen.polygon([(-0.38, top - 0.09), (0.38, top - 0.09), (0.5, top + 0.09), (-0.5, top + 0.09)], wood)
    if rng.random() < 0.35:
        pen.polygon(
            [(-0.12, top - 0.09), (0.12, top - 0.09), (0.16, top + 0.16), (-0.16, top + 0.16)],
            jitter((226, 222, 210), rng),
        )
    _lay_table(pen, rng, top - 0.01)


def draw_round_table(pen: Pen, rng: random.Random, wood: RGB) -> None:
    """A round table on one foot."""
    top = rng.uniform(-0.1, 0.02)
    pen.rectangle(-0.065, top, 0.065, 0.42, shade(wood, 0.6))
    pen.ellipse(0.0, 0.42, 0.26, 0.065, shade(wood, 0.6))
    pen.ellipse(0.0, top + 0.05, 0.5, 0.13, shade(wood, 0.72))
    pen.ellipse(0.0, top, 0.5, 0.13, wood)
    _lay_table(pen, rng, top)


def _draw_sofa(pen: Pen, rng: random.Random, paint: RGB, seats: int) -> None:
    back = rng.uniform(-0.26, -0.17)
    half_width = 0.5 if seats == 3 else 0.44
    inner = half_width - 0.13
    for x in (-half_width + 0.03, half_width - 0.11):
        pen.rectangle(x, 0.3, x + 0.08, 0.4, (62, 46, 32))
    pen.rounded(-half_width + 0.06, back, half_width - 0.06, 0.22, 0.07, shade(paint, 0.84))
    pitch = 2 * inner / seats
    for index in range(seats):
        left = -inner + index * pitch
        pen.rounded(left + 0.01, back + 0.06, left + pitch - 0.01, 0.06, 0.04, shade(paint, 0.94))
        pen.rounded(left + 0.005, 0.03, left + pitch - 0.005, 0.17, 0.04, shade(paint, 1.08))
    pen.rectangle(-half_width + 0.05, 0.16, half_width - 0.05, 0.33, shade(paint, 0.68))
    for left in (-half_width, half_width - 0.15):
        pen.rounded(left, -0.07, left + 0.15, 0.33, 0.07, paint)
    if rng.random() < 0.5:
        x = rng.uniform(-inner + 0.1, inner - 0.1)
        pen.polygon([(x - 0.09, -0.02), (x + 0.06, -0.07), (x + 0.1, 0.08), (x - 0.05, 0.12)], some_paint(rng))


def draw_two_seater(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A sofa with two seat cushions."""
    _draw_sofa(pen, rng, paint, seats=2)


def draw_three_seater(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A sofa with three seat cushions."""
    _draw_sofa(pen, rng, paint, seats=3)
