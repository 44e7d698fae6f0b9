"""The contact sheet of a folder with two samples, and the functions that draw it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.dataset.contact_sheet import CAPTION_LINES, GAP, MARGIN, SIDE, draw_contact_sheet
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import ClassRecord, SampleRecord
from dataset_diffusion.drawing import LINE_HEIGHT, draw_mask, draw_overlay, shrink
from dataset_diffusion.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary("voc")
PALETTE = VOCABULARY.palette


@pytest.fixture
def folder(tmp_path: Path) -> VocFolder:
    folder = VocFolder(tmp_path, PALETTE)
    folder.prepare()
    labels = np.zeros((24, 24), np.uint8)
    labels[:12] = 12
    labels[18:] = 255
    for sample_id in ("000000", "000001"):
        folder.write(sample_id, np.full((24, 24, 3), 200, np.uint8), labels)
    return folder


RECORDS = (
    SampleRecord("000000", 1, "one", (ClassRecord("dog", 12, 0.5, 0.75),), 0.25, "aa", "bb"),
    SampleRecord(
        "000001", 2, "two", (ClassRecord("dog", 12, 0.25, 0.9), ClassRecord("cat", 8, 0.0, 0.0)), 0.25, "aa", "bb"
    ),
)


def test_the_overlay_tints_and_outlines_classes_and_hatches_ignored_pixels() -> None:
    image = np.full((24, 24, 3), 200, np.uint8)
    labels = np.zeros((24, 24), np.uint8)
    labels[:12] = 12
    labels[18:] = 255
    overlay = draw_overlay(image, labels, PALETTE)
    assert overlay[5, 5].tolist() == [(200 + 64) // 2, 200 // 2, (200 + 128) // 2]  # VOC's dog is (64, 0, 128).
    assert overlay[11, 5].tolist() == [64, 0, 128]
    assert overlay[15, 5].tolist() == [200, 200, 200]
    assert {tuple(colour) for colour in overlay[20]} == {(255, 255, 255), (200, 200, 200)}


def test_the_mask_picture_has_the_palettes_colours() -> None:
    picture = draw_mask(np.array([[0, 12], [15, 1]], np.uint8), PALETTE)
    assert picture.tolist() == [[[0, 0, 0], [64, 0, 128]], [[192, 128, 128], [128, 0, 0]]]


@pytest.mark.parametrize(("shape", "shrunk"), [((40, 20), (10, 5)), ((20, 40), (5, 10)), ((5, 5), (10, 10))])
def test_shrinking_keeps_the_proportions_and_mixes_no_labels(shape: tuple[int, int], shrunk: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.uint8)
    labels[::2] = 20
    image, small = shrink(np.zeros((*shape, 3), np.uint8), labels, 10)
    assert image.shape == (*shrunk, 3)
    assert small.shape == shrunk
    assert set(np.unique(small)) <= {0, 20}


def test_the_contact_sheet_shows_image_overlay_and_mask(folder: VocFolder) -> None:
    data = draw_contact_sheet(folder, RECORDS, VOCABULARY.label_names, PALETTE)
    with Image.open(io.BytesIO(data)) as file:
        assert file.format == "PNG"
        sheet = np.asarray(file.convert("RGB"))
    top = len(sheet) - MARGIN - (SIDE + (CAPTION_LINES + 1) * LINE_HEIGHT + 4)
    starts = (MARGIN + panel * (SIDE + GAP) for panel in range(3))
    image, overlay, mask = (sheet[top : top + SIDE, start : start + SIDE] for start in starts)
    assert (image == 200).all()
    assert (overlay[SIDE // 2 - 1] == PALETTE[12]).all()  # The outline at the dog's lower edge.
    assert (mask[: SIDE // 2] == PALETTE[12]).all()
    assert (mask[SIDE // 2 : SIDE * 3 // 4] == 0).all()
