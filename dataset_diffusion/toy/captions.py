"""Captions of scenes: short, varied and true."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from dataset_diffusion.errors import InputError
from dataset_diffusion.toy.drawings import colour_words
from dataset_diffusion.toy.scenes import VOC_WORDS, SceneObject, choose_background
from dataset_diffusion.vocabulary import Vocabulary

CaptionStyle = Literal["caption", "appended", "classes"]

SYNONYMS: dict[int, tuple[str, ...]] = {
    1: ("plane", "jet"),
    2: ("bike", "cycle"),
    3: ("animal", "parrot"),
    4: ("ship", "vessel"),
    5: ("drink", "flask"),
    6: ("coach", "vehicle"),
    7: ("automobile", "vehicle"),
    8: ("kitten", "animal", "pet"),
    9: ("seat", "stool"),
    10: ("bull", "animal"),
    11: ("table", "desk"),
    12: ("puppy", "animal", "pet"),
    13: ("pony", "animal"),
    14: ("motorcycle", "vehicle"),
    15: ("man", "woman", "child"),
    16: ("plant", "flower pot"),
    17: ("lamb", "animal"),
    18: ("couch", "seat"),
    19: ("locomotive", "tram"),
    20: ("television", "screen"),
}
"""Other words for a class, some of them shared with other classes, as in captions that people write."""

BACKGROUND_PHRASES: dict[str, tuple[str, ...]] = {
    "grass": ("on the grass", "in a field", "in a meadow"),
    "sand": ("on the sand", "on a beach", "in the desert"),
    "sea": ("on the sea", "in the water", "by the sea"),
    "road": ("on the road", "in the street"),
    "night": ("at night", "in the dark"),
    "snow": ("in the snow", "in winter"),
    "room": ("in a room", "at home", "indoors"),
    "sky": ("in the sky", "in the air"),
}

_OPENINGS = ("", "", "a photo of ", "an image of ", "a picture of ")
_JOINERS = (" and ", " next to ", " with ")
_POSITION_PHRASES = {"left": "on the left", "middle": "in the middle", "right": "on the right"}

_SYNONYM_CHANCE = 1 / 3
_COLOUR_CHANCE = 0.6
_POSITION_CHANCE = 0.2
_BACKGROUND_CHANCE = 0.85


def write_caption(
    scene_objects: Sequence[SceneObject],
    background: str,
    rng: random.Random,
    style: CaptionStyle = "caption",
) -> str:
    """Describes a scene.

    Args:
        scene_objects: the objects in it, at least one.
        background: the name of its background, a key of `BACKGROUND_PHRASES`.
        rng: source of every choice of words.
        style: "caption" for a sentence; "appended" for the sentence followed by "; " and the class words in
            the order of their first mention; "classes" for an opening and only the class words.

    Returns:
        The caption, in lower case.
    """
    mentioned = rng.sample(list(scene_objects), len(scene_objects))
    opening = rng.choice(_OPENINGS)
    if style == "classes":
        return opening + _class_words(mentioned)
    mentions = [_mention(item, rng) for item in mentioned]
    # At most one position: the text encoder reads 40 tokens, and the class words follow the sentence.
    spoken = rng.randrange(len(mentioned))
    position = mentioned[spoken].position
    if position and rng.random() < _POSITION_CHANCE:
        mentions[spoken] += " " + _POSITION_PHRASES[position]
    sentence = opening + mentions[0] + "".join(rng.choice(_JOINERS) + mention for mention in mentions[1:])
    if rng.random() < _BACKGROUND_CHANCE:
        sentence += " " + rng.choice(BACKGROUND_PHRASES[background])
    return f"{sentence}; {_class_words(mentioned)}" if style == "appended" else sentence


def toy_captions(vocabulary: Vocabulary) -> Callable[[Sequence[int], random.Random], str]:
    """The function that writes the toy model's captions for labels of a vocabulary; it is picklable.

    Raises InputError that names the first class whose word is not one of the twenty that the model draws.
    """
    for entry in vocabulary.classes:
        if entry.word not in VOC_WORDS:
            raise InputError(
                f"prompts.template=toy: the toy model cannot draw {entry.word!r}, only {', '.join(VOC_WORDS)}; set "
                "vocabulary=voc, or name some of these in vocabulary.classes; or set prompts.template=generic and the "
                "model.path of another model (experiment=voc has both)"
            )
    number_of = {label: VOC_WORDS.index(vocabulary[label].word) + 1 for label in vocabulary.class_ids}
    return partial(_caption_of_labels, number_of)


def _caption_of_labels(number_of: Mapping[int, int], labels: Sequence[int], rng: random.Random) -> str:
    return random_caption([number_of[label] for label in labels], rng)


def random_caption(class_ids: Sequence[int], rng: random.Random) -> str:
    """A caption for objects that are not rendered.

    Args:
        class_ids: their classes, each 1..20, at least one.
        rng: source of every choice.

    Returns:
        A caption in the style "caption", with colours that the classes come in and a background that suits them.
    """
    places = rng.sample(range(len(class_ids)), len(class_ids))
    objects = [
        SceneObject(
            class_id,
            rng.choice(colour_words(class_id) or ("",)),
            x=(place + 0.5) / len(class_ids),
        )
        for class_id, place in zip(class_ids, places, strict=True)
    ]
    return write_caption(objects, choose_background(class_ids, rng), rng)


def _class_words(mentioned: Sequence[SceneObject]) -> str:
    # A dictionary keeps the order of first mention and each word once.
    return " ".join(dict.fromkeys(VOC_WORDS[item.class_id - 1] for item in mentioned))


def _mention(item: SceneObject, rng: random.Random) -> str:
    noun = VOC_WORDS[item.class_id - 1]
    if rng.random() < _SYNONYM_CHANCE:
        noun = rng.choice(SYNONYMS[item.class_id])
    words = f"{item.colour} {noun}" if item.colour and rng.random() < _COLOUR_CHANCE else noun
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
