"""Where the objects of a scene go, and how much of each is then visible.

Lengths and places are fractions of the picture's side, x to the right, y downwards.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dataset_diffusion.toy.draw import RGB, Pen

MIN_VISIBLE = 0.42
"""An object shows at least this share of the pixels that it would show alone."""

SUPERSAMPLING = 3
"""Pictures are drawn this many times larger, and then reduced."""

_LONGEST_SIDE = {1: (0.62, 0.95), 2: (0.48, 0.64), 3: (0.38, 0.5)}
_COLUMNS = {1: (0.5,), 2: (0.28, 0.72), 3: (0.2, 0.5, 0.8)}
_COLUMN_SPREAD = {1: 0.1, 2: 0.06, 3: 0.06}
_STRETCH = (0.9, 1.12)
_MAX_TURN = math.radians(7)
_MAX_TURN_IN_THE_AIR = math.radians(16)
_OVERHANG = 0.05
_SHRINK = 0.96


@dataclass(frozen=True)
class Drawn:
    """An object that has not been placed yet."""

    class_id: int
    colour: str
    pen: Pen


@dataclass(frozen=True)
class Placed:
    """An object that has been placed.

    Attributes:
        drawn: the object.
        polygons: (corners [n, 2] float64, colour) pairs, the first drawn first.
        left: smallest x of its corners, and so on for `top`, `right` and `bottom`.
    """

    drawn: Drawn
    polygons: tuple[tuple[NDArray[np.float64], RGB], ...]
    left: float
    top: float
    right: float
    bottom: float


def arrange(
    objects: Sequence[Drawn], size: int, horizon: float, rng: random.Random
) -> tuple[list[Placed], NDArray[np.uint8]]:
    """Finds places where all objects can be seen.

    Args:
        objects: one to three.
        size: side of the reduced picture, in pixels.
        horizon: y of the horizon; objects that do not fly stand below it.
        rng: source of every choice.

    Returns:
        The objects, the rearmost first, and the owner of every pixel [H, W] uint8: 0 for the background, else
        1 + the object's index in that list.
    """
    shrink = 1.0
    while True:
        columns = rng.sample(_COLUMNS[len(objects)], len(objects))
        placed = [
            _place(drawn, column, len(objects), shrink, horizon, rng)
            for drawn, column in zip(objects, columns, strict=True)
        ]
        # An object that stands lower in the picture is nearer to us, and hides those behind it.
        placed.sort(key=lambda item: item.bottom)
        silhouettes = [_silhouette(item, size) for item in placed]
        owners = np.zeros((size, size), dtype=np.uint8)
        for owner, silhouette in enumerate(silhouettes, start=1):
            owners[silhouette] = owner
        if all(
            np.count_nonzero(owners == owner) >= MIN_VISIBLE * np.count_nonzero(silhouette)
            for owner, silhouette in enumerate(silhouettes, start=1)
        ):
            return placed, owners
        # The columns are apart: once the objects are small enough, they no longer hide each other, so this ends.
        shrink *= _SHRINK


def draw_placed(draw: ImageDraw.ImageDraw, item: Placed, side: int, fill: int | None = None) -> None:
    """Draws an object on a picture of this side, in its colours or all in one value."""
    for corners, colour in item.polygons:
        draw.polygon((corners * side).ravel().tolist(), fill=colour if fill is None else fill)


def _place(drawn: Drawn, column: float, count: int, shrink: float, horizon: float, rng: random.Random) -> Placed:
    """Mirrors, stretches and turns a drawing and moves it to its column of the picture."""
    airborne = drawn.pen.airborne
    most = _MAX_TURN_IN_THE_AIR if airborne else _MAX_TURN
    turn = rng.triangular(-most, most)
    stretch = np.diag([rng.choice((-1.0, 1.0)) * rng.uniform(*_STRETCH), rng.uniform(*_STRETCH)])
    matrix = stretch @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    turned = [(corners @ matrix, colour) for corners, colour in drawn.pen.shapes]
    all_corners = np.concatenate([corners for corners, _ in turned])
    low, high = all_corners.min(axis=0), all_corners.max(axis=0)
    scale = rng.uniform(*_LONGEST_SIDE[count]) * shrink / float((high - low).max())
    width, height = (float(extent) * scale for extent in high - low)

    x = column + rng.uniform(-_COLUMN_SPREAD[count], _COLUMN_SPREAD[count])
    nearest_to_edge = width * (0.5 - _OVERHANG)
    x = min(max(x, nearest_to_edge), 1.0 - nearest_to_edge)
    highest = height * (1.0 - _OVERHANG)
    if airborne:
        bottom = rng.uniform(highest, max(height, horizon + 0.15))
    else:
        bottom = rng.uniform(max(highest, horizon + 0.06), 1.0)

    offset = np.array([x - float(low[0] + high[0]) / 2 * scale, bottom - float(high[1]) * scale])
    return Placed(
        drawn,
        tuple((corners * scale + offset, colour) for corners, colour in turned),
        left=x - width / 2,
        top=bottom - height,
        right=x + width / 2,
        bottom=bottom,
    )


def _silhouette(item: Placed, size: int) -> NDArray[np.bool_]:
    """The pixels [H, W] whose centre the object would cover if it were alone."""
    side = size * SUPERSAMPLING
    stencil = Image.new("L", (side, side), 0)
    draw_placed(ImageDraw.Draw(stencil), item, side, fill=1)
    centre = SUPERSAMPLING // 2
    return np.asarray(stencil)[centre::SUPERSAMPLING, centre::SUPERSAMPLING] > 0
