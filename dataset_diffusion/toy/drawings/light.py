"""Light and shadow in a scene, and noise in its picture."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dataset_diffusion.toy.drawings.layout import Placed

_BRIGHTNESS = (0.86, 1.08)
_TINT = (0.96, 1.04)
_OBJECT_BRIGHTNESS = (0.9, 1.08)
_NIGHT = 0.84
_NOISE = 4


def draw_shadows(canvas: Image.Image, placed: Sequence[Placed]) -> None:
    """Darkens the ground under objects that stand on it; in the mask this ground stays background."""
    draw = ImageDraw.Draw(canvas, "RGBA")
    side = canvas.width
    for item in placed:
        if item.drawn.pen.airborne:
            continue
        x, half_width = (item.left + item.right) / 2, (item.right - item.left) / 2
        for reach in (1.08, 0.98, 0.88, 0.78):  # one on top of the other, for a soft edge
            across, down = half_width * reach, half_width * 0.16 * reach
            box = (x - across, item.bottom - down * 1.2, x + across, item.bottom + down * 0.8)
            draw.ellipse([edge * side for edge in box], fill=(0, 0, 0, 20))


def light_scene(
    picture: Image.Image,
    placed: Sequence[Placed],
    owners: NDArray[np.uint8],
    at_night: bool,
    seed: int,
    rng: random.Random,
) -> NDArray[np.uint8]:
    """Shades the objects from above, tints the whole picture and adds noise.

    Args:
        picture: RGB, H x W.
        placed: the objects.
        owners: [H, W] uint8, 0 for the background, else 1 + the index of the object.
        at_night: whether it is night, which makes the objects darker.
        seed: seed of the noise.
        rng: source of every other choice.

    Returns:
        The image, [H, W, 3] uint8.
    """
    size = picture.width
    rows = (np.arange(size, dtype=np.float32) + 0.5) / size
    light = np.ones((size, size), dtype=np.float32)
    for owner, item in enumerate(placed, start=1):
        strength = rng.uniform(*_OBJECT_BRIGHTNESS) * (_NIGHT if at_night else 1.0)
        down = np.clip((rows - item.top) / (item.bottom - item.top), 0.0, 1.0)
        light = np.where(owners == owner, (strength * (1.05 - 0.24 * down))[:, None], light)
    brightness = rng.uniform(*_BRIGHTNESS)
    tint = np.array([brightness * rng.uniform(*_TINT) for _ in range(3)], dtype=np.float32)
    # Integers from NumPy's legacy generator, whose stream is frozen: the same noise on every machine.
    dice = np.random.RandomState(seed % 2**32).randint(-_NOISE, _NOISE + 1, (2, size, size, 3), dtype=np.int8)
    noise = dice.sum(axis=0, dtype=np.float32)
    image = np.asarray(picture, dtype=np.float32) * light[:, :, None] * tint + noise
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
