"""`dataset.json`: what a dataset folder is and how it was made."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataset_diffusion.dataset.manifest import SampleRecord
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import GenerateSettings
from dataset_diffusion.types import IGNORE_INDEX
from dataset_diffusion.versions import installed_versions
from dataset_diffusion.vocabulary import Vocabulary

DESCRIPTION_FILE = "dataset.json"
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow")


OF_ONE_RUN = ("dry_run", "compare_with", "shard", "strict", "verify", "repair", "remask")
"""Settings that say nothing about the folder, only what one process does now."""


@dataclass(frozen=True)
class PlanFacts:
    """What dataset.json records about the making of the plan.

    The plan has `num_prompts` lines. `num_without_class` captions were left out, and `num_shortened` lose words because
    the text encoder reads no more. `files` holds the SHA-256 of each file that captions were read from, by file name.
    """

    num_prompts: int
    num_without_class: int
    num_shortened: int
    files: dict[str, str]


def describe_dataset(
    settings: GenerateSettings,
    vocabulary: Vocabulary,
    model: Mapping[str, str],
    plan: PlanFacts,
    records: Sequence[SampleRecord] | None,
    made_with: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of dataset.json.

    `model` has `id` and `revision`, and is empty while there is only a plan; `records` is None while samples are
    missing. `made_with` holds the versions and the device that the folder was started with; None: the current ones.
    """
    return {
        "format": settings.writer,
        "counts": None if records is None else _count(records, vocabulary),
        "plan": asdict(plan),
        "model": dict(model),
        "settings": {name: value for name, value in asdict(settings).items() if name not in OF_ONE_RUN},
        "versions": dict(made_with or {"device": None} | installed_versions(LIBRARIES)),
        "ignore_index": IGNORE_INDEX,
        "vocabulary": describe_vocabulary(vocabulary),
    }


def describe_vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    """Names and colours by label (background first), and the words that prompts use (without the background)."""
    return {
        "name": vocabulary.name,
        "label_names": list(vocabulary.label_names),
        "palette": [list(colour) for colour in vocabulary.palette],
        "words": [entry.word for entry in vocabulary.classes],
    }


def read_description(folder: Path) -> dict[str, Any] | None:
    """A folder's dataset.json, or None if it has none. Raises InputError if the file is not a dataset.json."""
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON; name another folder") from error
    if not isinstance(content, dict) or not {"settings", "vocabulary", "model"} <= content.keys():
        raise InputError(f"{path}: not written by dd-generate; name another folder")
    return content


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as pairs such as ("mask.threshold", 0.6), in their order."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _count(records: Sequence[SampleRecord], vocabulary: Vocabulary) -> dict[str, Any]:
    images = Counter(entry.label for record in records for entry in record.classes)
    return {
        "images": len(records),
        "images_per_class": {vocabulary[label].name: images[label] for label in vocabulary.class_ids},
    }
