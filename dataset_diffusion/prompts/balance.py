"""An order of captions in which any beginning is balanced over the classes."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Classes = tuple[int, ...]


def balanced_order(class_sets: Sequence[Classes]) -> Iterator[int]:
    """The positions of all items, such that any first n of them hold the classes about equally often.

    `class_sets[i]` are the classes of item i (labels from 1), at least one. Each step serves the class that has the
    fewest items so far, of those that have any left (of equals, the smallest label). It takes an item whose classes
    have the fewest on average; of equals, one with more classes, then one whose classes came together first. So it is
    a function of `class_sets` alone.
    """
    # Items with the same classes differ in their position only: choose among sets of classes, which are fewer.
    waiting: dict[Classes, deque[int]] = defaultdict(deque)
    for position, classes in enumerate(class_sets):
        waiting[tuple(sorted(classes))].append(position)
    sets = sorted(waiting, key=lambda classes: (-len(classes), waiting[classes][0]))
    sizes = np.array([len(classes) for classes in sets])
    table = _table(sets)
    # The sets of each class that have items left, as rows of the table.
    rows = {int(label): np.flatnonzero((table == label).any(axis=1)) for label in np.unique(table[table > 0])}
    counts = np.zeros(table.max(initial=0) + 1, dtype=np.int64)

    while rows:
        rarest = min(rows, key=lambda label: (counts[label], label))
        # Label 0 fills the table and is counted never, so that it adds nothing to a sum.
        means = counts[table[rows[rarest]]].sum(axis=1) / sizes[rows[rarest]]
        # argmin takes the first of equals, which is why the sets are sorted.
        chosen = int(rows[rarest][means.argmin()])
        classes = sets[chosen]
        yield waiting[classes].popleft()
        counts[list(classes)] += 1
        if not waiting[classes]:
            _remove(chosen, classes, rows)


def _table(sets: list[Classes]) -> NDArray[np.int64]:
    """The sets as rows [number of sets, most classes of a set], filled up with label 0."""
    table = np.zeros((len(sets), max(map(len, sets), default=0)), dtype=np.int64)
    for row, classes in enumerate(sets):
        table[row, : len(classes)] = classes
    return table


def _remove(row: int, classes: Classes, rows: dict[int, NDArray[np.int64]]) -> None:
    for label in classes:
        rows[label] = rows[label][rows[label] != row]
        if not len(rows[label]):
            del rows[label]
