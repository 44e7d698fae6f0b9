"""COCO's captions with the classes that its instances show (arXiv 2309.14303), and which classes occur together."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataset_diffusion.archives import COCO_ANNOTATIONS_SOURCE
from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.vocabulary import Vocabulary


def read_coco_captions(data_root: Path, split: str, vocabulary: Vocabulary) -> list[Entry]:
    """All captions of `data_root/annotations/captions_<split>.json`, with the classes of `instances_<split>.json`.

    Classes are labels of the vocabulary in ascending order, found by the category's name; categories that are not in
    the vocabulary are left out. The first captions of all images come first, then the second ones: similar captions are
    far apart. Sample ids are "<image id>_<caption id>". Raises InputError that names the file and its fault.
    """
    folder = data_root / "annotations"
    captions_file = folder / f"captions_{split}.json"
    classes = read_coco_instances(folder / f"instances_{split}.json", vocabulary)
    captions = _read(captions_file)
    entries: list[tuple[int, Entry]] = []
    seen: dict[int, int] = defaultdict(int)
    known_images = {image.get("id") for image in _list(captions_file, captions, "images")}
    for where, annotation in _annotations(captions_file, captions):
        image_id, caption_id, caption = (annotation.get(key) for key in ("image_id", "id", "caption"))
        if not isinstance(caption, str):
            raise InputError(f"{where}: has no caption; is it COCO's captions file?")
        if type(image_id) is not int or type(caption_id) is not int or image_id not in known_images:
            raise InputError(f"{where}: has no id, or no image_id of an image in the file")
        source = f"{captions_file.name}: image {image_id}, caption {caption_id}"
        text = " ".join(caption.split())
        entry = Entry(f"{image_id:012d}_{caption_id}", text, classes.get(image_id, ()), source)
        entries.append((seen[image_id], entry))
        seen[image_id] += 1
    return [entry for _, entry in sorted(entries, key=lambda item: item[0])]


def read_coco_instances(path: Path, vocabulary: Vocabulary) -> dict[int, tuple[int, ...]]:
    """The classes (labels, ascending) in each image of a COCO instances file, by image id.

    Crowds count: they show the class. Raises InputError that names the file if it is not one, or if none of its
    categories is a class of the vocabulary.
    """
    content = _read(path)
    categories = _list(path, content, "categories")
    names = {category.get("id"): str(category.get("name")) for category in categories}
    labels = {category_id: vocabulary.class_id(name) for category_id, name in names.items()}
    if not any(labels.values()):
        raise InputError(f"{path}: none of its categories is a class of vocabulary {vocabulary.name}; set vocabulary")
    classes: dict[int, set[int]] = defaultdict(set)
    for where, annotation in _annotations(path, content):
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        if type(image_id) is not int or category_id not in names:
            raise InputError(f"{where}: unknown class {category_id!r}, or no image_id; is it COCO's instances file?")
        label = labels[category_id]
        if label is not None:
            classes[image_id].add(label)
    return {image_id: tuple(sorted(found)) for image_id, found in classes.items()}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; unpack {COCO_ANNOTATIONS_SOURCE} in prompts.data_root") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: line {error.lineno}: not JSON ({error.msg}); unpack {COCO_ANNOTATIONS_SOURCE} again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON; unpack {COCO_ANNOTATIONS_SOURCE} again") from error


def _list(path: Path, content: Any, key: str) -> list[dict[str, Any]]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: has no list `{key}`; use the file in {COCO_ANNOTATIONS_SOURCE}")
    return entries


def _annotations(path: Path, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The annotations, each with its place."""
    annotations = _list(path, content, "annotations")
    if not annotations:
        raise InputError(f"{path}: its list `annotations` is empty; use the file in {COCO_ANNOTATIONS_SOURCE}")
    for number, annotation in enumerate(annotations, start=1):
        yield f"{path}: annotation {number}", annotation
