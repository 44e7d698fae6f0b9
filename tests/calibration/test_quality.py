"""Mask quality: perfect attention scores near the grid's limit, and uniform attention finds no object."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dataset_diffusion.calibration.choice import Choice, band_around, best_band, best_threshold
from dataset_diffusion.calibration.quality import MaskQuality, attention_on_objects, mask_quality, score
from dataset_diffusion.calibration.recording import RecordedImage
from dataset_diffusion.metrics import segmentation_metrics
from dataset_diffusion.settings.generate import MaskSettings
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, Scene, render_scene
from dataset_diffusion.types import AttentionMaps

NUM_LABELS = 21
BLACK = np.zeros((1, 4, 3), np.uint8)


def recorded(scene: Scene, perfect: bool) -> RecordedImage:
    """A scene with the attention of its exact mask, reduced to 16 x 16, or with uniform attention."""
    class_ids = tuple(dict.fromkeys(item.class_id for item in scene.objects))
    exact = torch.stack([torch.from_numpy(scene.label_mask == class_id).float() for class_id in class_ids])
    cross = F.avg_pool2d(exact, 8) if perfect else torch.full((len(class_ids), 16, 16), 0.1)
    spans = tuple((row,) for row in range(len(class_ids)))
    return RecordedImage(scene.image, scene.label_mask, class_ids, spans, AttentionMaps(cross, torch.eye(256)))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(seed) for seed in HELD_OUT_SEEDS[:60]]


def test_perfect_attention_scores_near_the_limit_of_its_grid(scenes: list[Scene]) -> None:
    items = [recorded(scene, perfect=True) for scene in scenes]
    settings = [MaskSettings(0.5, 0.5), MaskSettings(0.65, 0.35)]
    without_band, with_band = mask_quality(score(items, 0), settings, NUM_LABELS)
    assert without_band.metrics.miou > 0.8
    assert without_band.share_ignored == 0
    assert with_band.metrics.miou > without_band.metrics.miou  # the band lies on the edges, where the grid errs
    assert 0 < with_band.share_ignored < 0.2


def test_uniform_attention_finds_only_background(scenes: list[Scene]) -> None:
    items = [recorded(scene, perfect=False) for scene in scenes]
    (quality,) = mask_quality(score(items, 0), [MaskSettings(0.5, 0.5)], NUM_LABELS)
    background = np.mean([(scene.label_mask == 0).mean() for scene in scenes])
    assert quality.metrics.iou[0] == pytest.approx(background)
    assert np.nansum(quality.metrics.iou[1:]) == 0


def test_attention_on_objects_is_1_if_exact_and_the_share_of_the_area_if_uniform() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:, :4] = 5
    labels[:2, :2] = 255
    labels[7, 3] = 0  # neither of these two positions counts

    def share(attention: torch.Tensor, power: int) -> float:
        image = np.zeros((8, 8, 3), np.uint8)
        item = RecordedImage(image, labels, (5,), ((0,),), AttentionMaps(torch.zeros(1, 4, 4), attention))
        return attention_on_objects([item], power)

    uniform = torch.full((16, 16), 1 / 16)
    assert share(torch.eye(16), 3) == 1.0
    elsewhere = torch.eye(16)
    elsewhere[[0, 13]] = torch.eye(16)[15]
    assert share(elsewhere, 1) == 1.0
    # 7 of the 16 positions have label 5 at their upper left corner.
    assert share(uniform, 1) == pytest.approx(7 / 16)
    assert share(0.5 * torch.eye(16) + 0.5 * uniform, 1) == pytest.approx(0.5 + 0.5 * 7 / 16)
    assert share(0.5 * torch.eye(16) + 0.5 * uniform, 2) == pytest.approx(0.25 + 0.75 * 7 / 16)
    assert share(uniform, 0) == 1.0


def test_pixels_without_an_exact_label_are_not_counted() -> None:
    labels = np.array([[1, 1, 0, 0]], np.uint8)
    cross = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    item = RecordedImage(BLACK, labels, (1,), ((0,),), AttentionMaps(cross, torch.eye(4)))
    half_known = RecordedImage(BLACK, np.array([[1, 255, 0, 255]], np.uint8), (1,), ((0,),), item.attention)
    masks = [MaskSettings(0.5, 0.5), MaskSettings(1.0, 0.0)]
    (known, ignoring), (known_half, known_half_ignoring) = (
        mask_quality(score([i], 0), masks, 2) for i in (item, half_known)
    )
    assert known.metrics.pixel_accuracy == 0.5
    assert known_half.metrics.pixel_accuracy == 0.5
    assert known_half.metrics.iou.tolist() == [0, 0.5]
    assert ignoring.share_ignored == 0.5  # the two pixels with score 0, which is not below 0
    assert known_half_ignoring.share_ignored == 0.0  # those two have no exact label


def test_the_best_threshold_lies_between_the_two_levels_of_a_map() -> None:
    labels = np.array([[1, 1, 0, 0]], np.uint8)
    cross = torch.tensor([[[1.0, 0.7, 0.3, 0.0]]])
    item = RecordedImage(BLACK, labels, (1,), ((0,),), AttentionMaps(cross, torch.eye(4)))
    assert best_threshold(score([item], 0), 2) == 0.325  # the lowest threshold that gives the exact mask


def test_bands_are_clipped_and_the_best_one_is_chosen() -> None:
    assert band_around(0.5, 0.1) == MaskSettings(0.55, 0.45)
    assert band_around(0.95, 0.2) == MaskSettings(1.0, 0.85)
    assert band_around(0.15, 0.4) == MaskSettings(0.35, 0.0)

    def choice(miou: float, ignored: float) -> Choice:
        metrics = segmentation_metrics(np.array([[1, 0], [0, 1]]))
        quality = MaskQuality(type(metrics)(metrics.iou, metrics.accuracy, miou, 1.0, 1.0), ignored)
        return Choice(1, MaskSettings(0.5, 0.5), quality)

    none, narrow, wide = choice(0.5, 0.0), choice(0.6, 0.08), choice(0.7, 0.3)
    assert best_band([none, narrow, wide], most_ignored=0.1) is narrow
    assert best_band([none, narrow, wide], most_ignored=0.01) is none
