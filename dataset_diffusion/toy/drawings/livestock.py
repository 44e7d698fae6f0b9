"""Cows, horses and sheep."""

import math
import random

from dataset_diffusion.toy.draw import CREAM, DARK, RGB, Pen, Point, jitter, shade
from dataset_diffusion.toy.drawings.parts import draw_eye, draw_legs


def _draw_cow(pen: Pen, rng: random.Random, fur: RGB, head: Point) -> None:
    dark = shade(fur, 0.7)
    step = rng.uniform(-0.03, 0.03)
    top = rng.uniform(-0.2, -0.15)
    bottom = top + 0.38
    pen.stroke([(-0.36, top + 0.06), (-0.42, top + 0.32)], 0.045, dark)
    pen.circle(-0.42, top + 0.34, 0.045, DARK)
    draw_legs(
        pen,
        fur,
        ((-0.2, -0.2 - step), (0.12, 0.12 + step), (-0.3, -0.31 + step), (0.22, 0.23 - step)),
        bottom - 0.06,
        0.1,
    )
    pen.ellipse(-0.1, bottom, 0.085, 0.06, (226, 166, 156))
    pen.rounded(-0.39, top, 0.31, bottom, 0.12, fur)
    # White patches on dark cows, dark ones on white cows: the fur's own colour keeps most of the body.
    patch = jitter(CREAM if sum(fur) < 520 else (58, 50, 46), rng, 8)
    for x in rng.sample((-0.27, -0.12, 0.04, 0.17), rng.randint(2, 3)):
        pen.ellipse(x, top + rng.uniform(0.1, 0.24), rng.uniform(0.06, 0.09), rng.uniform(0.06, 0.09), patch)
    head_x, head_y = head
    pen.bar((0.22, top + 0.14), (head_x, head_y), 0.2, fur)
    for side in (-1, 1):
        pen.polygon(
            [
                (head_x + side * 0.05 - 0.03, head_y - 0.08),
                (head_x + side * 0.13, head_y - 0.22),
                (head_x + side * 0.05 + 0.04, head_y - 0.08),
            ],
            (236, 226, 196),
        )
        pen.ellipse(head_x + side * 0.14, head_y - 0.05, 0.07, 0.035, dark)
    pen.rounded(head_x - 0.11, head_y - 0.12, head_x + 0.11, head_y + 0.16, 0.09, fur)
    pen.ellipse(head_x + 0.02, head_y + 0.14, 0.12, 0.08, (228, 170, 158))
    for side in (-1, 1):
        draw_eye(pen, head_x + side * 0.055, head_y - 0.02, 0.025)
        pen.circle(head_x + 0.02 + side * 0.045, head_y + 0.14, 0.018, (120, 70, 66))


