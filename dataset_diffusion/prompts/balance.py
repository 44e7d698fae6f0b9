"""Orders captions so that any prefix is balanced over the classes."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = tuple[int, ...]
MOST_RATIO = 1.5
"""How many times as often as the rarest class any other class can come, where gaps can be filled."""


@dataclass(frozen=True)
class Gap:
    """A class that has too few captions."""

    class_id: int


def balanced_order(class_sets: Sequence[Classes]) -> Iterator[int]:
    """The positions of all items, such that any first n of them contain each class about equally often.

    `class_sets[i]` are the classes of item i (labels from 1), at least one. Each step serves the class that has the
    fewest items so far, among those that have any left (in a tie, the smallest label). It takes an item whose classes
    have the fewest on average; in a tie, one with more classes, then one whose set of classes comes first. So the order
    depends only on `class_sets`. After the last item it starts again but keeps the counts: each item comes once in
    every len(class_sets) steps.
    """
    pool = _Pool(class_sets)
    while class_sets:
        if not pool.rows:
            pool.refill()
        rarest = min(pool.rows, key=lambda class_id: (pool.counts[class_id], class_id))
        yield pool.take(pool.best(rarest, most=None))


def balanced_order_with_gaps(class_sets: Sequence[Classes], class_ids: Sequence[int]) -> Iterator[int | Gap]:
    """Like balanced_order, without end, but over all `class_ids`, even those that no item has.

    If the rarest class has no item left, or each of its items has a class that comes too often already, a Gap takes
    the item's place; it counts as an item of that class only. So in any prefix in which each class comes at least 4
    times, none comes more than MOST_RATIO times as often as another. In every len(class_sets) steps an item comes at
    most once.
    """
    pool = _Pool(class_sets, max(class_ids))
    labels = np.array(sorted(class_ids))
    step = 0
    while True:
        if class_sets and step % len(class_sets) == 0:
            pool.refill()
        step += 1
        rarest = int(labels[pool.counts[labels].argmin()])
        fewest = int(pool.counts[rarest])
        row = pool.best(rarest, most=max(fewest + 2, int(MOST_RATIO * fewest)))
        if row is None:
            pool.counts[rarest] += 1
            yield Gap(rarest)
        else:
            yield pool.take(row)


def balanced_order_with_reuse(class_sets: Sequence[Classes], class_ids: Sequence[int]) -> Iterator[int | Gap]:
    """Like balanced_order_with_gaps, but items of rare classes are reused where a gap would be.

    So the only gaps are for classes that no item has. In each round every item comes at least once. An item that has
    not come yet is preferred: one of the rarest class, or else any other that brings no class to more than MOST_RATIO
    times as many items as the rarest has. Only then is an item of the rarest class reused, one whose classes are as
    rare as possible. Classes stay within MOST_RATIO of each other unless every item of the rarest class also has a
    frequent one.
    """
    pool = _ReusedPool(class_sets, max(class_ids))
    labels = np.array(sorted(class_ids))
    while True:
        rarest = int(labels[pool.counts[labels].argmin()])
        fewest = int(pool.counts[rarest])
        most = max(fewest + 2, int(MOST_RATIO * fewest))
        row = pool.choose(rarest, most)
        if row is None:
            pool.counts[rarest] += 1
            yield Gap(rarest)
        else:
            yield pool.take(row)


class _ReusedPool:
    """The items, all reusable, by their classes, and how often each class has come, in `counts` [K + 1]."""

    def __init__(self, class_sets: Sequence[Classes], max_class: int) -> None:
        self._positions = _by_classes(class_sets)
        self._sets = _sorted_sets(self._positions)
        self._sizes = np.array([len(classes) for classes in self._sets])
        self._table = _table(self._sets)
        self.counts = np.zeros(max(self._table.max(initial=0), max_class) + 1, dtype=np.int64)
        self._rows = _rows_of_labels(self._table)
        self._columns = _columns(self._table)
        self._numbers = np.array([len(self._positions[classes]) for classes in self._sets])
        self._uses = np.zeros(len(self._sets), dtype=np.int64)
        self._new = self._numbers.copy()  # How many items of each row have not come yet in this round.
        self._num_new = len(class_sets)
        self._waiting: deque[int] = deque()
        self._looked_for = -1

    def _find_waiting(self, most: int) -> None:
        """Note the rows that have items left in this round and that bring no class to more than `most`."""
        if most == self._looked_for:
            return
        self._looked_for = most
        rows = np.flatnonzero(self._new)
        highest, means = _highest_and_mean(self.counts, self._columns, self._sizes, rows)
        rarest_first = np.argsort(means, kind="stable")
        self._waiting = deque(rows[rarest_first][highest[rarest_first] < most].tolist())

    def choose(self, rarest: int, most: int) -> int | None:
        """The row to take; None if no item has the rarest class."""
        rows = self._rows.get(rarest)
        if rows is None:
            return None
        highest, means = _highest_and_mean(self.counts, self._columns, self._sizes, rows)
        allowed = highest < most
        fresh = allowed & (self._new[rows] > 0)
        if fresh.any():
            return int(rows[np.where(fresh, means, np.inf).argmin()])
        self._find_waiting(most)
        while self._waiting:
            row = self._waiting[0]
            if self._new[row] and self.counts[self._table[row]].max() < most:
                return row
            self._waiting.popleft()
        if not allowed.any():
            return int(rows[means.argmin()])
        # Each past use of all of a row's items weighs as much as one more item of its classes.
        turns = self._uses[rows] / self._numbers[rows]
        return int(rows[np.where(allowed, means + turns - turns.min(), np.inf).argmin()])

    def take(self, row: int) -> int:
        """The position of a row's next item."""
        items = self._positions[self._sets[row]]
        position = items[self._uses[row] % len(items)]
        self._uses[row] += 1
        self.counts[list(self._sets[row])] += 1
        if self._new[row]:
            self._new[row] -= 1
            self._num_new -= 1
            if not self._num_new:
                self._new, self._num_new = self._numbers.copy(), int(self._numbers.sum())
                self._looked_for = -1
        return position


