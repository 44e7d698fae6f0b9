"""The labels of a dataset folder, as its dataset.json names them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_diffusion.errors import InputError

DESCRIPTION_FILE = "dataset.json"


@dataclass(frozen=True)
class Labels:
    """Names and RGB colours by label, the background first."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


def label_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """How two lists of label names differ ("its label 3 is 'cat', but it is 'dog'"), or an empty string."""
    if len(found) != len(expected):
        return f"it has {len(found)} labels, but there are {len(expected)}"
    for label, (name, other) in enumerate(zip(found, expected, strict=True)):
        if name != other:
            return f"its label {label} is {name!r}, but it is {other!r}"
    return ""


def read_labels(dataset_dir: Path) -> Labels:
    """Read `vocabulary` from dataset.json. Raises InputError if there is none."""
    path = dataset_dir / DESCRIPTION_FILE
    if not dataset_dir.is_dir():
        raise InputError(f"dataset_dir={dataset_dir}: no such folder; make it with dd-generate, or name another")
    try:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))["vocabulary"]
        names = tuple(str(name) for name in vocabulary["label_names"])
        palette = tuple((int(red), int(green), int(blue)) for red, green, blue in vocabulary["palette"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; dataset_dir must be a folder that dd-generate made") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: does not describe labels; dataset_dir must be a folder that dd-generate made"
        ) from error
    if len(names) < 2 or len(names) != len(palette):
        raise InputError(
            f"{path}: {len(names)} label names and {len(palette)} colours; there must be equally many, at least 2"
        )
    return Labels(names, palette)
