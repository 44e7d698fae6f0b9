"""Scenes: a background, one to three objects, and their exact mask.

A scene depends only on its seed, and is the same on every machine.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from dataset_diffusion.toy.drawings import draw_object
from dataset_diffusion.toy.drawings.backgrounds import BACKGROUND_HABITS, BACKGROUND_NAMES, paint_background
from dataset_diffusion.toy.drawings.layout import SUPERSAMPLING, Drawn, arrange, draw_placed
from dataset_diffusion.toy.drawings.light import draw_shadows, light_scene

TRAINING_SEEDS = range(10_000_000)
HELD_OUT_SEEDS = range(20_000_000, 20_010_000)
VALIDATION_SEEDS = range(30_000_000, 30_010_000)

VOC_WORDS: tuple[str, ...] = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "dining table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "potted plant",
    "sheep",
    "sofa",
    "train",
    "tv monitor",
)
"""The class words in PASCAL VOC's order: class i is `VOC_WORDS[i - 1]`."""

ALL_CLASSES = range(1, len(VOC_WORDS) + 1)
MAX_OBJECTS = 3
MIN_SIZE = 32

_OBJECT_COUNT_WEIGHTS = (0.6, 0.3, 0.1)
_HABIT_CHANCE = 0.72
_SAME_CLASS_CHANCE = 0.06


class SceneObject(NamedTuple):
    """An object in a scene: the properties that a caption can mention.

    Attributes:
        class_id: 1..20, in PASCAL VOC's order.
        colour: its true colour word, "" if its class has none.
        x: mean column of its visible pixels, as a fraction of the width, 0..1.
    """

    class_id: int
    colour: str
    x: float

    @property
    def position(self) -> Literal["left", "middle", "right", ""]:
        """Where it is; "" between two of the places, where neither word would be clearly true."""
        if self.x < 0.36:
            return "left"
        if self.x > 0.64:
            return "right"
        return "middle" if 0.42 <= self.x <= 0.58 else ""


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: [H, W, 3] uint8, RGB.
        label_mask: [H, W] uint8, 0 for the background, 1..20 for the classes.
        objects: the objects, the rearmost first.
        background: one of `BACKGROUND_NAMES`.
    """

    image: NDArray[np.uint8]
    label_mask: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    background: str


def choose_background(class_ids: Sequence[int], rng: random.Random) -> str:
    """A background that is usual for one of the classes, or now and then any background."""
    habit = BACKGROUND_HABITS.get(VOC_WORDS[rng.choice(list(class_ids)) - 1], ())
    return rng.choice(habit if habit and rng.random() < _HABIT_CHANCE else BACKGROUND_NAMES)


def render_scene(
    seed: int,
    size: int = 128,
    class_ids: Sequence[int] | None = None,
    background: str | None = None,
    among: Sequence[int] = ALL_CLASSES,
) -> Scene:
    """Renders the scene of a seed.

    Args:
        seed: not negative; see `TRAINING_SEEDS`, `HELD_OUT_SEEDS` and `VALIDATION_SEEDS`.
        size: width and height in pixels, at least `MIN_SIZE`.
        class_ids: the classes of its one to three objects, each 1..20, chosen by the seed if None.
        background: one of `BACKGROUND_NAMES`, chosen by the seed if None.
        among: the classes, each 1..20, that the seed chooses from.

    Returns:
        The scene.
    """
    if seed < 0:
        raise ValueError(f"a scene's seed must not be negative, got {seed}")
    if size < MIN_SIZE:
        raise ValueError(f"a scene must be at least {MIN_SIZE} pixels wide, got {size}")
    if class_ids is not None:
        if not 1 <= len(class_ids) <= MAX_OBJECTS:
            raise ValueError(f"a scene has 1 to {MAX_OBJECTS} objects, got {len(class_ids)}")
        if any(not 1 <= class_id <= len(VOC_WORDS) for class_id in class_ids):
            raise ValueError(f"classes are numbered 1..{len(VOC_WORDS)}, got {list(class_ids)}")
    if background is not None and background not in BACKGROUND_NAMES:
        raise ValueError(f"no background {background!r}; there are {', '.join(BACKGROUND_NAMES)}")

    rng = random.Random(seed)
    classes = tuple(class_ids) if class_ids is not None else _choose_classes(rng, among)
    if background is None:
        background = choose_background(classes, rng)
    side = size * SUPERSAMPLING
    horizon = rng.uniform(0.38, 0.62)
    canvas = paint_background(side, background, horizon, rng)
    drawn = [Drawn(class_id, *draw_object(class_id, rng)) for class_id in classes]
    placed, owners = arrange(drawn, size, horizon, rng)

    draw_shadows(canvas, placed)
    draw = ImageDraw.Draw(canvas)
    for item in placed:
        draw_placed(draw, item, side)
    image = light_scene(canvas.reduce(SUPERSAMPLING), placed, owners, background == "night", seed, rng)

    class_of_owner = np.array([0, *(item.drawn.class_id for item in placed)], dtype=np.uint8)
    objects = tuple(
        SceneObject(item.drawn.class_id, item.drawn.colour, _mean_column(owners == owner))
        for owner, item in enumerate(placed, start=1)
    )
    return Scene(image, class_of_owner[owners], objects, background)


def _choose_classes(rng: random.Random, among: Sequence[int]) -> tuple[int, ...]:
    count = min(rng.choices((1, 2, 3), _OBJECT_COUNT_WEIGHTS)[0], len(among))
    classes = rng.sample(among, count)
    if count > 1 and rng.random() < _SAME_CLASS_CHANCE:
        classes[1] = classes[0]
    return tuple(classes)


def _mean_column(pixels: NDArray[np.bool_]) -> float:
    """Mean x of the pixels [H, W] that are true, as a fraction of the width."""
    return float((np.nonzero(pixels)[1].mean() + 0.5) / pixels.shape[1])
