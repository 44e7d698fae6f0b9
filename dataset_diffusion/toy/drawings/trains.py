"""Trains."""

import random

from dataset_diffusion.toy.draw import CREAM, DARK, GLASS, LAMP, RGB, STEEL, Pen, jitter, shade


def _rail(pen: Pen) -> None:
    pen.rectangle(-0.52, 0.36, 0.52, 0.4, (112, 102, 96))


def draw_steam_train(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """A steam locomotive: cab, round boiler, chimney, dome and cow-catcher."""
    dark = shade(paint, 0.65)
    pen.rectangle(-0.48, -0.36, -0.18, 0.24, paint)
    pen.rounded(-0.42, -0.28, -0.24, -0.08, 0.03, jitter(GLASS, rng, 10))
    pen.rounded(-0.53, -0.43, -0.13, -0.35, 0.03, dark)
    chimney = rng.uniform(0.2, 0.25)
    pen.polygon(
        [(chimney - 0.07, -0.42), (chimney + 0.11, -0.42), (chimney + 0.07, -0.1), (chimney - 0.03, -0.1)],
        (50, 50, 54),
    )
    pen.circle(0.02, -0.15, 0.08, (206, 166, 66))
    pen.rounded(-0.22, -0.15, 0.4, 0.2, 0.1, paint)
    for x in (-0.08, 0.1, 0.28):
        pen.rectangle(x, -0.15, x + 0.03, 0.2, dark)
    pen.circle(0.4, 0.0, 0.06, LAMP)
    pen.rectangle(-0.48, 0.16, 0.42, 0.26, (64, 60, 62))
    pen.polygon([(0.38, 0.14), (0.54, 0.36), (0.36, 0.36)], dark)
    for x in (-0.36, -0.14, 0.08, 0.28):
        pen.circle(x, 0.27, 0.095, (40, 40, 42))
        pen.circle(x, 0.27, 0.05, (190, 62, 52))
    pen.bar((-0.36, 0.28), (0.28, 0.28), 0.03, STEEL)
    _rail(pen)


def draw_modern_train(pen: Pen, rng: random.Random, paint: RGB) -> None:
    """An electric train: a long low body with a slanted nose, many small wheels and a current collector."""
    roof = -rng.uniform(0.09, 0.14)
    slant = rng.uniform(0.12, 0.2)
    dark = shade(paint, 0.6)
    pen.stroke([(-0.3, roof), (-0.22, roof - 0.1), (-0.12, roof - 0.12)], 0.03, DARK)
    pen.rectangle(-0.3, roof - 0.03, 0.1, roof + 0.02, STEEL)
    pen.polygon([(-0.52, roof), (0.5 - slant, roof), (0.5, 0.06), (0.52, 0.24), (-0.52, 0.24)], paint)
    pen.polygon([(0.47 - slant, roof + 0.04), (0.52 - slant, roof + 0.04), (0.49, 0.04), (0.4, 0.04)], (58, 76, 98))
    pen.rectangle(-0.52, 0.08, 0.505, 0.14, rng.choice([CREAM, LAMP, dark]))
    glass = jitter(GLASS, rng, 12)
    for index in range(5):
        left = -0.48 + index * 0.165 + (0.02 if index > 1 else 0.0)
        if left + 0.12 < 0.45 - slant:
            pen.rectangle(left, roof + 0.06, left + 0.12, 0.03, glass)
    pen.rectangle(-0.175, roof, -0.145, 0.28, DARK)  # the gap between two carriages
    pen.circle(0.47, 0.17, 0.03, LAMP)
    pen.rectangle(-0.5, 0.22, 0.48, 0.28, (64, 62, 66))
    for x in (-0.42, -0.29, -0.13, 0.1, 0.24, 0.38):
        pen.circle(x, 0.295, 0.065, (40, 40, 42))
        pen.circle(x, 0.295, 0.028, STEEL)
    _rail(pen)
