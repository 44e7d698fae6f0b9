"""How long the balanced choice of captions takes, and how even it is, on synthetic captions of 80 classes.

    python -m scripts.benchmarks.balance

Class k is named 1/k as often as class 1 (Zipf's law); a caption has 1 to 5 classes, as COCO's captions do.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from dataset_diffusion.prompts.balance import Gap, balanced_order, balanced_order_with_gaps, balanced_order_with_reuse

NUM_CLASSES = 80
CHOICES = ((100_000, 10_000), (100_000, 40_000), (100_000, 80_000), (120_000, 120_000))
"""Numbers of captions, and of prompts chosen from them."""


def main() -> None:
    """Choose captions with each value of prompts.fill."""
    head = f"{'captions':>9} {'prompts':>8} {'fill':>8} {'template':>8} {'seconds':>8}"
    print(f"{head}  captions per class -> prompts per class")
    for num_captions, num_prompts in CHOICES:
        class_sets = zipf_class_sets(num_captions, seed=0)
        labels = range(1, NUM_CLASSES + 1)
        before = Counter(class_id for classes in class_sets for class_id in classes)
        orders: dict[str, Callable[[], Iterator[int | Gap]]] = {
            "template": partial(balanced_order_with_gaps, class_sets, labels),
            "reuse": partial(balanced_order_with_reuse, class_sets, labels),
            "none": partial(balanced_order, class_sets),
        }
        for fill, begin in orders.items():
            start = time.perf_counter()
            order = begin()
            steps = list(islice(order, num_prompts))
            seconds = time.perf_counter() - start
            chosen = [(step.class_id,) if isinstance(step, Gap) else class_sets[step] for step in steps]
            after = Counter(class_id for classes in chosen for class_id in classes)
            num_gaps = sum(isinstance(step, Gap) for step in steps)
            print(
                f"{num_captions:9,} {num_prompts:8,} {fill:>8} {num_gaps:8,} {seconds:8.1f}  "
                f"{spread(before)} -> {spread(after)}"
            )


def zipf_class_sets(num_captions: int, seed: int) -> list[tuple[int, ...]]:
    """The classes of each caption."""
    rng = random.Random(seed)
    labels = range(1, NUM_CLASSES + 1)
    weights = [1 / label for label in labels]
    return [tuple(dict.fromkeys(rng.choices(labels, weights, k=rng.randint(1, 5)))) for _ in range(num_captions)]


def spread(counts: Counter[int]) -> str:
    """The smallest and the largest count, and their ratio."""
    numbers = [counts[label] for label in range(1, NUM_CLASSES + 1)]
    return f"{min(numbers)} to {max(numbers)} ({max(numbers) / max(1, min(numbers)):.2f})"


if __name__ == "__main__":
    main()
