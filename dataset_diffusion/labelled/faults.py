"""Checks of a VOC-style dataset folder before training on it."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import SAMPLE_ID
from dataset_diffusion.images import IMAGE_ERRORS
from dataset_diffusion.labelled.image_files import find_image
from dataset_diffusion.types import IGNORE_INDEX

SHOWN_FAULTS = 20
MASK_MODES = ("P", "L")
JPEG_END = b"\xff\xd9"
JPEG_TAIL = 4096
"""Bytes at the end of a file in which to look for that marker; some programs write more after it."""


def require_valid(folder: Path, split: str, num_labels: int) -> None:
    """Raise InputError if `find_faults` finds any, after printing the first ones to stderr."""
    _refuse(f"{folder}", f"its {split} split", find_faults(folder, split, num_labels))


def require_valid_pairs(where: str, pairs: Sequence[tuple[Path, Path]], num_labels: int) -> None:
    """The same for pairs of image and mask files, wherever they are; the error begins with `where`."""
    faults = [] if pairs else [f"{where}: has no images"]
    _refuse(where, "the part to be used", [*faults, *_faults_of_pairs(pairs, num_labels)])


def _refuse(where: str, what: str, faults: Sequence[str]) -> None:
    if not faults:
        return
    for fault in faults[:SHOWN_FAULTS]:
        print(fault, file=sys.stderr)
    if len(faults) > SHOWN_FAULTS:
        print(f"... and {len(faults) - SHOWN_FAULTS} more", file=sys.stderr)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise InputError(f"{where}: {count} in {what} (above); repair the files or remove the ids from the split")


def find_faults(folder: Path, split: str, num_labels: int) -> list[str]:
    """All faults of a folder, in the order of its split file, each a line that names the file.

    Every id of ImageSets/Segmentation/<split>.txt must be well-formed and unique and have an image in JPEGImages/ (see
    find_image) and SegmentationClass/<id>.png: a single-channel mask of the image's size with labels 0 ...
    num_labels - 1 or 255. Masks are decoded; for images, the header and the end of the file are checked. Raises
    InputError if there is no split file.
    """
    split_file = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    sample_ids, faults = read_split(split_file)
    images, masks = folder / "JPEGImages", folder / "SegmentationClass"
    pairs = [(find_image(images, sample_id), masks / f"{sample_id}.png") for sample_id in sample_ids]
    return [*faults, *_faults_of_pairs(pairs, num_labels)]


def _faults_of_pairs(pairs: Sequence[tuple[Path, Path]], num_labels: int) -> list[str]:
    # Pillow releases the interpreter's lock while it decodes, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda pair: list(_sample_faults(pair[0], pair[1], num_labels)), pairs)
        return list(chain.from_iterable(found))


def read_split(split_file: Path) -> tuple[list[str], list[str]]:
    """The well-formed ids of a split file, each once, and the faults of its other lines.

    Raises InputError if there is no such file.
    """
    try:
        lines = split_file.read_text(encoding="utf-8-sig").splitlines()  # Windows editors may write a byte-order mark
    except FileNotFoundError as error:
        raise InputError(f"{split_file}: no such file; is the folder complete, and in VOC's layout?") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{split_file}: cannot be read as text: {error}") from error
    first_lines: dict[str, int] = {}
    faults = [] if lines else [f"{split_file}: is empty; it must list the ids of the samples, one per line"]
    for number, line in enumerate(lines, start=1):
        where = f"{split_file}: line {number}"
        if not line.strip():
            faults.append(f"{where}: is blank")
        elif not SAMPLE_ID.fullmatch(line):
            faults.append(f"{where}: {line!r} is not an id (letters, digits, '_', '-', '.', no surrounding spaces)")
        elif line in first_lines:
            faults.append(f"{where}: {line!r} already appears on line {first_lines[line]}")
        else:
            first_lines[line] = number
    return list(first_lines), faults


def _sample_faults(image_path: Path, mask_path: Path, num_labels: int) -> Iterator[str]:
    missing = [path for path in (image_path, mask_path) if not path.is_file()]
    yield from (f"{path}: no such file" for path in missing)
    image_size = None
    if image_path not in missing:
        try:
            with Image.open(image_path) as image:
                image_size = image.size
                if not _has_jpeg_end(image_path):
                    image.load()  # Decoding every image would take several times as long as everything else.
        except IMAGE_ERRORS as error:
            yield f"{image_path}: not a readable image: {_reason(error)}"
    if mask_path not in missing:
        yield from _mask_faults(mask_path, image_path, image_size, num_labels)


def _has_jpeg_end(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - JPEG_TAIL))
        return JPEG_END in stream.read()


def _mask_faults(path: Path, image_path: Path, image_size: tuple[int, int] | None, num_labels: int) -> Iterator[str]:
    try:
        with Image.open(path) as mask:
            if mask.mode not in MASK_MODES:
                yield f"{path}: has mode {mask.mode}; a mask has one channel of labels (mode P or L)"
                return
            if image_size is not None and mask.size != image_size:
                yield f"{path}: is {_size(mask.size)}, but {image_path.name} is {_size(image_size)}"
            pixels = mask.histogram()
    except IMAGE_ERRORS as error:
        yield f"{path}: not a readable mask: {_reason(error)}"
        return
    wrong = [label for label, count in enumerate(pixels) if count and num_labels <= label != IGNORE_INDEX]
    if wrong:
        labels = ", ".join(map(str, wrong[:3])) + (", ..." if len(wrong) > 3 else "")
        yield f"{path}: has label {labels}; labels are 0 ... {num_labels - 1}, or {IGNORE_INDEX} for ignored"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _reason(error: BaseException) -> str:
    return str(error).split("\n")[0]
