"""The drawings of the 20 classes: which designs a class has, and which colours it comes in."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from dataset_diffusion.toy.draw import FUR, PAINT, RGB, Pen, jitter
from dataset_diffusion.toy.drawings import (
    aircraft,
    birds,
    boats,
    bottles,
    cars_and_buses,
    furniture,
    livestock,
    people,
    pets,
    plants,
    televisions,
    trains,
    two_wheelers,
)

Design = Callable[[Pen, random.Random, RGB], None]


@dataclass(frozen=True)
class ClassDrawing:
    """How a class is drawn.

    Attributes:
        designs: its kinds and poses, all equally likely.
        palette: its main colours by name.
        has_colour_word: whether a caption may mention that colour. It may not if the word would be odd or
            would describe only a part ("a red person" wears a red shirt).
    """

    designs: tuple[Design, ...]
    palette: Mapping[str, RGB]
    has_colour_word: bool = True


def _only(palette: Mapping[str, RGB], names: str) -> dict[str, RGB]:
    return {name: palette[name] for name in names.split()}


_FEATHERS = _only(PAINT, "red blue yellow green white black grey brown")
_BOTTLE_GLASS = _only(PAINT, "red blue yellow green white black orange brown")

CLASS_DRAWINGS: dict[int, ClassDrawing] = {
    1: ClassDrawing((aircraft.draw_airliner, aircraft.draw_propeller_plane), PAINT),
    2: ClassDrawing((two_wheelers.draw_road_bicycle, two_wheelers.draw_city_bicycle), PAINT),
    3: ClassDrawing((birds.draw_standing_bird, birds.draw_flying_bird), _FEATHERS),
    4: ClassDrawing((boats.draw_sailing_boat, boats.draw_motor_boat), PAINT),
    5: ClassDrawing((bottles.draw_wine_bottle, bottles.draw_soda_bottle), _BOTTLE_GLASS),
    6: ClassDrawing((cars_and_buses.draw_single_decker, cars_and_buses.draw_double_decker), PAINT),
    7: ClassDrawing((cars_and_buses.draw_sedan, cars_and_buses.draw_hatchback, cars_and_buses.draw_van), PAINT),
    8: ClassDrawing((pets.draw_sitting_cat, pets.draw_walking_cat), FUR),
    9: ClassDrawing((furniture.draw_slatted_chair, furniture.draw_solid_chair, furniture.draw_side_chair), PAINT),
    10: ClassDrawing((livestock.draw_standing_cow, livestock.draw_grazing_cow), _only(FUR, "white black brown")),
    11: ClassDrawing(
        (furniture.draw_rectangular_table, furniture.draw_round_table), furniture.WOOD, has_colour_word=False
    ),
    12: ClassDrawing((pets.draw_hound, pets.draw_terrier), _only(FUR, "white black brown grey")),
    13: ClassDrawing(
        (livestock.draw_standing_horse, livestock.draw_galloping_horse), _only(FUR, "white black brown grey")
    ),
    14: ClassDrawing((two_wheelers.draw_touring_motorbike, two_wheelers.draw_sports_motorbike), PAINT),
    15: ClassDrawing((people.draw_person_in_trousers, people.draw_person_in_dress), PAINT, has_colour_word=False),
    16: ClassDrawing(
        (plants.draw_leafy_plant, plants.draw_bushy_plant, plants.draw_flowering_plant),
        plants.POTTERY,
        has_colour_word=False,
    ),
    17: ClassDrawing((livestock.draw_standing_sheep, livestock.draw_grazing_sheep), _only(FUR, "white grey black")),
    18: ClassDrawing((furniture.draw_two_seater, furniture.draw_three_seater), PAINT),
    19: ClassDrawing((trains.draw_steam_train, trains.draw_modern_train), PAINT),
    20: ClassDrawing(
        (televisions.draw_flat_screen, televisions.draw_tube_television),
        televisions.CASING,
        has_colour_word=False,
    ),
}
"""Drawings by the class's number in PASCAL VOC, 1..20."""


@cache
def colour_words(class_id: int) -> tuple[str, ...]:
    """The colour words that can be true of an object of this class; empty if there are none."""
    drawing = CLASS_DRAWINGS[class_id]
    return tuple(drawing.palette) if drawing.has_colour_word else ()


def draw_object(class_id: int, rng: random.Random) -> tuple[str, Pen]:
    """Draws an object of the class; returns its colour word ("" if it has none) and the drawing."""
    drawing = CLASS_DRAWINGS[class_id]
    colour = rng.choice(list(drawing.palette))
    pen = Pen()
    rng.choice(drawing.designs)(pen, rng, jitter(drawing.palette[colour], rng, 9))
    return colour if drawing.has_colour_word else "", pen
