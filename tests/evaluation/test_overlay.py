import numpy as np
import pytest

from dataset_diffusion.evaluation.overlay import overlay_sheet
from dataset_diffusion.evaluation.prediction import PredictedImage
from dataset_diffusion.vocabulary import load_vocabulary

NAMES = load_vocabulary("voc").label_names


@pytest.mark.parametrize("count", [1, 3, 24])
def test_a_sheet_shows_every_image_in_its_three_columns(count):
    rng = np.random.default_rng(0)
    items = []
    for index in range(count):
        shape = (40, 60) if index % 2 else (60, 40)
        labels = rng.integers(1, 21, shape).astype(np.uint8)
        # A colour that no label has, so that the columns can be told apart.
        image = np.full((*shape, 3), (255, 0, 255), dtype=np.uint8)
        items.append(PredictedImage(index, image, labels, labels))
    sheet = np.asarray(overlay_sheet(items, [f"id_{index}" for index in range(count)], NAMES))
    image_pixels = (sheet == (255, 0, 255)).all(axis=2).sum()
    assert image_pixels == pytest.approx(count * 160 * 107, rel=0.02), (
        "each image must appear once, fitted into 160 x 160"
    )
