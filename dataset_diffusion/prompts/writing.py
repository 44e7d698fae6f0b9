"""Fourth step of planning: write the captions of entries that have none."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.seeds import HashedRandom

WriteCaption = Callable[[Sequence[int], random.Random], str]
"""Writes a caption of classes (labels); the generator makes every choice of words."""


def write_captions(entries: Iterable[Entry], write_caption: WriteCaption, seed: int) -> Iterator[Entry]:
    """The entries, each with a caption; one that is written is a function of `seed` and of the sample id."""
    rng = HashedRandom()
    for entry in entries:
        if entry.caption is None:
            rng.begin(seed, f"caption/{entry.sample_id}")
            caption = write_caption(entry.class_ids or (), rng)
            # Not by replace(), which takes several times as long.
            entry = Entry(
                entry.sample_id, caption, entry.class_ids, entry.source, entry.seed, entry.image, entry.mentions
            )
        yield entry
