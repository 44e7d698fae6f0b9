"""Pictures of masks, for people to judge them by: RGB arrays [H, W, 3] uint8."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset_diffusion.images import full_palette
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX

OPACITY = 0.5
"""How strongly class colours cover the image."""
HATCH_PERIOD = 6
HATCH_WIDTH = 2
PAPER, INK, FAINT_INK = (255, 255, 255), (32, 32, 32), (110, 110, 110)
FONT = ImageFont.load_default(13)
LINE_HEIGHT = 17
SWATCH = 14


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
    """Scale image and mask to a longer side of `side`: the image smoothly, the labels without mixing them."""
    height, width = labels.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smooth = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(smooth), np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def draw_legend(
    labels: Sequence[int], label_names: Sequence[str], palette: Sequence[tuple[int, int, int]], width: int
) -> Image.Image:
    """The colour and name of each label, on however many lines they need."""
    places, x, y = [], 0, 0
    for label in labels:
        name = "ignored" if label == IGNORE_INDEX else label_names[label]
        needed = int(SWATCH + 6 + FONT.getlength(name) + 18)
        if x and x + needed > width:
            x, y = 0, y + LINE_HEIGHT + 5
        places.append((x, y, label, name))
        x += needed
    legend = Image.new("RGB", (width, y + LINE_HEIGHT + 2), PAPER)
    draw = ImageDraw.Draw(legend)
    for left, top, label, name in places:
        patch = draw_mask(np.full((SWATCH, SWATCH), label, np.uint8), palette)
        legend.paste(Image.fromarray(patch), (left, top + 1))
        draw.text((left + SWATCH + 6, top), name, fill=INK, font=FONT)
    return legend


def _outline(labels: np.ndarray) -> np.ndarray:
    """Pixels [H, W] bool that have a neighbour (left, right, above or below) with another label."""
    padded = np.pad(labels, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([neighbour != labels for neighbour in neighbours], axis=0)


def _hatch(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(labels.shape)
    stripes = (rows + columns) % HATCH_PERIOD < HATCH_WIDTH
    return np.where((stripes & (labels == IGNORE_INDEX))[..., None], np.uint8(255), picture).astype(np.uint8)


def draw_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """The image [H, W, 3] uint8, grey and dark where `heatmap` [H, W] in [0, 1] is low, tinted from red to yellow where
    it is high.
    """
    grey = image.mean(axis=2, keepdims=True) * (0.35 + 0.25 * heatmap[..., None])
    tint = np.stack([np.full_like(heatmap, 255), 255 * heatmap, np.zeros_like(heatmap)], axis=2)
    share = 0.75 * heatmap[..., None]
    return ((1 - share) * grey + share * tint).round().astype(np.uint8)
