"""PASCAL VOC's images with the classes of their annotations, and folders of images without annotations."""

import hashlib
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from dataset_diffusion.archives import VOC_SOURCE, find_voc
from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.images import IMAGE_ERRORS
from dataset_diffusion.prompts.entries import Entry, require_sample_id, safe_sample_id
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX
from dataset_diffusion.vocabulary import Vocabulary, load_vocabulary

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

KINDS = ("Segmentation", "Main")
"""Folders of ImageSets/ that a split can be in; the first that has it wins."""


def read_voc_images(data_root: Path, split: str, vocabulary: Vocabulary) -> list[Entry]:
    """The images of ImageSets/Segmentation/<split>.txt, or else Main/<split>.txt, in VOC2012 below `data_root`.

    `split` can also name the folder: "Main/trainval" is the 11,540 images with boxes.

    Their classes are those of SegmentationClass/<id>.png (VOC's labels), or else of Annotations/<id>.xml; classes that
    are not in the vocabulary are left out. Raises InputError that names the missing or malformed file.
    """
    root = find_voc(data_root, "prompts.data_root", needed="JPEGImages")
    images = []
    for sample_id in _read_split(root, split):
        path = root / "JPEGImages" / f"{sample_id}.jpg"
        if not path.is_file():
            raise InputError(f"{path}: no such file; unpack {VOC_SOURCE} again")
        class_ids = _classes(root, sample_id, vocabulary)
        images.append(Entry(sample_id, None, class_ids, f"{path.parent.name}/{path.name}", image=path))
    return images


def list_images(folder: Path) -> list[Entry]:
    """The image files in a folder and below it, sorted by path, without classes.

    Sample ids are made from the paths. Raises InputError if there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"prompts.path={folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"prompts.path={folder}: contains no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    images: list[Entry] = []
    taken: set[str] = set()
    for path in paths:
        source = path.relative_to(folder).as_posix()
        sample_id = safe_sample_id(str(Path(source).with_suffix("")))
        if sample_id.lower() in taken:  # "a b.jpg" and "a_b.jpg"
            sample_id = f"{sample_id[:180]}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        taken.add(sample_id.lower())
        images.append(Entry(sample_id, None, None, source, image=path))
    return images


def _read_split(root: Path, split: str) -> list[str]:
    sets = root / "ImageSets"
    files = [sets / f"{split}.txt"] if "/" in split else [sets / kind / f"{split}.txt" for kind in KINDS]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        splits = sorted(path.stem for path in (sets / KINDS[0]).glob("*.txt"))
        main = (f"{KINDS[1]}/{name}" for name in ("train", "trainval", "val"))
        splits += [name for name in main if (sets / f"{name}.txt").is_file()]
        remedy = f"set prompts.split to one of {', '.join(splits)}" if splits else f"unpack {VOC_SOURCE} again"
        raise InputError(f"{files[0]}: no such file; {remedy}")
    first_lines: dict[str, int] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        # Lists for one class, such as Main/dog_train.txt, have a second column.
        sample_id = require_sample_id(f"{file}: line {number}: id", line.split()[0])
        if first_lines.setdefault(sample_id, number) != number:
            raise InputError(f"{file}: line {number}: {sample_id!r} already appears on line {first_lines[sample_id]}")
    if not first_lines:
        raise InputError(f"{file}: is empty; it must list the ids of the images, one per line")
    return list(first_lines)


def _classes(root: Path, sample_id: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    mask = root / "SegmentationClass" / f"{sample_id}.png"
    annotation = root / "Annotations" / f"{sample_id}.xml"
    if mask.is_file():
        names = dict.fromkeys(_mask_names(mask), mask)
    elif annotation.is_file():
        names = dict.fromkeys(_xml_names(annotation), annotation)
    else:
        raise InputError(f"{mask}: no such file, and no {annotation.parent.name}/{annotation.name} either")
    labels = {_label(file, name, vocabulary) for name, file in names.items()}
    return tuple(sorted(label for label in labels if label is not None))


def _mask_names(path: Path) -> list[str]:
    """VOC's names for the labels in a mask."""
    names = _voc().label_names
    try:
        with Image.open(path) as mask:
            if mask.mode not in {"P", "L"}:
                raise InputError(f"{path}: has mode {mask.mode}; a mask has one channel of labels (mode P or L)")
            labels = [label for label, count in enumerate(mask.histogram()) if count]
    except IMAGE_ERRORS as error:
        raise InputError(f"{path}: not a readable mask ({first_line(error)})") from error
    if unknown := [label for label in labels if len(names) <= label != IGNORE_INDEX]:
        raise InputError(f"{path}: has label {unknown[0]}, which is not a VOC class (1 ... {len(names) - 1})")
    return [names[label] for label in labels if label not in (BACKGROUND, IGNORE_INDEX)]


def _xml_names(path: Path) -> list[str]:
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as XML ({error})") from error
    names = [entry.findtext("name", "").strip() for entry in objects]
    if not all(names):
        raise InputError(f"{path}: an object has no name; is it a VOC annotation?")
    return names


def _label(file: Path, name: str, vocabulary: Vocabulary) -> int | None:
    """The label of a VOC class, by its name or the words for it: COCO knows "tv monitor" but not "tvmonitor"."""
    class_id = _voc().class_id(name)
    texts = (name,) if class_id is None else (name, _voc()[class_id].word)
    label = next((label for text in texts if (label := vocabulary.class_id(text)) is not None), None)
    if label is None and class_id is None:
        raise InputError(f"{file}: unknown class {name!r}: neither in VOC nor in vocabulary {vocabulary.name}")
    return label


@cache
def _voc() -> Vocabulary:
    return load_vocabulary("voc")
