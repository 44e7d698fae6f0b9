import random
from collections import Counter
from itertools import islice

import pytest

from dataset_diffusion.prompts.balance import balanced_order


def random_sets(num_items: int, num_classes: int, seed: int) -> list[tuple[int, ...]]:
    """Sets of 1 to 3 classes, of which the first are far more frequent than the last."""
    rng = random.Random(seed)
    weights = [1 / class_id for class_id in range(1, num_classes + 1)]
    labels = range(1, num_classes + 1)
    return [tuple(dict.fromkeys(rng.choices(labels, weights, k=rng.randint(1, 3)))) for _ in range(num_items)]


def whole_order(class_sets: list[tuple[int, ...]]) -> list[int]:
    return list(islice(balanced_order(class_sets), len(class_sets)))


def counts_of(class_sets: list[tuple[int, ...]], order: list[int]) -> Counter:
    return Counter(class_id for position in order for class_id in class_sets[position])


@pytest.mark.parametrize("seed", range(5))
def test_each_item_comes_once_and_equal_items_keep_their_order(seed: int) -> None:
    class_sets = random_sets(300, 8, seed)
    order = whole_order(class_sets)
    assert sorted(order) == list(range(300))
    for wanted in set(class_sets):
        positions = [position for position in order if set(class_sets[position]) == set(wanted)]
        assert positions == sorted(positions)


@pytest.mark.parametrize("seed", range(5))
def test_each_step_serves_a_class_with_the_fewest_items(seed: int) -> None:
    """The rule itself, checked step by step on plain sets."""
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


def test_selection_is_balanced_where_the_file_is_not() -> None:
    class_sets = random_sets(5000, 20, seed=0)
    of_file = counts_of(class_sets, range(5000))
    assert max(of_file.values()) > 10 * min(of_file.values())
    for num_items, spread in ((100, 2), (500, 2), (1000, 10)):
        counts = counts_of(class_sets, islice(balanced_order(class_sets), num_items))
        assert max(counts.values()) - min(counts.values()) <= spread


def test_shorter_selection_begins_a_longer_one() -> None:
    class_sets = random_sets(100, 5, seed=0)
    whole = whole_order(class_sets)
    assert list(islice(balanced_order(class_sets), 30)) == whole[:30]


def test_small_cases_by_hand() -> None:
    assert list(balanced_order([])) == []
    assert whole_order([(7,)]) == [0]
    # 1 and 2 together first, then 3, which has none; then 1 alone, because class 1 is behind 2 no more than 2 is.
    assert whole_order([(1,), (1,), (2, 1), (3,)]) == [2, 3, 0, 1]


def test_the_order_of_an_items_classes_is_of_no_account() -> None:
    assert whole_order([(1, 2), (2, 1), (3,)]) == whole_order([(2, 1), (1, 2), (3,)])


@pytest.mark.timeout(60)
def test_a_large_file_takes_seconds() -> None:
    assert len(whole_order(random_sets(40_000, 80, seed=0))) == 40_000
