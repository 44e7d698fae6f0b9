"""`prompts.jsonl`, the plan of a dataset folder: one line of JSON for each sample, in the order of the batches.

A plan can have a million lines, so it is written line by line and read only where it is needed.
"""

import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import overload

import numpy as np
import orjson

from dataset_diffusion.errors import InputError
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary

PLAN_FILE = "prompts.jsonl"
_CHUNK = 1 << 24
_ID = re.compile(rb'\{"id": ?"([A-Za-z0-9_.-]+)"')


def plan_lines(prompts: Iterable[Prompt], vocabulary: Vocabulary) -> Iterator[bytes]:
    """The lines of prompts.jsonl. `prompts=file prompts.path=.../prompts.jsonl` reads the file and repeats the run."""
    class_prompt = cache(vocabulary.class_prompt)
    for prompt in prompts:
        content = {
            "id": prompt.sample_id,
            "filename": f"{prompt.sample_id}.jpg",
            "caption": prompt.caption,
            "class_prompt": class_prompt(prompt.appended_ids),
            "class_ids": prompt.appended_ids,
            "seed": prompt.seed,
            "source": prompt.source,
        }
        yield orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


class StoredPlan(Sequence[Prompt]):
    """The prompts of a folder's prompts.jsonl; only the places of the lines are kept in memory."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError if there is none, InputError if it cannot be read."""
        self.path = folder / PLAN_FILE
        with self.path.open("rb") as stream:
            try:
                self._content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:  # It is empty.
                raise InputError(f"{self.path}: is empty; delete it, and start again") from error
        self._ends = _line_ends(self._content)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        """Raises InputError that names a line that does not belong in a plan."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        try:
            content = orjson.loads(self.line(index))
            appended = tuple(content["class_ids"])
            class_ids = tuple(dict.fromkeys(appended))
            mentions = appended if class_ids != appended else ()
            return Prompt(content["id"], content["caption"], class_ids, content["seed"], content["source"], mentions)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.path}: line {index + 1}: not a line of a plan; restore the file") from error

    def line(self, index: int) -> bytes:
        """A line as it stands in the file, without its end."""
        start = int(self._ends[index - 1]) + 1 if index else 0
        return self._content[start : int(self._ends[index])]

    def lines(self) -> Iterator[bytes]:
        """All lines, without their ends."""
        return (self.line(index) for index in range(len(self)))

    def sample_id(self, index: int) -> str:
        """The id of a sample, much faster than reading its whole prompt."""
        found = _ID.match(self._content, int(self._ends[index - 1]) + 1 if index else 0)
        return found[1].decode() if found else self[index].sample_id


def _line_ends(content: mmap.mmap) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """The positions of the line ends; anything after the last one is a torn line and left out."""
    parts = [
        np.flatnonzero(np.frombuffer(content[start : start + _CHUNK], np.uint8) == ord("\n")) + start
        for start in range(0, len(content), _CHUNK)
    ]
    return np.concatenate(parts)
