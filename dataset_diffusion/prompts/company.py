"""Which classes come together in an image."""

import random
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from dataset_diffusion.vocabulary import SCENES, Vocabulary

Cooccurrence = Mapping[int, Mapping[int, float]]
"""How often two classes come together, both ways: table[a][b] is table[b][a]; pairs that never do are missing."""


def common_scenes(class_ids: Sequence[int], vocabulary: Vocabulary) -> list[str] | None:
    """The scenes that have all the classes; None where each of them may be anywhere."""
    common: list[str] | None = None
    for class_id in class_ids:
        scenes = vocabulary[class_id].scenes
        if scenes:
            common = list(scenes) if common is None else [scene for scene in common if scene in scenes]
    return common


def draw_scene(class_ids: Sequence[int], vocabulary: Vocabulary, rng: random.Random) -> str | None:
    """A scene that has all the classes; None where there is none, or where they may be anywhere."""
    scenes = common_scenes(class_ids, vocabulary)
    if scenes is None:
        return rng.choice(("indoors", "outdoors", None))
    # A class that may be anywhere outdoors is not sent to one of its scenes, which may not suit it.
    general = [scene for scene in ("indoors", "outdoors") if scene in scenes]
    return rng.choice(general or scenes) if scenes else None


def scene_masks(vocabulary: Vocabulary) -> dict[int, int]:
    """The scenes of each class as bits: classes go together whose masks have a bit in common. Anywhere is all bits."""
    bits = {scene: 1 << position for position, scene in enumerate(SCENES)}
    return {
        class_id: sum(bits[scene] for scene in vocabulary[class_id].scenes) or (1 << len(SCENES)) - 1
        for class_id in vocabulary.class_ids
    }


def draw_classes(
    class_ids: Sequence[int],
    classes_per_image: Sequence[float],
    rng: random.Random,
    cooccurrence: Cooccurrence | None = None,
    scenes: Mapping[int, int] | None = None,
) -> Iterator[tuple[int, ...]]:
    """Distinct classes for one image after another, dealt from shuffled decks of all classes, without end.

    With `cooccurrence` an image's first class chooses the others among those left in the deck, each as often as it
    comes together with the classes chosen before; otherwise, with `scenes` (see scene_masks), the
    next that shares a scene with all of them, from the next deck if need be: a class is then at most 3 images ahead of
    another. Where there is none, the image has fewer classes.
    """
    totals, last = list(accumulate(map(float, classes_per_image))), len(classes_per_image) - 1
    deck: list[int] = []
    while True:
        drawn = 1 + bisect(totals, rng.random() * totals[-1], 0, last)
        image: list[int] = []
        common = -1  # The scenes of all classes in the image.
        while len(image) < min(drawn, len(class_ids)):
            if not deck:
                deck = rng.sample(class_ids, len(class_ids))
            position: int | None = 0
            if image and cooccurrence is not None:
                position = _draw_together(deck, image, cooccurrence, rng)
            elif image:
                position = _first_fitting(deck, image, scenes, common)
                if position is None and len(deck) < len(class_ids):
                    deck += rng.sample(class_ids, len(class_ids))
                    continue
            if position is None:
                break
            image.append(deck.pop(position))
            if scenes is not None:
                common &= scenes[image[-1]]
        yield tuple(image)


def _first_fitting(
    deck: Sequence[int], image: Sequence[int], scenes: Mapping[int, int] | None, common: int
) -> int | None:
    # A new deck may begin with a class that the image has from the old one: it waits for the next image.
    for position, class_id in enumerate(deck):
        if class_id not in image and (scenes is None or scenes[class_id] & common):
            return position
    return None


def _draw_together(
    deck: Sequence[int], image: Sequence[int], cooccurrence: Cooccurrence, rng: random.Random
) -> int | None:
    positions = [position for position, class_id in enumerate(deck) if class_id not in image]
    weights = [_affinity(deck[position], image, cooccurrence) for position in positions]
    return rng.choices(positions, weights)[0] if any(weights) else None


def _affinity(class_id: int, image: Sequence[int], cooccurrence: Cooccurrence) -> float:
    together = cooccurrence.get(class_id, {})
    return sum(together.get(other, 0) for other in image)
