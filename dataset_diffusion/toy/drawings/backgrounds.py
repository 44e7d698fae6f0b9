"""The backgrounds, and the things in them that belong to no class."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dataset_diffusion.toy.draw import RGB, jitter, shade

_DISTRACTOR_CHANCE = 0.35


class _Painter:
    """Draws distractors on a canvas; lengths are fractions of the canvas' side."""

    def __init__(self, canvas: Image.Image, horizon: float, above: RGB, below: RGB, rng: random.Random) -> None:
        self.side = canvas.width
        self.draw = ImageDraw.Draw(canvas)
        self.horizon = horizon
        self.above = above
        self.below = below
        self.rng = rng

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, colour: RGB) -> None:
        box = [
            (x - radius_x) * self.side,
            (y - radius_y) * self.side,
            (x + radius_x) * self.side,
            (y + radius_y) * self.side,
        ]
        self.draw.ellipse(box, fill=colour)

    def polygon(self, corners: list[tuple[float, float]], colour: RGB) -> None:
        self.draw.polygon([(x * self.side, y * self.side) for x, y in corners], fill=colour)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def sun(self) -> None:
        radius = self.rng.uniform(0.035, 0.065)
        self.ellipse(self.rng.uniform(0.1, 0.9), self.rng.uniform(0.08, 0.25), radius, radius, (252, 240, 176))

    def moon(self) -> None:
        x, y, radius = self.rng.uniform(0.1, 0.9), self.rng.uniform(0.08, 0.25), self.rng.uniform(0.04, 0.065)
        self.ellipse(x, y, radius, radius, (244, 238, 196))
        self.ellipse(x + radius * 0.5, y - radius * 0.15, radius * 0.85, radius * 0.85, self.above)

    def clouds(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            x, y = self.rng.uniform(0.0, 1.0), self.rng.uniform(0.06, 0.6) * self.horizon
            radius = self.rng.uniform(0.05, 0.11)
            white = jitter((245, 245, 248), self.rng, 6)
            for shift, rise in ((-0.8, 0.0), (0.8, 0.0), (0.0, 0.25)):
                self.ellipse(x + shift * radius, y - rise * radius, radius, radius * 0.45, white)

    def hill(self) -> None:
        left, height = self.rng.uniform(-0.2, 0.7), self.rng.uniform(0.08, 0.22)
        peak, width = self.rng.uniform(0.2, 0.4), self.rng.uniform(0.5, 0.8)
        colour = shade(self.below, self.rng.uniform(0.65, 0.88))
        self.polygon(
            [
                (left, self.horizon),
                (left + peak * width, self.horizon - height),
                (left + (peak + 0.15) * width, self.horizon - height * 0.85),
                (left + width, self.horizon),
            ],
            colour,
        )

    def trees(self) -> None:
        # Tall and growing out of the ground, so that none is mistaken for a potted plant.
        for _ in range(self.rng.randint(1, 2)):
            x, base = self.rng.uniform(0.03, 0.97), self.horizon + self.rng.uniform(0.01, 0.06)
            height = self.rng.uniform(0.22, 0.34)
            green = shade(jitter((56, 116, 62), self.rng, 12), 0.4 if sum(self.above) < 200 else 1.0)
            self.rectangle(x - 0.012, base - height * 0.5, x + 0.012, base, shade((98, 72, 48), 0.9))
            if self.rng.random() < 0.5:
                for step in range(3):
                    top = base - height + step * height * 0.2
                    half = 0.035 + 0.02 * step
                    self.polygon([(x, top), (x + half, top + height * 0.34), (x - half, top + height * 0.34)], green)
            else:
                self.ellipse(x, base - height * 0.66, 0.06, height * 0.34, green)

    def fence(self) -> None:
        wood = shade(jitter((170, 146, 112), self.rng, 10), 0.45 if sum(self.above) < 200 else 1.0)
        top = self.horizon - 0.05
        for rail in (0.015, 0.055):
            self.rectangle(0.0, top + rail, 1.0, top + rail + 0.012, wood)
        for post in range(10):
            self.rectangle(post * 0.11, top, post * 0.11 + 0.018, top + 0.1, wood)

    def stones(self) -> None:
        for _ in range(self.rng.randint(2, 4)):
            x, y = self.rng.uniform(0.0, 1.0), self.rng.uniform(self.horizon + 0.02, 0.99)
            radius = self.rng.uniform(0.012, 0.03)
            self.ellipse(x, y, radius, radius * 0.6, shade(self.below, self.rng.uniform(0.6, 0.8)))

    def ball(self) -> None:
        x, y = self.rng.uniform(0.05, 0.95), self.rng.uniform(self.horizon + 0.08, 0.95)
        radius = self.rng.uniform(0.025, 0.04)
        self.ellipse(x, y, radius, radius, self.rng.choice([(206, 60, 54), (70, 100, 200), (240, 240, 236)]))
        self.ellipse(x, y, radius, radius * 0.35, (244, 214, 90))

    def cone(self) -> None:
        x, base = self.rng.uniform(0.05, 0.95), self.rng.uniform(self.horizon + 0.08, 0.95)
        orange = (236, 118, 44)
        self.polygon([(x - 0.03, base), (x + 0.03, base), (x + 0.006, base - 0.09), (x - 0.006, base - 0.09)], orange)
        self.polygon(
            [
                (x - 0.021, base - 0.03),
                (x + 0.021, base - 0.03),
                (x + 0.015, base - 0.05),
                (x - 0.015, base - 0.05),
            ],
            (245, 245, 242),
        )
        self.rectangle(x - 0.04, base - 0.008, x + 0.04, base + 0.006, orange)

    def lane(self) -> None:
        y = self.horizon + (1 - self.horizon) * self.rng.uniform(0.35, 0.65)
        shift = self.rng.uniform(0.0, 0.2)
        for dash in range(6):
            left = dash * 0.22 - shift
            self.polygon(
                [(left, y), (left + 0.12, y), (left + 0.11, y + 0.025), (left - 0.01, y + 0.025)],
                (222, 220, 206),
            )

    def waves(self) -> None:
        for _ in range(self.rng.randint(4, 8)):
            x, y = self.rng.uniform(0.0, 1.0), self.rng.uniform(self.horizon + 0.03, 0.99)
            self.ellipse(x, y, self.rng.uniform(0.04, 0.09), 0.006, shade(self.below, 1.2))

    def window(self) -> None:
        left, top = self.rng.uniform(0.04, 0.7), self.rng.uniform(0.04, 0.12)
        size = self.rng.uniform(0.18, 0.25)
        self.rectangle(left, top, left + size, top + size, (250, 250, 245))
        pane = jitter((170, 210, 240), self.rng, 12)
        half = size / 2
        for row in range(2):
            for column in range(2):
                x, y = left + column * half + 0.012, top + row * half + 0.012
                self.rectangle(x, y, x + half - 0.024, y + half - 0.024, pane)

    def lamp(self) -> None:
        x = self.rng.uniform(0.06, 0.94)
        shade_top = self.horizon - self.rng.uniform(0.3, 0.36)
        self.rectangle(x - 0.008, shade_top, x + 0.008, self.horizon + 0.05, (92, 78, 66))
        self.ellipse(x, self.horizon + 0.05, 0.045, 0.012, (92, 78, 66))
        self.polygon(
            [
                (x - 0.035, shade_top),
                (x + 0.035, shade_top),
                (x + 0.065, shade_top + 0.09),
                (x - 0.065, shade_top + 0.09),
            ],
            (246, 226, 164),
        )

    def rug(self) -> None:
        x, y = self.rng.uniform(0.3, 0.7), self.horizon + (1 - self.horizon) * 0.55
        colour = jitter(self.rng.choice([(176, 84, 78), (96, 118, 156), (196, 178, 140), (112, 136, 108)]), self.rng)
        radius = self.rng.uniform(0.25, 0.4)
        self.ellipse(x, y, radius, radius * 0.28, colour)
        self.ellipse(x, y, radius * 0.8, radius * 0.2, shade(colour, 1.15))


@dataclass(frozen=True)
class Backdrop:
    """Colours above and below the horizon, and the things that may appear.

    Attributes:
        above: colour of the sky or the wall.
        below: colour of the ground.
        distractors: the things that may appear, none of which belongs to a class, in painter's order.
    """

    above: RGB
    below: RGB
    distractors: tuple[Callable[[_Painter], None], ...]


BACKDROPS: dict[str, Backdrop] = {
    "grass": Backdrop(
        (150, 200, 240),
        (90, 160, 70),
        (
            _Painter.sun,
            _Painter.clouds,
            _Painter.hill,
            _Painter.trees,
            _Painter.fence,
            _Painter.stones,
            _Painter.ball,
        ),
    ),
    "sand": Backdrop(
        (170, 215, 245),
        (225, 200, 140),
        (_Painter.sun, _Painter.clouds, _Painter.hill, _Painter.stones, _Painter.ball),
    ),
    "sea": Backdrop((190, 220, 245), (50, 110, 170), (_Painter.sun, _Painter.clouds, _Painter.waves)),
    "road": Backdrop(
        (180, 190, 200),
        (95, 95, 100),
        (_Painter.clouds, _Painter.trees, _Painter.lane, _Painter.cone, _Painter.stones),
    ),
    "night": Backdrop((20, 25, 60), (30, 50, 40), (_Painter.moon, _Painter.hill, _Painter.trees, _Painter.fence)),
    "snow": Backdrop(
        (200, 215, 235),
        (240, 245, 250),
        (_Painter.sun, _Painter.clouds, _Painter.hill, _Painter.trees, _Painter.fence),
    ),
    "room": Backdrop((225, 205, 175), (150, 100, 65), (_Painter.window, _Painter.lamp, _Painter.rug, _Painter.ball)),
    "sky": Backdrop((120, 180, 240), (170, 210, 250), (_Painter.sun, _Painter.clouds)),
}
BACKGROUND_NAMES: tuple[str, ...] = tuple(BACKDROPS)

BACKGROUND_HABITS: dict[str, tuple[str, ...]] = {
    "aeroplane": ("sky", "sky", "road", "night"),
    "bicycle": ("road", "grass"),
    "bird": ("sky", "grass", "snow"),
    "boat": ("sea", "sea", "sea", "sand"),
    "bottle": ("room", "sand"),
    "bus": ("road", "night", "snow"),
    "car": ("road", "night", "snow", "sand"),
    "cat": ("room", "grass"),
    "chair": ("room", "grass"),
    "cow": ("grass", "sand"),
    "dining table": ("room", "grass"),
    "dog": ("grass", "sand", "room"),
    "horse": ("grass", "sand", "snow"),
    "motorbike": ("road", "sand"),
    "potted plant": ("room", "grass"),
    "sheep": ("grass", "snow"),
    "sofa": ("room",),
    "train": ("grass", "snow", "night"),
    "tv monitor": ("room",),
}
"""Where objects of a class usually are; a class that is not listed can be anywhere."""


def paint_background(side: int, name: str, horizon: float, rng: random.Random) -> Image.Image:
    """Paints a background.

    Args:
        side: width and height of the picture in pixels.
        name: one of `BACKGROUND_NAMES`.
        horizon: height of the horizon, as a fraction of the side from the top.
        rng: source of every choice.

    Returns:
        An RGB picture.
    """
    backdrop = BACKDROPS[name]
    above, below = jitter(backdrop.above, rng, 16), jitter(backdrop.below, rng, 16)
    horizon_row = int(horizon * side)
    down = np.linspace(0.0, 1.0, side, dtype=np.float32)[:, None]
    haze = rng.uniform(0.82, 1.0)
    rows = np.array(above, np.float32) * (haze + (1.0 - haze) * down)
    rows[horizon_row:] = (np.array(below, np.float32) * (1.06 - 0.22 * down))[horizon_row:]
    column = Image.fromarray(np.clip(rows, 0, 255).astype(np.uint8)[:, None, :])
    canvas = column.resize((side, side), Image.Resampling.NEAREST)
    painter = _Painter(canvas, horizon, above, below, rng)
    if name == "room":
        painter.rectangle(0.0, horizon - 0.02, 1.0, horizon + 0.008, shade(below, 0.6))
    for distractor in backdrop.distractors:
        if rng.random() < _DISTRACTOR_CHANCE:
            distractor(painter)
    return canvas
