"""Images and label masks as files: reading them with errors that name the file, and encoding them."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_diffusion.errors import InputError, reason
from dataset_diffusion.files import write_atomically
from dataset_diffusion.types import IGNORE_INDEX
from dataset_diffusion.vocabulary import voc_colour

IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are missing, not images, truncated, damaged or implausibly large."""
IGNORED_COLOUR = (224, 224, 192)
"""VOC's own colour of label 255."""
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
        raise InputError(f"{path}: cannot be read as an image ({reason(error)}); fetch or write it again") from error


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
        raise InputError(f"{path}: cannot be read as a mask ({reason(error)}); fetch or write it again") from error
    if mode not in {"P", "L"}:
        raise InputError(f"{path}: has mode {mode}; a mask is a palette or 8-bit grey PNG whose values are the labels")
    wrong = labels[(labels >= num_labels) & (labels != IGNORE_INDEX)]
    if wrong.size:
        raise InputError(
            f"{path}: has the label {wrong.min()}, which is neither one of 0 ... {num_labels - 1} nor {IGNORE_INDEX}; "
            "is it the mask of another dataset?"
        )
    return labels


def decode_labels(content: bytes, what: str) -> np.ndarray:
    """The labels [H, W] uint8 of an encoded mask (palette or grey PNG). Raises InputError naming `what`."""
    try:
        with Image.open(io.BytesIO(content)) as file:
            return np.array(file)
    except IMAGE_ERRORS as error:
        raise InputError(f"{what}: cannot be read as a mask ({reason(error)}); fetch or write it again") from error


def require_same_size(image_path: Path, image: np.ndarray, mask: str, labels: np.ndarray) -> None:
    """Raise an InputError naming image and mask unless the labels [H, W] fit the image [H, W, 3]."""
    (height, width), (mask_height, mask_width) = image.shape[:2], labels.shape
    if (height, width) != (mask_height, mask_width):
        raise InputError(
            f"{image_path}: is {width} x {height} pixels, but {mask} is {mask_width} x {mask_height}; "
            "they must have the same size"
        )


def write_label_mask(path: Path, labels: np.ndarray) -> None:
    """Write [H, W] uint8 labels as a palette PNG in VOC's colours, atomically."""
    write_atomically(path, encode_mask(labels, LABEL_COLOURS))


def encode_image(image: np.ndarray) -> bytes:
    """JPEG of quality 95 with full colour resolution: thin coloured objects would lose their edges with 4:2:0."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95, subsampling="4:4:4")
    return stream.getvalue()


def encode_mask(labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> bytes:
    """PNG with a palette: its pixel values are the labels, and viewers show the classes' colours."""
    mask = Image.fromarray(labels).convert("P")
    mask.putpalette(full_palette(palette).tobytes())
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    return stream.getvalue()


def full_palette(palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Colours [256, 3] uint8 of all mask values: the labels' colours, IGNORED_COLOUR for 255, black for the rest."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORE_INDEX] = IGNORED_COLOUR
    return colours
