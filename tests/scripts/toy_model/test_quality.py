"""The toy model's figures show that it reads its prompts and that its attention finds objects."""

import numpy as np
import torch

from dataset_diffusion.calibration.quality import mask_quality, score
from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.settings.generate import AttentionSettings, MaskSettings, ModelSettings, SamplerSettings
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS
from scripts.toy_model.quality import NUM_LABELS, caption_losses, record_scenes


def test_caption_losses_show_that_the_shipped_model_reads_its_prompt() -> None:
    pipe = load_pipeline(ModelSettings(), SamplerSettings())
    losses = caption_losses(pipe, HELD_OUT_SEEDS[:4])
    # At high noise only the caption says what is in the image.
    assert losses.without[2] - losses.with_caption[2] > 0.01
    assert "loss without the caption minus that with it" in str(losses)


def test_attention_of_the_shipped_model_finds_objects() -> None:
    pipe = load_pipeline(ModelSettings(), SamplerSettings(scheduler="ddim"))
    items = list(record_scenes(pipe, HELD_OUT_SEEDS[:6], 4, AttentionSettings()))
    for item in items:
        torch.testing.assert_close(item.attention.cross.sum(dim=0), torch.ones(16, 16), atol=1e-4, rtol=0)
    (quality,) = mask_quality(score(items, 1), [MaskSettings(0.5, 0.5)], NUM_LABELS)
    background = np.mean([(item.labels == 0).mean() for item in items])
    assert quality.metrics.miou > background / NUM_LABELS + 0.1  # all-background masks score background / NUM_LABELS
