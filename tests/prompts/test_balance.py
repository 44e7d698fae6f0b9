import random
from collections import Counter
from itertools import islice

import pytest

from dataset_diffusion.prompts.balance import (
    MOST_RATIO,
    Gap,
    balanced_order,
    balanced_order_with_gaps,
    balanced_order_with_reuse,
)


def random_sets(num_items: int, num_classes: int, seed: int) -> list[tuple[int, ...]]:
    """Sets of 1 to 3 classes; the first classes are far more frequent than the last."""
    rng = random.Random(seed)
    weights = [1 / class_id for class_id in range(1, num_classes + 1)]
    labels = range(1, num_classes + 1)
    return [tuple(dict.fromkeys(rng.choices(labels, weights, k=rng.randint(1, 3)))) for _ in range(num_items)]


def whole_order(class_sets: list[tuple[int, ...]]) -> list[int]:
    return list(islice(balanced_order(class_sets), len(class_sets)))


def counts_of(class_sets: list[tuple[int, ...]], order: list[int]) -> Counter:
    return Counter(class_id for position in order for class_id in class_sets[position])


@pytest.mark.parametrize("seed", range(5))
def test_each_item_appears_once_and_equal_items_keep_their_order(seed: int) -> None:
    class_sets = random_sets(300, 8, seed)
    order = whole_order(class_sets)
    assert sorted(order) == list(range(300))
    for wanted in set(class_sets):
        positions = [position for position in order if set(class_sets[position]) == set(wanted)]
        assert positions == sorted(positions)


@pytest.mark.parametrize("seed", range(5))
def test_each_step_serves_a_class_with_the_fewest_items(seed: int) -> None:
    """The rule itself, checked step by step with plain sets."""
    class_sets = random_sets(200, 6, seed)
    left = set(range(200))
    counts = Counter()

    def mean(position: int) -> float:
        return sum(counts[class_id] for class_id in class_sets[position]) / len(class_sets[position])

    for position in whole_order(class_sets):
        rarest = min(
            {class_id for other in left for class_id in class_sets[other]},
            key=lambda class_id: (counts[class_id], class_id),
        )
        rivals = [other for other in left if rarest in class_sets[other]]
        assert position in rivals
        assert mean(position) == min(map(mean, rivals))
        assert len(class_sets[position]) == max(
            len(class_sets[other]) for other in rivals if mean(other) == mean(position)
        )
        left.remove(position)
        counts.update(class_sets[position])


def test_the_selection_is_balanced_even_if_the_file_is_not() -> None:
    class_sets = random_sets(5000, 20, seed=0)
    of_file = counts_of(class_sets, range(5000))
    assert max(of_file.values()) > 10 * min(of_file.values())
    for num_items, spread in ((100, 2), (500, 2), (1000, 10)):
        counts = counts_of(class_sets, islice(balanced_order(class_sets), num_items))
        assert max(counts.values()) - min(counts.values()) <= spread


def test_a_shorter_selection_is_the_start_of_a_longer_one() -> None:
    class_sets = random_sets(100, 5, seed=0)
    whole = whole_order(class_sets)
    assert list(islice(balanced_order(class_sets), 30)) == whole[:30]


def test_small_cases_by_hand() -> None:
    assert list(balanced_order([])) == []
    assert whole_order([(7,)]) == [0]
    # Classes 1 and 2 together first, then 3, which has none yet, then each item of class 1 alone.
    assert whole_order([(1,), (1,), (2, 1), (3,)]) == [2, 3, 0, 1]


def test_the_order_of_an_items_classes_does_not_matter() -> None:
    assert whole_order([(1, 2), (2, 1), (3,)]) == whole_order([(2, 1), (1, 2), (3,)])


@pytest.mark.timeout(60)
def test_a_large_file_takes_seconds() -> None:
    assert len(whole_order(random_sets(40_000, 80, seed=0))) == 40_000


def with_gaps(class_sets: list[tuple[int, ...]], num_classes: int, num_steps: int) -> list[int | Gap]:
    return list(islice(balanced_order_with_gaps(class_sets, range(1, num_classes + 1)), num_steps))


def classes_of(step: int | Gap, class_sets: list[tuple[int, ...]]) -> tuple[int, ...]:
    return (step.class_id,) if isinstance(step, Gap) else class_sets[step]


@pytest.mark.parametrize("seed", range(4))
def test_with_gaps_no_class_appears_much_more_often_than_another(seed: int) -> None:
    """At every step, although some classes appear up to 30 times as often in the items as others, and one never."""
    class_sets = random_sets(600, 12, seed)
    counts = Counter(dict.fromkeys(range(1, 14), 0))
    for step in with_gaps(class_sets, 13, 2000):
        counts.update(classes_of(step, class_sets))
        if min(counts.values()) >= 4:
            assert max(counts.values()) <= MOST_RATIO * min(counts.values())
    assert min(counts.values()) >= 4


