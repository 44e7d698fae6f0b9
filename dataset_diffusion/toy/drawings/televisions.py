"""Television sets and monitors."""

import random

from dataset_diffusion.toy.draw import DARK, PAINT, RGB, Pen, jitter, shade

CASING: dict[str, RGB] = {"black": (36, 36, 40), "silver": (196, 196, 202), "veneer": (110, 80, 50)}


def _picture(pen: Pen, rng: random.Random, left: float, top: float, right: float, bottom: float) -> None:
    """What is on the screen: nothing, hills under a sun, or stripes."""
    screen = jitter(PAINT[rng.choice(["blue", "green", "black", "purple", "grey"])], rng)
    pen.rounded(left, top, right, bottom, 0.03, screen)
    kind = rng.choice(["nothing", "hills", "hills", "stripes"])
    width, height = right - left, bottom - top
    if kind == "hills":
        pen.circle(left + 0.75 * width, top + 0.3 * height, 0.06, (245, 230, 140))
        pen.polygon(
            [
                (left, bottom),
                (left + 0.35 * width, top + 0.45 * height),
                (left + 0.58 * width, top + 0.8 * height),
                (left + 0.78 * width, top + 0.5 * height),
                (right, bottom),
            ],
            shade(screen, 0.6),
        )
    elif kind == "stripes":
        for index in range(3):
            y = top + (0.2 + 0.25 * index) * height
            pen.rectangle(left + 0.12 * width, y, right - 0.12 * width, y + 0.1 * height, shade(screen, 1.5))
    pen.polygon([(left, top), (left + 0.28 * width, top), (left, top + 0.42 * height)], shade(screen, 1.25))


def draw_flat_screen(pen: Pen, rng: random.Random, casing: RGB) -> None:
    """A wide flat screen on a foot."""
    bottom = rng.uniform(0.24, 0.3)
    pen.rectangle(-0.06, bottom - 0.05, 0.06, 0.4, shade(DARK, 1.4))
    pen.ellipse(0.0, 0.41, 0.23, 0.05, shade(DARK, 1.4))
    pen.rounded(-0.5, -bottom - 0.06, 0.5, bottom, 0.03, casing)
    _picture(pen, rng, -0.44, -bottom, 0.44, bottom - 0.07)


def draw_tube_television(pen: Pen, rng: random.Random, casing: RGB) -> None:
    """An old box of a television with knobs, feet and a V of antennae."""
    for side in (-1, 1):
        pen.bar((0.0, -0.22), (side * rng.uniform(0.16, 0.26), -0.48), 0.035, DARK)
        pen.bar((side * 0.3, 0.36), (side * 0.34, 0.46), 0.07, DARK)
    pen.rounded(-0.46, -0.26, 0.46, 0.4, 0.07, casing)
    _picture(pen, rng, -0.4, -0.19, 0.22, 0.33)
    for y in (-0.1, 0.06):
        pen.circle(0.34, y, 0.05, shade(casing, 0.5))
    pen.rectangle(0.28, 0.18, 0.4, 0.3, shade(casing, 0.7))
