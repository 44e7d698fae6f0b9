"""Which classes come together in an image."""

import random
from collections.abc import Iterator, Mapping, Sequence

Cooccurrence = Mapping[int, Mapping[int, float]]
"""How often two classes come together, both ways: table[a][b] is table[b][a]; pairs that never do are missing."""


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


def _affinity(class_id: int, image: Sequence[int], cooccurrence: Cooccurrence) -> float:
    together = cooccurrence.get(class_id, {})
    return sum(together.get(other, 0) for other in image)
