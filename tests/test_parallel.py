import itertools

import pytest

from dataset_diffusion import parallel
from dataset_diffusion.errors import InputError
from dataset_diffusion.parallel import parallel_map


def square_but_not_99(number: int) -> int:
    if number == 99:
        raise InputError("99: cannot be squared")
    return number * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_until_the_first_error(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "FEW", 4)
    read = []
    # Endless: it is read only as far as the processes need.
    items = (read.append(number) or number for number in itertools.count())
    results = parallel_map(square_but_not_99, items, workers)
    assert list(itertools.islice(results, 40)) == [number * number for number in range(40)]
    assert len(read) <= 40 + parallel.CHUNK * (parallel.CHUNKS_AHEAD * workers + 1)
    with pytest.raises(InputError, match="99: cannot be squared"):
        list(results)


def test_few_items_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", None)
    assert list(parallel_map(abs, range(-3, 0), 2)) == [3, 2, 1]
