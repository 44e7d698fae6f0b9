"""The entries that pass through the five steps of planning and are complete at the end (see plan.py)."""

import re
from pathlib import Path
from typing import NamedTuple

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import SAMPLE_ID

TEMPLATE = "template"
"""The source of template captions."""
SAMPLE_ID_REMEDY = "use at most 200 letters, digits, '_', '-' and '.', starting with a letter, digit or '_'"


class Entry(NamedTuple):  # A plan makes millions: a frozen dataclass would take three times as long.
    """A caption (without the classes that may be appended to it) and its classes (labels), possibly none.

    `caption` is None until it is written, `class_ids` until they are found. `image` is the file to be captioned.
    `source` says where the caption can be found again: "captions_train2017.json: image 139, caption 771337".
    `seed` comes from a plan that is to be repeated; None gives the sample its own. `mentions` are the classes with
    repeats, if their words are appended more than once (see Prompt).
    """

    sample_id: str
    caption: str | None
    class_ids: tuple[int, ...] | None
    source: str
    seed: int | None = None
    image: Path | None = None
    mentions: tuple[int, ...] = ()


def with_mentions(entry: Entry, mentions: tuple[int, ...]) -> Entry:
    """The entry with the classes in `mentions`, which can contain repeats."""
    class_ids = tuple(dict.fromkeys(mentions))
    return entry._replace(class_ids=class_ids, mentions=mentions if len(mentions) > len(class_ids) else ())


def require_sample_id(where: str, sample_id: str) -> str:
    """Return `sample_id`; raise InputError "<where> '<id>': <remedy>" unless it is a file name on every system."""
    if not SAMPLE_ID.fullmatch(sample_id):
        raise InputError(f"{where} {sample_id!r}: {SAMPLE_ID_REMEDY}")
    return sample_id


def safe_sample_id(text: str) -> str:
    """A sample id made from a file's path or name: "birds/a (1)" -> "birds_a_1_". Two texts can give the same id."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).lstrip(".-")[:200] or "_"
