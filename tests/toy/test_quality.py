"""The measure of masks: perfect attention scores near the grid's limit, attention that says nothing scores nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dataset_diffusion.sampler import load_pipeline
from dataset_diffusion.settings.generate import AttentionSettings, MaskSettings, ModelSettings, SamplerSettings
from dataset_diffusion.toy.quality import RecordedScene, caption_losses, mask_quality, record_scenes
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, Scene, render_scene
from dataset_diffusion.types import AttentionMaps


def recorded(scene: Scene, perfect: bool) -> RecordedScene:
    """A scene with the attention of its exact mask, reduced to 16 x 16; or with none at all."""
    class_ids = tuple(dict.fromkeys(item.class_id for item in scene.objects))
    exact = torch.stack([torch.from_numpy(scene.label_mask == class_id).float() for class_id in class_ids])
    cross = F.avg_pool2d(exact, 8) if perfect else torch.full((len(class_ids), 16, 16), 0.1)
    spans = tuple((row,) for row in range(len(class_ids)))
    return RecordedScene(scene, class_ids, spans, AttentionMaps(cross, torch.eye(256)))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(seed) for seed in HELD_OUT_SEEDS[:60]]


def test_perfect_attention_scores_near_the_limit_of_its_grid(scenes: list[Scene]) -> None:
    items = [recorded(scene, perfect=True) for scene in scenes]
    without_band = mask_quality(items, 0, MaskSettings(0.5, 0.5))
    assert without_band.metrics.miou > 0.8
    assert without_band.share_ignored == 0
    with_band = mask_quality(items, 0, MaskSettings(0.65, 0.35))
    assert with_band.metrics.miou > without_band.metrics.miou  # the band lies on the edges, where the grid errs
    assert 0 < with_band.share_ignored < 0.2


def test_attention_that_says_nothing_finds_background_only(scenes: list[Scene]) -> None:
    quality = mask_quality([recorded(scene, perfect=False) for scene in scenes], 0, MaskSettings(0.5, 0.5))
    background = np.mean([(scene.label_mask == 0).mean() for scene in scenes])
    assert quality.metrics.iou[0] == pytest.approx(background)
    assert np.nansum(quality.metrics.iou[1:]) == 0


def test_caption_losses_of_the_shipped_model_say_that_it_reads_its_prompt() -> None:
    pipe = load_pipeline(ModelSettings(), SamplerSettings())
    losses = caption_losses(pipe, HELD_OUT_SEEDS[:4])
    # With much noise the caption alone says what is there.
    assert losses.without[2] - losses.with_caption[2] > 0.01
    assert "loss without the caption minus that with it" in str(losses)


def test_attention_of_the_shipped_model_finds_objects() -> None:
    pipe = load_pipeline(ModelSettings(), SamplerSettings(scheduler="ddim"))
    items = list(record_scenes(pipe, HELD_OUT_SEEDS[:6], 4, AttentionSettings()))
    for item in items:
        torch.testing.assert_close(item.attention.cross.sum(dim=0), torch.ones(16, 16), atol=1e-4, rtol=0)
    objects = mask_quality(items, 1, MaskSettings(0.5, 0.5)).metrics
    nothing = mask_quality([recorded(item.scene, perfect=False) for item in items], 0, MaskSettings(0.5, 0.5)).metrics
    assert objects.miou > nothing.miou + 0.1