@pytest.mark.parametrize("seed", range(3))
def test_a_gap_is_left_only_if_no_item_fits(seed: int) -> None:
    """The rule itself, checked step by step with plain sets."""
    class_sets = random_sets(150, 6, seed)
    counts = Counter(dict.fromkeys(range(1, 8), 0))
    left: set[int] = set()
    for number, step in enumerate(with_gaps(class_sets, 7, 400)):
        if number % 150 == 0:
            left = set(range(150))
        rarest = min(counts, key=lambda class_id: (counts[class_id], class_id))
        most = max(counts[rarest] + 2, int(1.5 * counts[rarest]))
        rivals = {item for item in left if rarest in class_sets[item]}
        rivals -= {item for item in rivals if any(counts[class_id] + 1 > most for class_id in class_sets[item])}
        if isinstance(step, Gap):
            assert step.class_id == rarest
            assert not rivals
        else:
            assert step in rivals
        left -= {step}
        counts.update(classes_of(step, class_sets))


def test_without_items_there_are_gaps_for_each_class_in_turn() -> None:
    assert with_gaps([], 3, 5) == [Gap(1), Gap(2), Gap(3), Gap(1), Gap(2)]


def test_an_item_repeats_only_after_a_whole_round() -> None:
    class_sets = random_sets(50, 5, seed=0)
    steps = with_gaps(class_sets, 5, 150)
    for start in range(0, 150, 50):
        items = [step for step in steps[start : start + 50] if not isinstance(step, Gap)]
        assert len(items) == len(set(items))
    again = with_gaps(class_sets, 5, 90)
    assert again == steps[:90]


@pytest.mark.timeout(60)
def test_a_pool_of_100000_captions_is_balanced() -> None:
    class_sets = random_sets(100_000, 80, seed=0)
    before = counts_of(class_sets, list(range(100_000)))
    assert max(before.values()) > 50 * min(before.values())
    # The pool alone suffices for this number, ...
    chosen = list(islice(balanced_order(class_sets), 8000))
    after = counts_of(class_sets, chosen)
    assert len(after) == 80
    assert max(after.values()) <= 1.5 * min(after.values())
    # ... but a larger number needs gaps to be filled.
    steps = with_gaps(class_sets, 80, 30_000)
    filled = Counter(class_id for step in steps for class_id in classes_of(step, class_sets))
    assert len(filled) == 80
    assert max(filled.values()) <= 1.5 * min(filled.values())


VOC_TRAIN = (88, 65, 105, 78, 87, 78, 128, 131, 148, 64, 82, 121, 68, 81, 442, 82, 63, 93, 83, 84)
"""Images with each class in VOC2012's segmentation train split, which has 1,464 images."""


def images_of_voc_train(seed: int) -> list[tuple[int, ...]]:
    """Class sets of 1,464 images with VOC's class frequencies but random co-occurrence."""
    rng = random.Random(seed)
    labels = [label for label, count in enumerate(VOC_TRAIN, start=1) for _ in range(count)]
    rng.shuffle(labels)
    images = [{label} for label in labels[:1464]]
    for label in labels[1464:]:
        rng.choice([image for image in images if label not in image]).add(label)
    return [tuple(sorted(image)) for image in images]


def test_captions_of_rare_classes_repeat_until_40000_are_balanced() -> None:
    class_sets = images_of_voc_train(seed=0)
    steps = list(islice(balanced_order_with_reuse(class_sets, range(1, 21)), 40_000))
    assert not any(isinstance(step, Gap) for step in steps)
    assert set(steps) == set(range(1464))
    counts: Counter[int] = Counter()
    for number, step in enumerate(steps, start=1):
        counts.update(class_sets[step])
        if number % 500 == 0:
            assert len(counts) == 20
            assert max(counts.values()) <= 1.5 * min(counts.values())


def test_reuse_leaves_out_no_item_even_if_balance_is_impossible() -> None:
    # Class 2 always appears with class 1, so no order is balanced, yet no item is left out.
    class_sets = [(1,), (1,), (1,), (1, 2)]
    steps = list(islice(balanced_order_with_reuse(class_sets, [1, 2]), 40))
    assert set(steps) == {0, 1, 2, 3}
    assert list(islice(balanced_order_with_reuse([(1,)], [1, 2]), 4)) == [0, Gap(2), 0, Gap(2)]
    assert list(islice(balanced_order_with_reuse([], [1, 2]), 3)) == [Gap(1), Gap(2), Gap(1)]
