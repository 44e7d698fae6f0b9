"""Cats and dogs."""

import random

from dataset_diffusion.toy.draw import RGB, Pen, Point, shade
from dataset_diffusion.toy.drawings.parts import draw_eye, draw_legs

_BLACK: RGB = (20, 20, 20)


def _cat_head(pen: Pen, fur: RGB, x: float, y: float, radius: float) -> None:
    """A round face seen from the front, with pointed ears, green eyes and a pink nose."""
    for side in (-1, 1):
        base, tip, inner = (0.98, -0.15), (0.8, -1.5), (0.08, -0.8)
        for scale, colour in ((1.0, shade(fur, 0.75)), (0.55, (214, 150, 150))):
            pen.polygon(
                [
                    (x + side * radius * (0.6 + (dx - 0.6) * scale), y + radius * (-0.8 + (dy + 0.8) * scale))
                    for dx, dy in (base, tip, inner)
                ],
                colour,
            )
    pen.ellipse(x, y, radius * 1.06, radius, fur)
    pen.ellipse(x, y + radius * 0.42, radius * 0.5, radius * 0.34, shade(fur, 1.2))
    for side in (-1, 1):
        pen.ellipse(x + side * radius * 0.4, y - radius * 0.1, radius * 0.17, radius * 0.22, (104, 186, 84))
        pen.ellipse(x + side * radius * 0.4, y - radius * 0.1, radius * 0.07, radius * 0.2, _BLACK)
    pen.polygon(
        [
            (x - radius * 0.17, y + radius * 0.24),
            (x + radius * 0.17, y + radius * 0.24),
            (x, y + radius * 0.46),
        ],
        (206, 106, 118),
    )


def draw_sitting_cat(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """A cat sitting upright, seen from the front, its tail next to it."""
    dark = shade(fur, 0.75)
    tail = rng.uniform(0.3, 0.4)
    pen.stroke([(0.12, 0.44), (tail, 0.36), (tail + 0.05, rng.uniform(-0.02, 0.14))], 0.09, dark)
    pen.ellipse(0.0, 0.2, rng.uniform(0.23, 0.27), 0.3, fur)
    pen.ellipse(0.0, 0.16, 0.11, 0.16, shade(fur, 1.15))
    for x in (-0.09, 0.09):
        pen.bar((x, 0.2), (x, 0.48), 0.1, shade(fur, 0.86))
        pen.ellipse(x, 0.47, 0.08, 0.035, shade(fur, 0.95))
    _cat_head(pen, fur, rng.uniform(-0.05, 0.05), -0.2, rng.uniform(0.19, 0.215))


def draw_walking_cat(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """A long low cat on four legs, its tail up."""
    step = rng.uniform(-0.04, 0.05)
    curl = rng.uniform(0.02, 0.12)
    pen.stroke([(-0.24, 0.14), (-0.4, 0.02), (-0.43, -0.16), (-0.43 + curl, -0.28)], 0.075, shade(fur, 0.75))
    draw_legs(
        pen,
        fur,
        ((-0.16, -0.14 - step), (0.14, 0.12 + step), (-0.25, -0.26 + step), (0.22, 0.24 - step)),
        0.2,
        0.085,
    )
    pen.rounded(-0.33, 0.04, 0.3, 0.3, 0.13, fur)
    if rng.random() < 0.5:
        for x in (-0.2, -0.08, 0.04):
            pen.bar((x, 0.05), (x - 0.02, 0.17), 0.04, shade(fur, 0.7))
    _cat_head(pen, fur, 0.3, -0.03, rng.uniform(0.155, 0.175))


def _draw_dog(pen: Pen, rng: random.Random, fur: RGB, leg: float, depth: float, ear: tuple[Point, ...]) -> None:
    """A dog from the side; `leg` and `depth` are the lengths of its legs and the height of its body."""
    dark = shade(fur, 0.62)
    step = rng.uniform(-0.05, 0.05)
    top = 0.5 - leg - depth
    pen.stroke([(-0.26, top + 0.06), (-0.36, top - 0.08), (-0.38, top - rng.uniform(0.18, 0.26))], 0.07, fur)
    draw_legs(
        pen,
        fur,
        ((-0.16, -0.14 - step), (0.16, 0.14 + step), (-0.25, -0.27 + step), (0.24, 0.25 - step)),
        0.5 - leg - 0.05,
        0.1,
    )
    pen.rounded(-0.32, top, 0.3, top + depth, depth * 0.45, fur)
    pen.bar((0.18, top + depth * 0.45), (0.3, top - 0.1), 0.2, fur, end_width=0.17)
    head_x, head_y = 0.3, top - 0.13
    pen.circle(head_x, head_y, 0.125, fur)
    pen.rounded(head_x + 0.02, head_y - 0.04, head_x + 0.23, head_y + 0.1, 0.06, shade(fur, 1.1))
    pen.circle(head_x + 0.21, head_y - 0.01, 0.035, _BLACK)
    pen.bar((head_x - 0.09, head_y + 0.13), (head_x + 0.06, head_y + 0.15), 0.045, (204, 58, 54))
    pen.polygon([(head_x + dx, head_y + dy) for dx, dy in ear], dark)
    draw_eye(pen, head_x + 0.06, head_y - 0.045, 0.026)


def draw_hound(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """A dog with long hanging ears and short legs."""
    ear = ((-0.1, -0.1), (0.0, -0.1), (-0.02, 0.1), (-0.1, 0.17), (-0.15, 0.08))
    _draw_dog(pen, rng, fur, leg=rng.uniform(0.17, 0.21), depth=rng.uniform(0.27, 0.3), ear=ear)
    if rng.random() < 0.4:
        pen.ellipse(-0.1, 0.1, 0.12, 0.09, shade(fur, 0.62))


def draw_terrier(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """A dog with small folded ears and long legs."""
    ear = ((-0.1, -0.06), (-0.06, -0.17), (0.03, -0.12), (-0.02, 0.03))
    _draw_dog(pen, rng, fur, leg=rng.uniform(0.25, 0.29), depth=rng.uniform(0.23, 0.26), ear=ear)
