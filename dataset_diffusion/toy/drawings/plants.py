"""Potted plants."""

import math
import random

from dataset_diffusion.toy.draw import PAINT, RGB, Pen, jitter, shade

POTTERY: dict[str, RGB] = {
    "terracotta": (172, 92, 52),
    "clay": (202, 122, 82),
    "glaze": (90, 110, 152),
    "china": (230, 225, 215),
}


def _pot(pen: Pen, rng: random.Random, pottery: RGB) -> None:
    half_width = rng.uniform(0.19, 0.25)
    pen.polygon([(-half_width, 0.1), (half_width, 0.1), (half_width * 0.72, 0.5), (-half_width * 0.72, 0.5)], pottery)
    pen.rounded(-half_width - 0.03, 0.07, half_width + 0.03, 0.17, 0.02, shade(pottery, 0.85))


def _leaf_green(rng: random.Random) -> RGB:
    return jitter((60, 140, 60), rng, 20)


def _leaves(pen: Pen, rng: random.Random, angles: tuple[int, ...], lengths: tuple[float, float]) -> None:
    green = _leaf_green(rng)
    for angle in angles:
        lean = math.radians(angle + rng.uniform(-8, 8))
        length = rng.uniform(*lengths)
        tip = (math.sin(lean) * length, 0.12 - math.cos(lean) * length)
        middle = (tip[0] * 0.55, 0.12 + (tip[1] - 0.12) * 0.6)
        across = (math.cos(lean) * 0.06, math.sin(lean) * 0.06)
        pen.polygon(
            [
                (-0.03, 0.12),
                (middle[0] - across[0], middle[1] - across[1]),
                tip,
                (middle[0] + across[0], middle[1] + across[1]),
                (0.03, 0.12),
            ],
            shade(green, rng.uniform(0.78, 1.12)),
        )


def draw_leafy_plant(pen: Pen, rng: random.Random, pottery: RGB) -> None:
    """A fan of long pointed leaves in a pot."""
    _leaves(pen, rng, (-70, -46, -22, 0, 22, 46, 70), (0.44, 0.62))
    _pot(pen, rng, pottery)


def draw_bushy_plant(pen: Pen, rng: random.Random, pottery: RGB) -> None:
    """A round clipped bush on a short stem in a pot."""
    green = _leaf_green(rng)
    pen.rectangle(-0.04, -0.15, 0.04, 0.12, (102, 72, 42))
    radius = rng.uniform(0.22, 0.27)
    pen.circle(0.0, -0.24, radius, green)
    pen.circle(-radius * 0.6, -0.13, radius * 0.62, shade(green, 0.85))
    pen.circle(radius * 0.6, -0.14, radius * 0.62, shade(green, 0.92))
    pen.circle(radius * 0.1, -0.34, radius * 0.5, shade(green, 1.12))
    _pot(pen, rng, pottery)


def draw_flowering_plant(pen: Pen, rng: random.Random, pottery: RGB) -> None:
    """Three to five large flowers over leaves in a pot."""
    _leaves(pen, rng, (-66, -30, 30, 66), (0.3, 0.42))
    petals = jitter(PAINT[rng.choice(["red", "yellow", "white", "purple", "orange"])], rng)
    for angle in rng.choice([(-34, 0, 34), (-48, -16, 16, 48), (-56, -28, 0, 28, 56)]):
        lean = math.radians(angle + rng.uniform(-4, 4))
        length = rng.uniform(0.46, 0.56)
        x, y = math.sin(lean) * length, 0.1 - math.cos(lean) * length
        pen.bar((0.0, 0.12), (x, y), 0.035, (70, 130, 60))
        for petal in range(5):
            turn = petal * 2 * math.pi / 5
            pen.circle(x + 0.055 * math.cos(turn), y + 0.055 * math.sin(turn), 0.048, petals)
        pen.circle(x, y, 0.04, (112, 76, 40))
    _pot(pen, rng, pottery)
