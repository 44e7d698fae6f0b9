"""A picture of predictions: image, truth and prediction side by side, with a legend of the colours."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dataset_diffusion.drawing import FONT, INK, LINE_HEIGHT, PAPER, draw_legend, draw_overlay, shrink
from dataset_diffusion.evaluation.prediction import PredictedImage
from dataset_diffusion.images import LABEL_COLOURS
from dataset_diffusion.types import BACKGROUND

COLUMNS = ("image", "truth", "prediction")
CELL = 160
"""Side of the square that a picture is fitted into, in pixels."""
GAP = 4
GROUP_GAP = 20
GROUP_WIDTH = len(COLUMNS) * (CELL + GAP) - GAP
GROUPS_PER_ROW = 4
LINE = LINE_HEIGHT + 7


def overlay_sheet(images: Sequence[PredictedImage], ids: Sequence[str], label_names: Sequence[str]) -> Image.Image:
    """Draw rows of images, each as image | truth | prediction with its id, and a legend of the labels in them."""
    groups = min(GROUPS_PER_ROW, len(images))
    width = GROUP_GAP + groups * (GROUP_WIDTH + GROUP_GAP)
    shown = sorted(
        {int(label) for item in images for label in np.unique([item.labels, item.prediction])} - {BACKGROUND}
    )
    legend = draw_legend(shown, label_names, LABEL_COLOURS, width - 2 * GROUP_GAP)
    rows = math.ceil(len(images) / groups)
    height = LINE + rows * (CELL + LINE) + GAP
    sheet = Image.new("RGB", (width, height + legend.height), PAPER)
    for position, item in enumerate(images):
        left = GROUP_GAP + position % groups * (GROUP_WIDTH + GROUP_GAP)
        top = LINE + position // groups * (CELL + LINE)
        _draw_group(sheet, left, top, item, ids[item.index], with_titles=position < groups)
    sheet.paste(legend, (GROUP_GAP, height))
    return sheet


def _draw_group(sheet: Image.Image, left: int, top: int, item: PredictedImage, title: str, with_titles: bool) -> None:
    image, labels = shrink(item.image, item.labels, CELL)
    _, prediction = shrink(item.image, item.prediction, CELL)
    pictures = (image, *(draw_overlay(image, drawn, LABEL_COLOURS) for drawn in (labels, prediction)))
    height, width = labels.shape
    draw = ImageDraw.Draw(sheet)
    for column, (column_title, picture) in enumerate(zip(COLUMNS, pictures, strict=True)):
        x = left + column * (CELL + GAP)
        sheet.paste(Image.fromarray(picture), (x + (CELL - width) // 2, top + (CELL - height) // 2))
        if with_titles:
            draw.text((x + CELL // 2, top - LINE // 2), column_title, INK, FONT, anchor="mm")
    draw.text((left, top + CELL + 2), title, INK, FONT)
