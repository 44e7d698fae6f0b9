"""Template captions: written from class words alone."""

import random
from collections.abc import Sequence

from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.english import with_article
from dataset_diffusion.vocabulary import Vocabulary

_OPENINGS = ("a photo of", "a picture of", "an image of", "a photograph of", "a snapshot of", "a shot of")
_ATTRIBUTES = ("small", "large", "little", "big", "old", "beautiful", "dark", "bright", "single", "colorful")
_JOINERS = ("and", "next to", "with", "near", "beside", "in front of")
_PLACES = {
    "indoors": ("indoors", "in a room", "in a house", "in a hall", "in a kitchen", "in a shop", "on a wooden floor"),
    "outdoors": (
        *("outdoors", "in a city", "in the countryside", "in a park", "in a field", "in a village", "by a lake"),
        *("on a beach", "near a forest", "in the mountains", "in the snow", "under a blue sky", "on a quiet street"),
    ),
    "anywhere": ("in front of a wall", "in front of a window", "in a quiet place", "in a busy place", "on the ground"),
}
_LIGHTS = ("in bright light", "in soft light", "in the morning", "in the evening", "at night", "in daylight")
_VIEWPOINTS = (
    *("seen from the side", "seen from the front", "seen from behind", "seen from above", "seen from below"),
    *("in close-up", "from a distance", "in the middle", "in the foreground"),
)
_ATTRIBUTE_CHANCE = 0.35
_PLACE_CHANCE = 0.75
_LIGHT_CHANCE = 0.3
_VIEWPOINT_CHANCE = 0.3


class TemplateWriter:
    """Writes captions of a vocabulary's classes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        finder = ClassFinder(vocabulary)

        def harmless(phrases: Sequence[str]) -> list[str]:
            # Where "beach" is a class, "on a beach" would put one into an image that is not labelled with it.
            return [phrase for phrase in phrases if not finder.find(phrase)]

        self._attributes = harmless(_ATTRIBUTES)
        self._places = {scene: harmless(phrases) for scene, phrases in _PLACES.items()}
        self._lights = harmless(_LIGHTS)
        self._viewpoints = harmless(_VIEWPOINTS)

    def caption(self, class_ids: Sequence[int], rng: random.Random) -> str:
        """A caption of these classes: "a photo of a small car next to a bus in a city at night, seen from above"."""
        first, *others = (self._mention(class_id, rng) for class_id in class_ids)
        caption = f"{rng.choice(_OPENINGS)} {first}"
        for mention in others:
            caption += f" {rng.choice(_JOINERS)} {mention}"
        caption += _maybe(_PLACE_CHANCE, " {}", self._places_of(class_ids), rng)
        caption += _maybe(_LIGHT_CHANCE, " {}", self._lights, rng)
        return caption + _maybe(_VIEWPOINT_CHANCE, ", {}", self._viewpoints, rng)

    def _mention(self, class_id: int, rng: random.Random) -> str:
        attribute = _maybe(_ATTRIBUTE_CHANCE, "{} ", self._attributes, rng)
        return with_article(attribute + self._vocabulary[class_id].word)

    def _places_of(self, class_ids: Sequence[int]) -> list[str]:
        """Where all the classes may be: only places that suit anything where they have nothing in common."""
        scenes = {scene for class_id in class_ids if (scene := self._vocabulary[class_id].scene)}
        if len(scenes) > 1:
            return self._places["anywhere"]
        return [place for scene in (*(scenes or ("indoors", "outdoors")), "anywhere") for place in self._places[scene]]


def _maybe(chance: float, form: str, phrases: Sequence[str], rng: random.Random) -> str:
    """One of the phrases in its form, or nothing."""
    return form.format(rng.choice(phrases)) if phrases and rng.random() < chance else ""
