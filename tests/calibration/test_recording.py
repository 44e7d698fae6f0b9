"""Attention on given images equals that of a hand-written UNet loop, for any image shape and number of steps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from dataset_diffusion.attention.layers import find_attention_layers, select_layers
from dataset_diffusion.attention.recorder import AttentionRecorder
from dataset_diffusion.calibration import recording
from dataset_diffusion.calibration.recording import LabelledImage, NoisedRecorder
from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from tests.tiny_pipeline import build_tiny_pipeline

SETTINGS = AttentionSettings(cross_resolution=8, self_resolution=8)
STEPS = 5


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPipeline:
    folder = build_tiny_pipeline(tmp_path_factory.mktemp("pipeline"))
    return load_pipeline(ModelSettings(path=str(folder)), SamplerSettings())


def labelled(height: int, width: int) -> LabelledImage:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = np.zeros((height, width), np.uint8)
    labels[: height // 2] = 2
    return LabelledImage(image, labels, (2,), ("dog",), prompt="a dog; dog")


@torch.no_grad()
def by_hand(pipe: StableDiffusionPipeline, item: LabelledImage, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One time step after another, noised with the schedule's own cumulative products."""
    pipe.scheduler.set_timesteps(STEPS)
    pixels = torch.from_numpy(item.image).permute(2, 0, 1)[None] / 127.5 - 1
    clean = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
    noise = torch.randn((STEPS, *clean.shape[1:]), generator=torch.Generator().manual_seed(seed))
    states = pipe.encode_prompt(item.prompt, "cpu", 1, False)[0]
    class_states = pipe.encode_prompt("dog", "cpu", 1, False)[0]
    layers = select_layers(find_attention_layers(pipe.unet, (16, 16)), SETTINGS, (16, 16))
    with AttentionRecorder(pipe.unet, layers, class_states) as recorder:
        for time, sample_noise in zip(pipe.scheduler.timesteps, noise, strict=True):
            signal = pipe.scheduler.alphas_cumprod[time]
            pipe.unet(signal.sqrt() * clean + (1 - signal).sqrt() * sample_noise[None], time, states)
    (maps,) = recorder.maps()
    return maps.cross, maps.self_attention


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_the_mean_over_time_steps_equals_that_of_a_hand_written_loop(
    pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(recording, "PIXELS_AT_ONCE", at_once * 32 * 32)
    item = labelled(32, 32)
    recorded = NoisedRecorder(pipe, STEPS, SETTINGS).record(item, seed=3)
    cross, self_attention = by_hand(pipe, item, seed=3)
    torch.testing.assert_close(recorded.attention.cross, cross, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(recorded.attention.self_attention, self_attention, atol=1e-5, rtol=1e-4)
    assert recorded.spans == class_prompt(pipe.tokenizer, ["dog"]).spans
    assert recorded.class_ids == (2,)


def test_time_steps_are_batched_by_the_size_that_the_model_gets(
    pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model gets a small image at 32 x 32 pixels, so two fit at once; at the image's own size more would."""
    monkeypatch.setattr(recording, "PIXELS_AT_ONCE", 2 * 32 * 32)
    sizes: list[int] = []
    with pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0]))):
        NoisedRecorder(pipe, STEPS, SETTINGS).record(labelled(8, 8), seed=0)
    assert sizes == [2, 2, 1]


def test_another_seed_draws_other_noise(pipe: StableDiffusionPipeline) -> None:
    recorder = NoisedRecorder(pipe, STEPS, SETTINGS)
    first, again, other = (recorder.record(labelled(32, 32), seed).attention.cross for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_image_of_another_shape_keeps_its_shape_at_the_models_area(pipe: StableDiffusionPipeline) -> None:
    recorder = NoisedRecorder(pipe, STEPS, AttentionSettings())
    item = labelled(40, 90)
    assert recorder.latent_size(item.image) == (8, 24)
    recorded = recorder.record(item, seed=0)
    positions = recorded.attention.self_attention.shape[0]
    assert recorded.attention.cross.shape[1] / recorded.attention.cross.shape[2] == pytest.approx(8 / 24)
    torch.testing.assert_close(recorded.attention.self_attention.sum(dim=1), torch.ones(positions), atol=1e-4, rtol=0)


def test_recording_leaves_no_file_and_no_hook(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    NoisedRecorder(pipe, STEPS, SETTINGS).record(labelled(32, 32), seed=0)
    assert not list(tmp_path.iterdir())
    hooks = [module for module in pipe.unet.modules() if module._forward_hooks]
    assert not hooks
