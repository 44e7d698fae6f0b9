"""People."""

import math
import random

from dataset_diffusion.toy.draw import RGB, Pen, jitter, shade, some_paint

_SKIN: tuple[RGB, ...] = ((240, 200, 170), (205, 150, 110), (132, 87, 62), (96, 66, 50))
_HAIR: tuple[RGB, ...] = ((42, 32, 27), (110, 70, 35), (216, 182, 102), (152, 62, 32), (190, 190, 192))


def _head(pen: Pen, rng: random.Random, skin: RGB) -> None:
    hair = jitter(rng.choice(_HAIR), rng, 10)
    style = rng.choice(["short", "long", "bun", "cap"])
    if style == "long":
        pen.rounded(-0.135, -0.46, 0.135, -0.2, 0.06, hair)
    if style == "bun":
        pen.circle(0.0, -0.5, 0.05, hair)
    pen.rectangle(-0.04, -0.3, 0.04, -0.2, skin)
    pen.circle(0.0, -0.37, 0.11, skin)
    if style == "cap":
        hat = some_paint(rng)
        pen.ellipse(0.0, -0.43, 0.118, 0.065, hat)
        pen.rounded(0.0, -0.44, 0.17, -0.405, 0.015, hat)
    else:
        pen.ellipse(0.0, -0.44, 0.118, 0.062, hair)
    for side in (-1, 1):
        pen.circle(side * 0.04, -0.365, 0.015, (30, 26, 26))


def _arms(pen: Pen, rng: random.Random, sleeve: RGB, skin: RGB) -> None:
    raised = rng.random() < 0.25
    for side in (-1, 1):
        if raised and side > 0:
            elbow, hand = (0.26, -0.24), (0.28, -0.42)
        else:
            swing = rng.uniform(0.1, 0.9)
            elbow = (side * (0.13 + 0.1 * math.sin(swing)), -0.18 + 0.14 * math.cos(swing))
            hand = (elbow[0] + side * rng.uniform(-0.06, 0.08), elbow[1] + rng.uniform(0.1, 0.14))
        pen.stroke([(side * 0.12, -0.18), elbow, hand], 0.075, sleeve)
        pen.circle(*hand, 0.045, skin)


def _shoes(pen: Pen, stride: float, leg: float) -> None:
    for side in (-1, 1):
        x = side * (leg + stride)
        pen.rounded(x - 0.06, 0.44, x + 0.085, 0.5, 0.03, (40, 35, 35))


def draw_person_in_trousers(pen: Pen, rng: random.Random, shirt: RGB) -> None:
    """A person in a shirt and trousers."""
    skin = jitter(rng.choice(_SKIN), rng, 8)
    trousers = some_paint(rng)
    stride = rng.uniform(0.0, 0.1)
    for side, tone in ((-1, 0.82), (1, 1.0)):
        pen.bar((side * 0.06, 0.04), (side * (0.06 + stride), 0.48), 0.125, shade(trousers, tone), end_width=0.1)
    _shoes(pen, stride, 0.06)
    _arms(pen, rng, shade(shirt, 0.78), skin)
    pen.polygon([(-0.15, -0.23), (0.15, -0.23), (0.135, 0.1), (-0.135, 0.1)], shirt)
    pen.rectangle(-0.135, 0.07, 0.135, 0.11, (60, 45, 38))
    _head(pen, rng, skin)


def draw_person_in_dress(pen: Pen, rng: random.Random, dress: RGB) -> None:
    """A person in a dress that widens towards the knees."""
    skin = jitter(rng.choice(_SKIN), rng, 8)
    stride = rng.uniform(0.0, 0.06)
    for side in (-1, 1):
        pen.bar((side * 0.06, 0.2), (side * (0.06 + stride), 0.48), 0.085, skin)
    _shoes(pen, stride, 0.06)
    hem = rng.uniform(0.2, 0.26)
    _arms(pen, rng, skin if rng.random() < 0.5 else shade(dress, 0.8), skin)
    pen.polygon([(-0.14, -0.23), (0.14, -0.23), (0.1, -0.02), (hem, 0.3), (-hem, 0.3), (-0.1, -0.02)], dress)
    pen.rectangle(-0.105, -0.03, 0.105, 0.01, shade(dress, 0.65))
    _head(pen, rng, skin)
