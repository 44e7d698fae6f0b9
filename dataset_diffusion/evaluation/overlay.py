"""A picture of predictions: image, truth and prediction side by side, with the colours' names."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset_diffusion.drawing import shrink
from dataset_diffusion.evaluation.prediction import PredictedImage
from dataset_diffusion.images import LABEL_COLOURS, full_palette
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX

COLUMNS = ("image", "truth", "prediction")
CELL = 160
"""Side of the square that a picture is fitted into, in pixels."""
GAP = 4
GROUP_GAP = 20
GROUP_WIDTH = len(COLUMNS) * (CELL + GAP) - GAP
GROUPS_PER_ROW = 4
OPACITY = 0.75
PALENESS = 0.65
FONT = ImageFont.load_default(15)
LINE = 24
SWATCH = 17
PALETTE = full_palette(LABEL_COLOURS)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def overlay_labels(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Lay the colours of `labels` [H, W] uint8 over an image [H, W, 3] uint8 RGB; ignored pixels are striped.

    What is background becomes pale, so that every full colour is a label's.
    """
    height, width = labels.shape
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float64)[:, :, None].repeat(3, axis=2)
    pale = PALENESS * 255 + (1 - PALENESS) * image
    colours = PALETTE[labels].astype(np.float64)
    stripes = (np.add.outer(np.arange(height), np.arange(width)) // 4) % 2 == 0
    colours[labels == IGNORE_INDEX] = BLACK
    painted = (labels != BACKGROUND) & ((labels != IGNORE_INDEX) | stripes)
    mixed = np.where(painted[:, :, None], OPACITY * colours + (1 - OPACITY) * grey, pale)
    return mixed.round().astype(np.uint8)


def overlay_sheet(images: Sequence[PredictedImage], ids: Sequence[str], label_names: Sequence[str]) -> Image.Image:
    """Draw the images in rows, each as image | truth | prediction with its id, and a legend of the labels in them."""
    groups = min(GROUPS_PER_ROW, len(images))
    width = GROUP_GAP + groups * (GROUP_WIDTH + GROUP_GAP)
    legend = _draw_legend(images, label_names, width - 2 * GROUP_GAP)
    rows = math.ceil(len(images) / groups)
    height = LINE + rows * (CELL + LINE) + GAP
    sheet = Image.new("RGB", (width, height + legend.height), WHITE)
    for position, item in enumerate(images):
        left = GROUP_GAP + position % groups * (GROUP_WIDTH + GROUP_GAP)
        top = LINE + position // groups * (CELL + LINE)
        _draw_group(sheet, left, top, item, ids[item.index], with_titles=position < groups)
    sheet.paste(legend, (GROUP_GAP, height))
    return sheet


def _draw_group(sheet: Image.Image, left: int, top: int, item: PredictedImage, title: str, with_titles: bool) -> None:
    image, labels = shrink(item.image, item.labels, CELL)
    _, prediction = shrink(item.image, item.prediction, CELL)
    pictures = (image, overlay_labels(image, labels), overlay_labels(image, prediction))
    height, width = labels.shape
    draw = ImageDraw.Draw(sheet)
    for column, (column_title, picture) in enumerate(zip(COLUMNS, pictures, strict=True)):
        x = left + column * (CELL + GAP)
        sheet.paste(Image.fromarray(picture), (x + (CELL - width) // 2, top + (CELL - height) // 2))
        if with_titles:
            draw.text((x + CELL // 2, top - LINE // 2), column_title, BLACK, FONT, anchor="mm")
    draw.text((left, top + CELL + 2), title, BLACK, FONT)


def _draw_legend(images: Sequence[PredictedImage], label_names: Sequence[str], width: int) -> Image.Image:
    maps = [labels for item in images for labels in (item.labels, item.prediction)]
    shown = sorted({int(label) for labels in maps for label in np.unique(labels)})
    names = ["ignored" if label == IGNORE_INDEX else label_names[label] for label in shown]
    entry_width = SWATCH + 24 + math.ceil(max(FONT.getlength(name) for name in names))
    columns = max(1, width // entry_width)
    legend = Image.new("RGB", (width, math.ceil(len(shown) / columns) * LINE), WHITE)
    draw = ImageDraw.Draw(legend)
    # A swatch looks as its label does over a picture that is half dark.
    white = np.full((SWATCH, SWATCH, 3), WHITE, dtype=np.uint8)
    for position, (label, name) in enumerate(zip(shown, names, strict=True)):
        x, y = position % columns * entry_width, position // columns * LINE
        below = white if label in (BACKGROUND, IGNORE_INDEX) else white // 2
        swatch = overlay_labels(below, np.full_like(white[:, :, 0], label))
        legend.paste(Image.fromarray(swatch), (x, y + 3))
        draw.rectangle((x, y + 3, x + SWATCH - 1, y + 2 + SWATCH), outline=BLACK)
        draw.text((x + SWATCH + 6, y + 2), name, BLACK, FONT)
    return legend
