"""Fourth step of planning: write the captions of entries that have none."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.seeds import named_rng

WriteCaption = Callable[[Sequence[int], random.Random], str]
"""Writes a caption of classes (labels); the generator makes every choice of words."""


def write_captions(entries: Iterable[Entry], write_caption: WriteCaption, seed: int) -> Iterator[Entry]:
    """The entries, each with a caption; one that is written is a function of `seed` and of the sample id."""
    for entry in entries:
        if entry.caption is None:
            rng = named_rng(seed, f"caption/{entry.sample_id}")
            entry = replace(entry, caption=write_caption(entry.class_ids or (), rng))
        yield entry
