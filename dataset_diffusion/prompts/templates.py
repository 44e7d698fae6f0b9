"""Captions written by rule from class words, with every class in equally many images."""

import random
from collections.abc import Iterator, Sequence

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.seeds import named_rng, sample_seed
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary

_OPENINGS = ("a photo of", "a picture of", "an image of", "a photograph of")
_SIZES = ("small", "large")
_SIZE_CHANCE = 0.25
_JOINERS = ("and", "next to", "with", "near")
_ENDINGS = ("", "", "", "on a sunny day", "on a cloudy day", "in the evening", "in bright light", "seen from the side")
# Words that are plural in form: "a scissors" is not English.
_PAIRS = frozenset({"scissors", "skis", "glasses", "sunglasses", "trousers", "jeans", "shorts", "pliers", "headphones"})
# Spelt with one sound and spoken with the other: "a unicycle", "an hourglass".
_CONSONANT_SOUNDS = ("uni", "use", "uti", "uk", "eu", "ewe", "one")
_VOWEL_SOUNDS = ("hour", "honest", "heir")


def template_prompts(
    vocabulary: Vocabulary, template: str, classes_per_image: Sequence[float], num_images: int, seed: int
) -> list[Prompt]:
    """Prompts "000000", "000001", ... of distinct classes, a function of `seed`.

    `classes_per_image` holds the weights of images with 1, 2, ... classes. `template` is "generic" or "toy" (the
    language of the toy model, for VOC's classes). In these, and in any first n of them, the numbers of images of two
    classes differ by at most 1. The plan of fewer images is the beginning of the
    plan of more. Raises InputError for toy captions of other classes than VOC's.
    """
    if template == "toy":
        _require_toy_classes(vocabulary)
    groups = draw_classes(vocabulary.class_ids, classes_per_image, named_rng(seed, "classes"))
    return [
        _prompt(vocabulary, template, f"{index:06d}", class_ids, seed)
        for index, class_ids in zip(range(num_images), groups, strict=False)
    ]


def draw_classes(
    class_ids: Sequence[int], classes_per_image: Sequence[float], rng: random.Random
) -> Iterator[tuple[int, ...]]:
    """Distinct classes for one image after another, dealt from shuffled decks of all classes, without end."""
    numbers = range(1, len(classes_per_image) + 1)
    deck: list[int] = []
    while True:
        (drawn,) = rng.choices(numbers, weights=classes_per_image)
        image: list[int] = []
        while len(image) < min(drawn, len(class_ids)):
            if not deck:
                deck = rng.sample(class_ids, len(class_ids))
            # A new deck may begin with a class that the image has from the old one: it waits for the next image.
            position = next(position for position, class_id in enumerate(deck) if class_id not in image)
            image.append(deck.pop(position))
        yield tuple(image)


def template_caption(words: Sequence[str], rng: random.Random) -> str:
    """A caption of things: "a photo of a small car next to an aeroplane in the evening"."""
    caption = f"{rng.choice(_OPENINGS)} {_mention(words[0], rng)}"
    for word in words[1:]:
        caption += f" {rng.choice(_JOINERS)} {_mention(word, rng)}"
    return f"{caption} {rng.choice(_ENDINGS)}".rstrip()


def with_article(words: str) -> str:
    """ "car" -> "a car", "orange" -> "an orange", "unicycle" -> "a unicycle", "skis" -> "a pair of skis"."""
    if words.split()[-1].lower() in _PAIRS:
        return f"a pair of {words}"
    first = words.lower()
    vowel = first.startswith(_VOWEL_SOUNDS) or (first[0] in "aeiou" and not first.startswith(_CONSONANT_SOUNDS))
    return f"{'an' if vowel else 'a'} {words}"


def _mention(word: str, rng: random.Random) -> str:
    size = f"{rng.choice(_SIZES)} " if rng.random() < _SIZE_CHANCE else ""
    return with_article(size + word)


def _prompt(vocabulary: Vocabulary, template: str, sample_id: str, class_ids: tuple[int, ...], seed: int) -> Prompt:
    rng = named_rng(seed, f"caption/{sample_id}")
    if template == "toy":
        # Imported where it is needed: the toy world's drawings are no business of other prompts.
        from dataset_diffusion.toy.captions import random_caption

        caption = random_caption(class_ids, rng)
    else:
        caption = template_caption([vocabulary[class_id].word for class_id in class_ids], rng)
    return Prompt(sample_id, caption, class_ids, sample_seed(seed, sample_id))


def _require_toy_classes(vocabulary: Vocabulary) -> None:
    from dataset_diffusion.toy.scenes import VOC_WORDS

    if tuple(entry.word for entry in vocabulary.classes) != VOC_WORDS:
        raise InputError(
            "prompts.template=toy: is about the 20 VOC classes only; set vocabulary=voc, or prompts.template=photo"
        )
