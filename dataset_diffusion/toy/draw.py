"""What every drawing is made of: named colours, and a pen that collects filled polygons."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]
Point = tuple[float, float]

PAINT: dict[str, RGB] = {
    "red": (200, 40, 40),
    "blue": (50, 80, 200),
    "yellow": (232, 202, 50),
    "green": (50, 150, 60),
    "white": (236, 236, 234),
    "black": (48, 48, 53),
    "orange": (236, 130, 40),
    "purple": (130, 60, 160),
    "grey": (140, 140, 145),
    "brown": (130, 85, 45),
}
"""Colours of things that are painted or dyed, by the word a caption uses for them."""

FUR: dict[str, RGB] = {
    "white": (232, 228, 220),
    "black": (48, 45, 45),
    "brown": (125, 80, 45),
    "grey": (140, 138, 138),
    "orange": (217, 140, 60),
}
"""Colours of fur, by the same words."""

DARK: RGB = (36, 36, 40)
STEEL: RGB = (150, 150, 156)
CREAM: RGB = (238, 234, 222)
LAMP: RGB = (252, 226, 130)
GLASS: RGB = (172, 207, 226)

_ANGLES = np.linspace(0.0, 2.0 * math.pi, 28, endpoint=False)
_UNIT_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def shade(colour: RGB, factor: float) -> RGB:
    """The colour made darker (factor below 1) or lighter (above 1), within 0..255."""
    red, green, blue = (min(255, max(0, int(channel * factor))) for channel in colour)
    return red, green, blue


def jitter(colour: RGB, rng: random.Random, amount: int = 14) -> RGB:
    """The colour with each channel moved by at most `amount`."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-amount, amount))) for channel in colour)
    return red, green, blue


def some_paint(rng: random.Random) -> RGB:
    """Any paint, for parts that no caption mentions."""
    return jitter(rng.choice(list(PAINT.values())), rng)


class Pen:
    """Collects the filled polygons of one object, in painter's order.

    Coordinates are those of the drawing: x to the right, y downwards. The object faces right and spans
    about -0.5..0.5 in at least one direction; it is placed in the scene by its outermost corners.

    Attributes:
        shapes: (corners [n, 2] float64, colour) pairs, the first drawn first.
        airborne: whether the object flies, so that it stands on nothing and casts no contact shadow.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[NDArray[np.float64], RGB]] = []
        self.airborne = False

    def polygon(self, corners: Sequence[Point] | NDArray[np.float64], colour: RGB) -> None:
        """Fill the polygon with these corners."""
        self.shapes.append((np.asarray(corners, dtype=np.float64), colour))

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def rounded(self, left: float, top: float, right: float, bottom: float, radius: float, colour: RGB) -> None:
        """Fill an upright rectangle whose corners are quarter circles of this radius."""
        radius = min(radius, (right - left) / 2, (bottom - top) / 2)
        # The unit circle, each quarter of it pushed out to its own corner of the rectangle.
        corners = _UNIT_CIRCLE * radius
        middle = np.array([(left + right) / 2, (top + bottom) / 2])
        reach = np.array([(right - left) / 2 - radius, (bottom - top) / 2 - radius])
        direction = np.where(_UNIT_CIRCLE >= -1e-9, 1.0, -1.0)
        self.polygon(corners + middle + direction * reach, colour)

    def ellipse(self, centre_x: float, centre_y: float, radius_x: float, radius_y: float, colour: RGB) -> None:
        """Fill an upright ellipse."""
        self.polygon(_UNIT_CIRCLE * (radius_x, radius_y) + (centre_x, centre_y), colour)

    def circle(self, centre_x: float, centre_y: float, radius: float, colour: RGB) -> None:
        """Fill a circle."""
        self.ellipse(centre_x, centre_y, radius, radius, colour)

    def bar(self, start: Point, end: Point, width: float, colour: RGB, end_width: float | None = None) -> None:
        """Fill a straight bar, which tapers to `end_width` if that is given."""
        if end_width is None:
            end_width = width
        length = math.hypot(end[0] - start[0], end[1] - start[1]) or 1.0
        across_x, across_y = -(end[1] - start[1]) / length / 2, (end[0] - start[0]) / length / 2
        self.polygon(
            [
                (start[0] + across_x * width, start[1] + across_y * width),
                (end[0] + across_x * end_width, end[1] + across_y * end_width),
                (end[0] - across_x * end_width, end[1] - across_y * end_width),
                (start[0] - across_x * width, start[1] - across_y * width),
            ],
            colour,
        )

    def stroke(self, points: Sequence[Point], width: float, colour: RGB) -> None:
        """Fill a bent bar through these points, with round joints and ends."""
        for start, end in pairwise(points):
            self.bar(start, end, width, colour)
        for x, y in points:
            self.circle(x, y, width / 2, colour)
