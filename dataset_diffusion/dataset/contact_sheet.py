"""`contact_sheet.png`: samples of a dataset at a glance, as image | overlay | mask with their captions."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import SampleRecord
from dataset_diffusion.drawing import draw_mask, draw_overlay, shrink
from dataset_diffusion.types import IGNORE_INDEX

CONTACT_SHEET_FILE = "contact_sheet.png"
MAX_SAMPLES = 32
COLUMNS = 4
SIDE = 144
GAP = 4
MARGIN = 20
CAPTION_LINES = 2
FONT_SIZE = 13
LINE_HEIGHT = 17
PAPER, INK, FAINT_INK = (255, 255, 255), (32, 32, 32), (110, 110, 110)

Palette = Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class Panels:
    """The three pictures of a sample, [h, w, 3] uint8 each."""

    image: np.ndarray
    overlay: np.ndarray
    mask: np.ndarray
    labels: np.ndarray


def draw_panels(folder: VocFolder, sample_id: str, palette: Palette, side: int) -> Panels:
    """Read a finished sample from the folder and draw it with a longer side of `side` pixels."""
    with Image.open(folder.image_path(sample_id)) as image_file, Image.open(folder.mask_path(sample_id)) as mask_file:
        image, labels = shrink(np.asarray(image_file), np.asarray(mask_file), side)
    return Panels(image, draw_overlay(image, labels, palette), draw_mask(labels, palette), labels)


def draw_contact_sheet(
    folder: VocFolder, records: Sequence[SampleRecord], label_names: Sequence[str], palette: Palette
) -> bytes:
    """The PNG of the first samples, with a legend of the classes in them."""
    shown = records[:MAX_SAMPLES]
    panels = [draw_panels(folder, record.id, palette, SIDE) for record in shown]
    present = sorted(set().union(*(np.unique(entry.labels).tolist() for entry in panels)))
    cell_width, cell_height = 3 * SIDE + 2 * GAP, SIDE + (CAPTION_LINES + 1) * LINE_HEIGHT + 4
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    width = 2 * MARGIN + columns * cell_width + (columns - 1) * MARGIN
    legend = _draw_legend([label for label in present if label], label_names, palette, width - 2 * MARGIN)
    sheet = Image.new("RGB", (width, 2 * MARGIN + legend.height + rows * (cell_height + MARGIN)), PAPER)
    sheet.paste(legend, (MARGIN, MARGIN))
    for index, (record, entry) in enumerate(zip(shown, panels, strict=True)):
        left = MARGIN + index % columns * (cell_width + MARGIN)
        top = 2 * MARGIN + legend.height + index // columns * (cell_height + MARGIN)
        _draw_cell(sheet, (left, top), record, entry, cell_width)
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _draw_cell(sheet: Image.Image, corner: tuple[int, int], record: SampleRecord, panels: Panels, width: int) -> None:
    left, top = corner
    for position, picture in enumerate((panels.image, panels.overlay, panels.mask)):
        sheet.paste(Image.fromarray(picture), (left + position * (SIDE + GAP), top))
    font = _font()
    characters = int(width / font.getlength("n"))
    lines = textwrap.wrap(record.caption, characters, max_lines=CAPTION_LINES, placeholder=" ...")
    classes = textwrap.shorten(", ".join(entry.name for entry in record.classes), characters, placeholder=" ...")
    draw = ImageDraw.Draw(sheet)
    for number, (text, ink) in enumerate([*((line, INK) for line in lines), (classes, FAINT_INK)]):
        draw.text((left, top + SIDE + 4 + number * LINE_HEIGHT), text, fill=ink, font=font)


def _draw_legend(labels: Sequence[int], label_names: Sequence[str], palette: Palette, width: int) -> Image.Image:
    """Colour and name of each label, in as many lines as they need."""
    font, swatch, space = _font(), 14, 18
    places, x, y = [], 0, 0
    for label in labels:
        name = "ignored" if label == IGNORE_INDEX else label_names[label]
        needed = int(swatch + 6 + font.getlength(name) + space)
        if x and x + needed > width:
            x, y = 0, y + LINE_HEIGHT + 5
        places.append((x, y, label, name))
        x += needed
    legend = Image.new("RGB", (width, y + LINE_HEIGHT + 2), PAPER)
    draw = ImageDraw.Draw(legend)
    for left, top, label, name in places:
        patch = draw_mask(np.full((swatch, swatch), label, np.uint8), palette)
        legend.paste(Image.fromarray(patch), (left, top + 1))
        draw.text((left + swatch + 6, top), name, fill=INK, font=font)
    return legend


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)
