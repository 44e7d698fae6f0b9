"""Labelled images are noised as each family's sampler expects, and recorded as in generation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_diffusion.calibration.recording import LabelledImage, NoisedRecorder
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.families import family_of
from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from tests.tiny_families import BUILDERS, IMAGE_SIZE

STEPS = 3
ITEM = LabelledImage(
    np.random.default_rng(0).integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8),
    np.zeros(IMAGE_SIZE, np.uint8),
    (1, 2),
    ("cat", "dog"),
    prompt="a cat with a dog; cat dog",
)


@pytest.fixture(scope="module", params=BUILDERS)
def pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder: Path = BUILDERS[request.param](tmp_path_factory.mktemp(request.param))
    return load_pipeline(ModelSettings(path=str(folder), device="cpu"), SamplerSettings())


def test_recorded_attention_sums_to_one_and_depends_on_the_seed(pipe) -> None:
    recorder = NoisedRecorder(pipe, STEPS, AttentionSettings(), IMAGE_SIZE)
    first, again, other = (recorder.record(ITEM, seed) for seed in (0, 0, 1))
    assert torch.equal(first.attention.cross, again.attention.cross)
    assert not torch.equal(first.attention.cross, other.attention.cross)
    positions = len(first.attention.self_attention)
    torch.testing.assert_close(first.attention.self_attention.sum(dim=1), torch.ones(positions), atol=1e-4, rtol=0)
    assert {p for span in first.spans for p in span} <= set(range(len(first.attention.cross)))


def test_a_window_without_a_step_is_refused(pipe) -> None:
    with pytest.raises(InputError, match=r"attention\.steps=\[0\.6,0\.7\]: .* 3 steps .* use \[0\.3333,0\.6667\]"):
        NoisedRecorder(pipe, STEPS, AttentionSettings(steps=[0.6, 0.7]), IMAGE_SIZE)


def test_noise_times_equal_those_of_the_pipelines_sampling(pipe) -> None:
    """The denoiser gets the same times for noised images as in the pipeline's own sampling."""
    family = family_of(pipe)
    calls = []

    def keep(_module: object, args: tuple, kwargs: dict) -> None:
        timestep = kwargs.get("timestep", args[1] if len(args) > 1 else None)
        calls.append(float(torch.as_tensor(timestep).flatten()[0]))

    handle = family.denoiser.register_forward_pre_hook(keep, with_kwargs=True)
    pipe("a cat", num_inference_steps=STEPS, guidance_scale=1.0, height=32, width=32, output_type="latent")
    sampled = list(calls)
    calls.clear()
    with torch.no_grad():
        for time in family.noise_times(STEPS, IMAGE_SIZE):
            family.denoise(torch.randn(1, pipe.vae.config.latent_channels, 16, 16), time[None], "a cat")
    handle.remove()
    assert calls == pytest.approx(sampled, abs=0.6 if family.takes_schedulers else 1e-4)


def test_flow_matching_runs_from_the_image_to_the_noise(pipe) -> None:
    family = family_of(pipe)
    if family.takes_schedulers:
        pytest.skip("not by flow matching")
    image, noise = torch.randn(2, 3, 4, 16, 16)
    noisy = family.add_noise(image, noise, torch.tensor([0.0, 250.0, 1000.0]))
    torch.testing.assert_close(noisy, torch.stack([image[0], 0.75 * image[1] + 0.25 * noise[1], noise[2]]))


def test_latents_have_the_scale_and_shift_that_the_pipelines_decoding_undoes(pipe) -> None:
    """Undoing the pipeline's scale and shift gives the autoencoder's own latents."""
    pixels = torch.from_numpy(ITEM.image).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        latents = family_of(pipe).encode_images(pixels)
        mean = pipe.vae.encode(pixels).latent_dist.mean
    shift = 0 if family_of(pipe).takes_schedulers else pipe.vae.config.shift_factor
    torch.testing.assert_close(latents / pipe.vae.config.scaling_factor + shift, mean, atol=1e-5, rtol=1e-5)


def test_an_autoencoder_that_overflows_in_float16_encodes_in_float32(tmp_path: Path) -> None:
    """Like SDXL's, whose configuration says that its activations overflow in float16."""
    pipe = load_pipeline(ModelSettings(path=str(BUILDERS["sdxl"](tmp_path)), device="cpu"), SamplerSettings())
    pipe.vae.encoder.conv_in.weight.data *= 1e5  # normalised away later
    pixels = torch.from_numpy(ITEM.image).permute(2, 0, 1)[None] / 127.5 - 1
    pipe.vae.half().float()
    with torch.no_grad():
        expected = family_of(pipe).encode_images(pixels)
        pipe.vae.half()
        pipe.unet.half()
        latents = family_of(pipe).encode_images(pixels)
    assert latents.dtype == pipe.vae.dtype == torch.float16
    torch.testing.assert_close(latents.float(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("what", ["latents", "attention maps"])
def test_non_finite_numbers_are_refused(tmp_path: Path, what: str) -> None:
    pipe = load_pipeline(ModelSettings(path=str(BUILDERS["sdxl"](tmp_path)), device="cpu"), SamplerSettings())
    broken = pipe.vae.encoder if what == "latents" else pipe.unet
    broken.conv_in.bias.data += torch.nan
    with pytest.raises(InputError, match=rf"model\.dtype=float32: the {what} .* not finite numbers; use bfloat16"):
        NoisedRecorder(pipe, STEPS, AttentionSettings(), IMAGE_SIZE).record(ITEM, 0)
