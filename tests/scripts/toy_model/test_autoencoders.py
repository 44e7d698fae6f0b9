"""The autoencoder's training, and how close its images come."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.settings.generate import ModelSettings, SamplerSettings
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, render_scene
from scripts.toy_model import compare_autoencoders
from scripts.toy_model.quality import reconstruction_psnr


@torch.no_grad()
def test_the_psnr_is_that_of_the_pipelines_own_encoding_and_decoding() -> None:
    pipe = load_pipeline(ModelSettings(), SamplerSettings())
    images = np.stack([render_scene(seed).image for seed in HELD_OUT_SEEDS[:2]])
    pixels = pipe.image_processor.preprocess((images / 255).astype(np.float32))
    decoded = pipe.vae.decode(pipe.vae.encode(pixels).latent_dist.mode()).sample
    shown = pipe.image_processor.postprocess(decoded, output_type="np")
    expected = 10 * np.log10(1 / np.mean((shown - images / 255) ** 2))
    assert reconstruction_psnr(pipe.vae, images) == pytest.approx(expected, abs=1e-3)


def test_both_autoencoders_are_trained_once_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_autoencoders, "NUM_TEST_SCENES", 1)
    arguments = ["--work-dir", str(tmp_path), "--steps", "1", "--scenes", "16"]
    monkeypatch.setattr(sys, "argv", ["compare_autoencoders", *arguments])
    compare_autoencoders.main()
    first = capsys.readouterr()
    assert first.err.count("seconds of CPU time") == 2
    latents = []
    for folder in sorted(tmp_path.glob("factor_*")):
        vae = AutoencoderKL.from_pretrained(folder)
        latents.append(vae.encode(torch.zeros(1, 3, 128, 128)).latent_dist.mean.shape[1:])
    assert latents == [(4, 32, 32), (16, 16, 16)]
    compare_autoencoders.main()
    second = capsys.readouterr()
    assert second.out == first.out
    assert "CPU time" not in second.err
