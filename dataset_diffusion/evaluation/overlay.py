"""A picture of predictions: image, truth and prediction side by side, with the colours' names."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset_diffusion.dataset.drawing import shrink
from dataset_diffusion.dataset.writer import full_palette
from dataset_diffusion.evaluation.files import LABEL_COLOURS
from dataset_diffusion.evaluation.predict import PredictedImage
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX

COLUMNS = ("image", "truth", "prediction")
CELL = 160
"""Side of the square that a picture is fitted into, in pixels."""
GAP = 4
GROUP_GAP = 20
GROUPS_PER_ROW = 4
OPACITY = 0.75
PALENESS = 0.65
FONT_SIZE = 15
LINE = 24
LEGEND_WIDTH = 150
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
    group_width = len(COLUMNS) * (CELL + GAP) - GAP
    groups = min(GROUPS_PER_ROW, len(images))
    width = groups * (group_width + GROUP_GAP) + GROUP_GAP
    rows = math.ceil(len(images) / groups)
    maps = [labels for item in images for labels in (item.labels, item.prediction)]
    shown = sorted({int(label) for labels in maps for label in np.unique(labels)})
    legend_columns = max(1, (width - 2 * GROUP_GAP) // LEGEND_WIDTH)
    legend_height = math.ceil(len(shown) / legend_columns) * LINE
    height = LINE + rows * (CELL + LINE) + legend_height + 2 * GAP
    sheet = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for position, item in enumerate(images):
        left = GROUP_GAP + position % groups * (group_width + GROUP_GAP)
        top = LINE + position // groups * (CELL + LINE)
        for column, (title, picture) in enumerate(zip(COLUMNS, _pictures(item), strict=True)):
            x = left + column * (CELL + GAP)
            if position < groups:
                draw.text((x + CELL // 2, LINE // 2), title, BLACK, font, anchor="mm")
            height_of_picture, width_of_picture = picture.shape[:2]
            corner = (x + (CELL - width_of_picture) // 2, top + (CELL - height_of_picture) // 2)
            sheet.paste(Image.fromarray(picture), corner)
        draw.text((left, top + CELL + 2), ids[item.index], BLACK, font)
    _draw_legend(draw, font, shown, label_names, height - legend_height - GAP, legend_columns)
    return sheet


def _pictures(item: PredictedImage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth and prediction, their longer side CELL."""
    image, labels = shrink(item.image, item.labels, CELL)
    _, prediction = shrink(item.image, item.prediction, CELL)
    return image, overlay_labels(image, labels), overlay_labels(image, prediction)


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    labels: Sequence[int],
    label_names: Sequence[str],
    top: int,
    columns: int,
) -> None:
    for position, label in enumerate(labels):
        x, y = GROUP_GAP + position % columns * LEGEND_WIDTH, top + position // columns * LINE
        swatch = (x, y + 4, x + 16, y + 20)
        if label == BACKGROUND:
            draw.rectangle(swatch, outline=BLACK)
        elif label == IGNORE_INDEX:
            draw.rectangle(swatch, outline=BLACK)
            for offset in (4, 9, 14):
                draw.line((x, y + 4 + offset, x + offset, y + 4), BLACK)
        else:
            draw.rectangle(swatch, fill=tuple(int(value) for value in PALETTE[label]))
        name = "ignored" if label == IGNORE_INDEX else label_names[label]
        draw.text((x + 22, y + 3), name, BLACK, font)