class _Pool:
    """The items that are left, by their classes, and how often each class was taken, in `counts` [K + 1]."""

    def __init__(self, class_sets: Sequence[Classes], max_class: int = 0) -> None:
        # Items with the same classes differ only in their position: choose among sets of classes, which are fewer.
        self._positions = _by_classes(class_sets)
        self._sets = _sorted_sets(self._positions)
        self._sizes = np.array([len(classes) for classes in self._sets])
        self._table = _table(self._sets)
        self._columns = _columns(self._table)
        self.counts = np.zeros(max(self._table.max(initial=0), max_class) + 1, dtype=np.int64)
        self.rows: dict[int, NDArray[np.int64]] = {}
        self.refill()

    def refill(self) -> None:
        """Put all items back."""
        self._waiting = [deque(self._positions[classes]) for classes in self._sets]
        # For each class, the sets that have items left, as rows of the table.
        self.rows = _rows_of_labels(self._table)

    def best(self, class_id: int, most: int | None) -> int | None:
        """The row to take for a class that brings no class to more than `most`; None if there is no such row."""
        rows = self.rows.get(class_id)
        if rows is None:
            return None
        highest, means = _highest_and_mean(self.counts, self._columns, self._sizes, rows)
        if most is not None:
            means[highest >= most] = np.inf
        # In a tie argmin takes the first, which is why the sets are sorted.
        first = int(means.argmin())
        return int(rows[first]) if means[first] < np.inf else None

    def take(self, row: int | None) -> int:
        """The position of a row's next item, which is then removed."""
        assert row is not None  # A class in `rows` has items left.
        position = self._waiting[row].popleft()
        self.counts[list(self._sets[row])] += 1
        if not self._waiting[row]:
            self._remove(row)
        return position

    def _remove(self, row: int) -> None:
        for label in self._sets[row]:
            self.rows[label] = self.rows[label][self.rows[label] != row]
            if not len(self.rows[label]):
                del self.rows[label]


Columns = list[NDArray[np.int64]]


def _columns(table: NDArray[np.int64]) -> Columns:
    """The columns of a table of sets, each contiguous in memory."""
    return [np.ascontiguousarray(column) for column in table.T]


def _highest_and_mean(
    counts: NDArray[np.int64], columns: Columns, sizes: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each of the rows, how often its most frequent class has come, and how often its classes have on average."""
    # Column by column is several times as fast as along the short rows. Label 0 pads them and is never counted.
    highest = total = np.zeros(len(rows), dtype=np.int64)
    for column in columns:
        numbers = counts.take(column.take(rows))
        highest, total = np.maximum(highest, numbers), total + numbers
    return highest, total / sizes.take(rows)


def _by_classes(class_sets: Sequence[Classes]) -> dict[Classes, list[int]]:
    """The positions of the items with each set of classes."""
    positions: dict[Classes, list[int]] = defaultdict(list)
    for position, classes in enumerate(class_sets):
        positions[tuple(sorted(classes))].append(position)
    return positions


def _sorted_sets(positions: dict[Classes, list[int]]) -> list[Classes]:
    """The sets, those with more classes first; in a tie, the one whose first item comes first."""
    return sorted(positions, key=lambda classes: (-len(classes), positions[classes][0]))


def _rows_of_labels(table: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """For each label, the rows of a table of sets that contain it."""
    labels = np.unique(table[table > 0])
    return {int(label): np.flatnonzero((table == label).any(axis=1)) for label in labels}


def _table(sets: list[Classes]) -> NDArray[np.int64]:
    """The sets as rows [number of sets, size of the largest set], padded with label 0."""
    table = np.zeros((len(sets), max(map(len, sets), default=0)), dtype=np.int64)
    for row, classes in enumerate(sets):
        table[row, : len(classes)] = classes
    return table
