"""Pictures of masks: RGB arrays [H, W, 3] uint8 that a person can judge them by."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dataset_diffusion.images import full_palette
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX

OPACITY = 0.5
"""Of class colours over the image."""
HATCH_PERIOD = 6
HATCH_WIDTH = 2


def draw_mask(labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The mask [H, W] uint8 in its classes' colours; ignored pixels are hatched."""
    colours = full_palette(palette)[labels]
    colours[labels == IGNORE_INDEX] = 64
    return _hatch(colours, labels)


def draw_overlay(image: np.ndarray, labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The image [H, W, 3] uint8 under its mask: classes tinted and outlined, ignored pixels hatched."""
    colours = full_palette(palette)[labels]
    is_class = (labels != BACKGROUND) & (labels != IGNORE_INDEX)
    tinted = np.where(is_class[..., None], (1 - OPACITY) * image + OPACITY * colours, image).astype(np.uint8)
    outlined = np.where((is_class & _outline(labels))[..., None], colours, tinted)
    return _hatch(outlined, labels)


def shrink(image: np.ndarray, labels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask with a longer side of `side`: the image smoothly, the labels as they are."""
    height, width = labels.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smooth = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(smooth), np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def _outline(labels: np.ndarray) -> np.ndarray:
    """Pixels [H, W] bool with a neighbour, left, right, above or below, of another label."""
    padded = np.pad(labels, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([neighbour != labels for neighbour in neighbours], axis=0)


def _hatch(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(labels.shape)
    stripes = (rows + columns) % HATCH_PERIOD < HATCH_WIDTH
    return np.where((stripes & (labels == IGNORE_INDEX))[..., None], np.uint8(255), picture).astype(np.uint8)
