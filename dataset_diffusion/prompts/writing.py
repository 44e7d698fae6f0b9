"""Fourth step of planning: write captions for entries that have none."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

from dataset_diffusion.parallel import parallel_map
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.seeds import HashedRandom

WriteCaption = Callable[[Sequence[int], random.Random], str]
"""Writes a caption for classes (labels); the generator makes every choice of words. It must be picklable."""
Wanted = list[tuple[str, tuple[int, ...]]]
"""The sample id and the classes of each caption to be written."""
AT_ONCE = 1000
"""Entries in one item of parallel_map, which starts processes only if there are more than a few items."""


def write_captions(entries: Iterable[Entry], write_caption: WriteCaption, seed: int) -> Iterator[Entry]:
    """The entries, each with a caption; a caption written here is a function of `seed` and the sample id.

    If there are many, several processes write them.
    """
    iterator, waiting = iter(entries), deque[list[Entry]]()

    def wanted() -> Iterator[Wanted]:
        while chunk := list(islice(iterator, AT_ONCE)):
            waiting.append(chunk)
            yield [(entry.sample_id, entry.class_ids or ()) for entry in chunk if entry.caption is None]

    for captions in parallel_map(partial(_write, write_caption, seed), wanted()):
        written = iter(captions)
        for entry in waiting.popleft():
            yield entry if entry.caption is not None else Entry(entry.sample_id, next(written), *entry[2:])


def _write(write_caption: WriteCaption, seed: int, wanted: Wanted) -> list[str]:
    rng, captions = HashedRandom(), []
    for sample_id, class_ids in wanted:
        rng.begin(seed, f"caption/{sample_id}")
        captions.append(write_caption(class_ids, rng))
    return captions
