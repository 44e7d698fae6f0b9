"""Reading files, with errors that name the file and the remedy, and writing them in one step."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset_diffusion.dataset.validate import IMAGE_ERRORS
from dataset_diffusion.dataset.writer import encode_mask
from dataset_diffusion.errors import InputError
from dataset_diffusion.types import IGNORE_INDEX
from dataset_diffusion.vocabulary import voc_colour

LABEL_COLOURS = tuple(voc_colour(label) for label in range(IGNORE_INDEX))
"""PASCAL VOC's RGB colour of each label."""


def read_image(path: Path) -> np.ndarray:
    """Read an image file as [H, W, 3] uint8 RGB. Raises InputError when it cannot be read.

    An EXIF orientation is not applied: the masks of VOC and COCO fit the stored pixels.
    """
    try:
        with Image.open(path) as file:
            return np.array(file.convert("RGB"))
    except IMAGE_ERRORS as error:
        raise InputError(f"{path}: cannot be read as an image ({_reason(error)}); fetch or write it again") from error


def read_label_mask(path: Path, num_labels: int) -> np.ndarray:
    """Read a mask as [H, W] uint8: the indices of a palette PNG, or the values of a grey one.

    Raises InputError when it cannot be read, has colour channels or more than 8 bits, or holds a label that is
    neither below `num_labels` nor 255.
    """
    try:
        with Image.open(path) as file:
            mode = file.mode
            labels = np.array(file)
    except IMAGE_ERRORS as error:
        raise InputError(f"{path}: cannot be read as a mask ({_reason(error)}); fetch or write it again") from error
    if mode not in {"P", "L"}:
        raise InputError(f"{path}: has mode {mode}; a mask is a palette or 8-bit grey PNG whose values are the labels")
    wrong = labels[(labels >= num_labels) & (labels != IGNORE_INDEX)]
    if wrong.size:
        raise InputError(
            f"{path}: has the label {wrong.min()}, which is neither one of 0 ... {num_labels - 1} nor {IGNORE_INDEX}; "
            "is it the mask of another dataset?"
        )
    return labels


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises InputError when it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def parse_json(path: Path, content: bytes) -> Any:
    """The value of a JSON file with this content. Raises InputError naming the file and the place of the fault."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); fetch or write it again") from error


def require_files(folder: Path, names: Sequence[str]) -> None:
    """Raise an InputError that names the first missing file, and says how many are missing, unless all are there."""
    # One listing instead of a question per file: on network drives that is seconds against minutes.
    try:
        there = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: no such folder, but the split's files are read from it") from error
    missing = [name for name in names if name not in there]
    if missing:
        more = f" and {len(missing) - 1} more of {len(names)} are" if len(missing) > 1 else " is"
        raise InputError(f"{folder / missing[0]}{more} missing; unpack the dataset again or take the ids off the split")


def require_same_size(image_path: Path, image: np.ndarray, mask: str, labels: np.ndarray) -> None:
    """Raise an InputError naming image and mask unless the labels [H, W] fit the image [H, W, 3]."""
    (height, width), (mask_height, mask_width) = image.shape[:2], labels.shape
    if (height, width) != (mask_height, mask_width):
        raise InputError(
            f"{image_path}: is {width} x {height} pixels, but {mask} is {mask_width} x {mask_height}; "
            "they must be of one size"
        )


def write_label_mask(path: Path, labels: np.ndarray) -> None:
    """Write [H, W] uint8 labels as a palette PNG in VOC's colours, in one step."""
    write_bytes(path, encode_mask(labels, LABEL_COLOURS))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all. Raises InputError when its folder cannot be written.

    Two runs may write the same file at once. It is not forced to the disk: all that is written here can be remade.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({_reason(error)}); choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
