"""Captions written by rule from class words, with every class in equally many images."""

import random
from collections.abc import Iterator, Mapping, Sequence

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.english import with_article
from dataset_diffusion.prompts.seeds import named_rng, sample_seed
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary

SOURCE = "template"

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
Cooccurrence = Mapping[int, Mapping[int, float]]
"""How often two classes come together, both ways: table[a][b] is table[b][a]; pairs that never do are missing."""


def template_prompts(
    vocabulary: Vocabulary,
    template: str,
    classes_per_image: Sequence[float],
    num_images: int,
    seed: int,
    cooccurrence: Cooccurrence | None = None,
) -> list[Prompt]:
    """Prompts "000000", "000001", ... of distinct classes, a function of `seed`.

    `classes_per_image` holds the weights of images with 1, 2, ... classes. `template` is "generic" or "toy" (the
    language of the toy model, for VOC's classes). In these, and in any first n of them, the numbers of images of two
    classes differ by at most 1. The plan of fewer images is the beginning of the plan of more. Raises InputError for
    toy captions of other classes than VOC's.
    """
    writer = TemplateWriter(vocabulary, template)
    groups = draw_classes(vocabulary.class_ids, classes_per_image, named_rng(seed, "classes"), cooccurrence)
    return [
        writer.prompt(f"{index:06d}", class_ids, seed)
        for index, class_ids in zip(range(num_images), groups, strict=False)
    ]


def draw_classes(
    class_ids: Sequence[int],
    classes_per_image: Sequence[float],
    rng: random.Random,
    cooccurrence: Cooccurrence | None = None,
) -> Iterator[tuple[int, ...]]:
    """Distinct classes for one image after another, dealt from shuffled decks of all classes, without end.

    With `cooccurrence` an image's first class chooses the others among those left in the deck, each as often as it
    comes together with the classes chosen before. Where none of them does, the image has fewer classes.
    """
    numbers = range(1, len(classes_per_image) + 1)
    deck: list[int] = []
    while True:
        (drawn,) = rng.choices(numbers, weights=classes_per_image)
        image: list[int] = []
        while len(image) < min(drawn, len(class_ids)):
            if not deck:
                deck = rng.sample(class_ids, len(class_ids))
            # A new deck may begin with a class that the image has from the old one: it waits for the next image.
            positions = [position for position, class_id in enumerate(deck) if class_id not in image]
            if image and cooccurrence is not None:
                weights = [_affinity(deck[position], image, cooccurrence) for position in positions]
                if not any(weights):
                    break
                positions = rng.choices(positions, weights)
            image.append(deck.pop(positions[0]))
        yield tuple(image)


class TemplateWriter:
    """Writes captions of a vocabulary's classes by rule."""

    def __init__(self, vocabulary: Vocabulary, template: str) -> None:
        """`template` is "generic" or "toy". Raises InputError for toy captions of other classes than VOC's."""
        if template == "toy":
            _require_toy_classes(vocabulary)
        self._vocabulary = vocabulary
        self._template = template
        finder = ClassFinder(vocabulary)

        def harmless(phrases: Sequence[str]) -> list[str]:
            # Where "beach" is a class, "on a beach" would put one into an image that is not labelled with it.
            return [phrase for phrase in phrases if not finder.find(phrase)]

        self._attributes = harmless(_ATTRIBUTES)
        self._places = {scene: harmless(phrases) for scene, phrases in _PLACES.items()}
        self._lights = harmless(_LIGHTS)
        self._viewpoints = harmless(_VIEWPOINTS)

    def prompt(self, sample_id: str, class_ids: tuple[int, ...], seed: int) -> Prompt:
        """A prompt of these classes; its caption is a function of `seed` and `sample_id`."""
        rng = named_rng(seed, f"caption/{sample_id}")
        return Prompt(sample_id, self.caption(class_ids, rng), class_ids, sample_seed(seed, sample_id), SOURCE)

    def caption(self, class_ids: Sequence[int], rng: random.Random) -> str:
        """A caption of these classes: "a photo of a small car next to a bus in a city at night, seen from above"."""
        if self._template == "toy":
            # Imported where it is needed: the toy world's drawings are no business of other prompts.
            from dataset_diffusion.toy.captions import random_caption

            return random_caption(class_ids, rng)
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


def _affinity(class_id: int, image: Sequence[int], cooccurrence: Cooccurrence) -> float:
    together = cooccurrence.get(class_id, {})
    return sum(together.get(other, 0) for other in image)


def _maybe(chance: float, form: str, phrases: Sequence[str], rng: random.Random) -> str:
    """One of the phrases in its form, or nothing."""
    return form.format(rng.choice(phrases)) if phrases and rng.random() < chance else ""


def _require_toy_classes(vocabulary: Vocabulary) -> None:
    from dataset_diffusion.toy.scenes import VOC_WORDS

    if tuple(entry.word for entry in vocabulary.classes) != VOC_WORDS:
        raise InputError(
            "prompts.template=toy: is about the 20 VOC classes only, as the toy model is; set vocabulary=voc, or "
            "prompts.template=generic and the model.path of another model (experiment=voc has both)"
        )
