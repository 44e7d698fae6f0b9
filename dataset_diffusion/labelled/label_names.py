"""The labels of a dataset folder, as its dataset.json names them."""

import json
from dataclasses import dataclass
from pathlib import Path

from dataset_diffusion.errors import InputError

DESCRIPTION_FILE = "dataset.json"


@dataclass(frozen=True)
class Labels:
    """Names and RGB colours by label, the background first."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


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
