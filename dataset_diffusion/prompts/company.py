"""Which classes appear together in an image."""

import random
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from dataset_diffusion.vocabulary import SCENES, Vocabulary

Cooccurrence = Mapping[int, Mapping[int, float]]
"""How often two classes occur together, both ways: table[a][b] is table[b][a]; pairs that never do are missing."""


def common_scenes(class_ids: Sequence[int], vocabulary: Vocabulary) -> list[str] | None:
    """The scenes that all the classes can be in; None if each of them can be anywhere."""
    common: list[str] | None = None
    for class_id in class_ids:
        scenes = vocabulary[class_id].scenes
        if scenes:
            common = list(scenes) if common is None else [scene for scene in common if scene in scenes]
    return common


def draw_scene(class_ids: Sequence[int], vocabulary: Vocabulary, rng: random.Random) -> str | None:
    """A random scene that all the classes can be in; None if there is none, and sometimes if they can be anywhere."""
    scenes = common_scenes(class_ids, vocabulary)
    if scenes is None:
        return rng.choice(("indoors", "outdoors", None))
    # A class that can be anywhere outdoors is not put into one particular scene, which may not suit it.
    general = [scene for scene in ("indoors", "outdoors") if scene in scenes]
    return rng.choice(general or scenes) if scenes else None


def scene_masks(vocabulary: Vocabulary) -> dict[int, int]:
    """The scenes of each class as bits: classes go together if their masks share a bit. All bits mean anywhere."""
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

    With `cooccurrence`, an image's other classes are drawn from those left in the deck, weighted by how often they
    occur together with the classes chosen before. Otherwise, with `scenes` (see scene_masks), the next class that
    shares a scene with all of them is taken, from the next deck if necessary: a class is then at most 3 images ahead of
    another. If there is no such class, the image has fewer classes.
    """
    totals, last = list(accumulate(map(float, classes_per_image))), len(classes_per_image) - 1
    deck: list[int] = []
    while True:
        drawn = 1 + bisect(totals, rng.random() * totals[-1], 0, last)
        image: list[int] = []
        common = -1  # The scenes that all classes in the image share.
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
    # A new deck may begin with a class that the image already has from the old one: it waits for the next image.
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