def draw_standing_cow(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """A heavy cow with horns, patches and a pink muzzle, its head up."""
    _draw_cow(pen, rng, fur, head=(0.37, rng.uniform(-0.2, -0.14)))


def draw_grazing_cow(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """The same cow with its head lowered."""
    _draw_cow(pen, rng, fur, head=(0.4, rng.uniform(0.1, 0.2)))


def _draw_horse(pen: Pen, rng: random.Random, fur: RGB, feet: tuple[tuple[Point, Point, Point], ...]) -> None:
    """A horse from the side; `feet` are the hip, knee and hoof of each leg, the far legs first."""
    mane = shade(fur, 0.5) if sum(fur) > 200 else (96, 90, 86)
    pen.stroke([(-0.28, -0.08), (-0.4, 0.0), (-0.43, rng.uniform(0.2, 0.28))], 0.095, mane)
    for index, (hip, knee, hoof) in enumerate(feet):
        tone = shade(fur, 0.68 if index < 2 else 0.88)
        pen.bar(hip, knee, 0.115, tone, end_width=0.08)
        pen.stroke([knee, hoof], 0.07, tone)
        pen.circle(hoof[0] + 0.01, hoof[1] - 0.01, 0.045, (44, 38, 36))
    pen.rounded(-0.33, -0.13, 0.26, 0.14, 0.125, fur)
    head_x, head_y = rng.uniform(0.28, 0.33), rng.uniform(-0.4, -0.36)
    pen.polygon([(0.06, -0.1), (head_x - 0.12, head_y - 0.06), (head_x - 0.03, head_y - 0.1), (0.13, -0.04)], mane)
    pen.polygon([(0.06, -0.08), (head_x - 0.08, head_y - 0.04), (head_x + 0.07, head_y + 0.06), (0.27, 0.04)], fur)
    pen.polygon(
        [(head_x - 0.07, head_y - 0.07), (head_x - 0.06, head_y - 0.17), (head_x + 0.02, head_y - 0.08)],
        shade(fur, 0.75),
    )
    pen.polygon(
        [
            (head_x - 0.09, head_y - 0.06),
            (head_x + 0.02, head_y - 0.1),
            (head_x + 0.2, head_y + 0.1),
            (head_x + 0.17, head_y + 0.17),
            (head_x + 0.1, head_y + 0.17),
            (head_x - 0.02, head_y + 0.09),
        ],
        fur,
    )
    pen.circle(head_x + 0.15, head_y + 0.13, 0.055, shade(fur, 0.7))
    draw_eye(pen, head_x + 0.03, head_y - 0.01, 0.024)


def draw_standing_horse(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """A horse with a long neck on long straight legs."""
    step = rng.uniform(-0.05, 0.05)
    hips = ((-0.18, -step), (0.12, step), (-0.26, step), (0.2, -step))
    _draw_horse(pen, rng, fur, tuple(((x, 0.05), (x + move * 0.6, 0.27), (x + move, 0.48)) for x, move in hips))


def draw_galloping_horse(pen: Pen, rng: random.Random, fur: RGB) -> None:
    """A horse with its forelegs thrown forward and its hind legs back."""
    reach = rng.uniform(0.0, 0.05)
    _draw_horse(
        pen,
        rng,
        fur,
        (
            ((-0.2, 0.05), (-0.26, 0.22), (-0.4 - reach, 0.36)),
            ((0.14, 0.05), (0.28, 0.18), (0.26 + reach, 0.38)),
            ((-0.26, 0.05), (-0.24, 0.26), (-0.3 - reach, 0.48)),
            ((0.2, 0.05), (0.34, 0.14), (0.44 + reach, 0.32)),
        ),
    )


def _draw_sheep(pen: Pen, rng: random.Random, wool: RGB, head: Point) -> None:
    face = (64, 56, 54) if sum(wool) > 250 else (118, 104, 96)
    for x in (-0.2, -0.1, 0.08, 0.18):
        pen.bar((x, 0.2), (x + rng.uniform(-0.02, 0.02), 0.5), 0.08, face)
    puffs = rng.randint(8, 10)
    for index in range(puffs):
        turn = index * 2 * math.pi / puffs
        tone = shade(wool, 1.0 - 0.07 * (index % 3))
        pen.circle(-0.03 + 0.27 * math.cos(turn), 0.06 + 0.15 * math.sin(turn), 0.135, tone)
    pen.ellipse(-0.03, 0.06, 0.29, 0.18, wool)
    for x, y in ((-0.18, 0.0), (-0.02, 0.09), (0.1, -0.02)):
        pen.circle(x, y, 0.06, shade(wool, 0.93))
    head_x, head_y = head
    pen.ellipse(head_x - 0.11, head_y - 0.04, 0.075, 0.04, shade(face, 0.85))
    pen.ellipse(head_x, head_y + 0.02, 0.12, 0.135, face)
    pen.ellipse(head_x + 0.06, head_y + 0.09, 0.075, 0.06, shade(face, 1.25))
    for x, y in ((-0.07, -0.09), (0.0, -0.11), (0.06, -0.08)):
        pen.circle(head_x + x, head_y + y, 0.06, wool)
    draw_eye(pen, head_x + 0.03, head_y, 0.025)


def draw_standing_sheep(pen: Pen, rng: random.Random, wool: RGB) -> None:
    """A cloud of wool with a dark face and dark legs."""
    _draw_sheep(pen, rng, wool, head=(rng.uniform(0.32, 0.36), rng.uniform(-0.12, -0.06)))


def draw_grazing_sheep(pen: Pen, rng: random.Random, wool: RGB) -> None:
    """The same sheep with its head lowered."""
    _draw_sheep(pen, rng, wool, head=(rng.uniform(0.35, 0.38), rng.uniform(0.16, 0.24)))
