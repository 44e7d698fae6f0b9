"""Variants of weight files, options that save memory, and models that the hub does not provide."""

import shutil
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.hub import choose_variant
from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from dataset_diffusion.types import Prompt, Sample
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass
from tests.tiny_pipeline import build_tiny_pipeline

VOCABULARY = Vocabulary("pets", (VocabularyClass("cat", "cat"), VocabularyClass("dog", "dog")))
PROMPTS = [Prompt("0", "a cat and a dog", (1, 2), seed=11), Prompt("1", "a dog", (2,), seed=12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pipeline(tmp_path_factory.mktemp("tiny"))


def load(folder: Path | str, **model):
    return load_pipeline(ModelSettings(path=str(folder), **{"device": "cpu"} | model), SamplerSettings())


def make(pipe) -> list[Sample]:
    return Generator(pipe, SamplerSettings(num_inference_steps=2), AttentionSettings(), VOCABULARY).sample(PROMPTS)


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[Sample]:
    return make(load(folder))


def assert_near(samples: list[Sample], expected: list[Sample]) -> None:
    """Assert that the samples are equal except for rounding."""
    for found, sample in zip(samples, expected, strict=True):
        assert np.abs(found.image.astype(int) - sample.image).max() <= 1
        for name in ("cross", "self_attention"):
            maps, wanted = getattr(found.attention, name).cpu(), getattr(sample.attention, name)
            torch.testing.assert_close(maps, wanted, atol=1e-4, rtol=0)


def test_vae_slicing_changes_nothing(folder, expected):
    pipe = load(folder, vae_slicing=True)
    assert pipe.vae.use_slicing
    assert_near(make(pipe), expected)


def test_vae_tiling_changes_no_map(folder, expected):
    pipe = load(folder, vae_tiling=True)
    assert pipe.vae.use_tiling
    for found, sample in zip(make(pipe), expected, strict=True):
        assert found.image.shape == sample.image.shape
        assert torch.equal(found.attention.cross, sample.attention.cross)
        assert torch.equal(found.attention.self_attention, sample.attention.self_attention)


def test_channels_last_changes_only_rounding(folder, expected):
    pipe = load(folder, channels_last=True)
    assert pipe.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert_near(make(pipe), expected)


def test_offloading_needs_a_gpu(folder):
    with pytest.raises(InputError, match=r"^model\.cpu_offload=true: needs a GPU"):
        load(folder, cpu_offload=True)


def test_the_error_for_a_model_too_large_for_the_device_suggests_offloading(folder, monkeypatch):
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 72.00 MiB.")

    monkeypatch.setattr(StableDiffusionPipeline, "to", fail)
    with pytest.raises(InputError, match=r"the device is out of memory; set model\.cpu_offload=true"):
        load(folder)


@pytest.mark.gpu
def test_offloaded_parts_are_recorded_like_others(folder):
    plain = make(load(folder, device="cuda"))
    pipe = load(folder, device="cuda", cpu_offload=True)
    assert pipe.unet.device.type == "cpu"
    samples = make(pipe)
    assert samples[0].attention.cross.is_cuda
    for found, sample in zip(samples, plain, strict=True):
        assert np.array_equal(found.image, sample.image)
        torch.testing.assert_close(found.attention.cross, sample.attention.cross)


def test_offloading_hooks_and_recorder_hooks_work_together(folder, expected):
    """Offloading from CPU to CPU moves nothing, but it uses diffusers' own hooks."""
    pipe = load(folder)
    pipe.enable_model_cpu_offload(device="cpu")
    assert_near(make(pipe), expected)
    assert_near(make(pipe), expected)


@pytest.fixture(scope="module")
def with_halves(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain files, plus fp16 files for the UNet only, with different weights."""
    both = shutil.copytree(folder, tmp_path_factory.mktemp("both") / "model")
    unet = load(folder).unet.half()
    unet.conv_out.bias.data.fill_(7)
    unet.save_pretrained(both / "unet", variant="fp16")
    return both


def first_bias(pipe) -> float:
    return pipe.unet.conv_out.bias[0].item()


def test_a_variant_is_read_for_the_parts_that_have_it(with_halves):
    assert first_bias(load(with_halves)) != 7
    pipe = load(with_halves, variant="fp16")
    assert first_bias(pipe) == 7
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}


@pytest.mark.parametrize(
    ("halves", "model", "variant"),
    [
        (True, {"dtype": "float16"}, "fp16"),
        (False, {"dtype": "float16"}, None),
        (True, {"dtype": "bfloat16"}, None),
        (True, {"variant": "fp16"}, "fp16"),
    ],
)
def test_half_precision_reads_half_precision_files_if_there_are_any(folder, with_halves, halves, model, variant):
    assert choose_variant(ModelSettings(**model), with_halves if halves else folder) == variant


def test_a_variant_that_does_not_exist_is_refused(folder):
    with pytest.raises(InputError, match=r"^model\.variant=fp16: .* has no files of that variant; use null$"):
        load(folder, variant="fp16")


def answer(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub/model"))


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (GatedRepoError("403", response=answer(403)), r"accept its licence at \S+/owner/name, then run hf auth login$"),
        (RepositoryNotFoundError("404", response=answer(404)), "correct the name, .* private one, run hf auth login$"),
        (LocalEntryNotFoundError("offline"), "run hf download owner/name "),
    ],
    ids=["gated", "missing", "offline"],
)
def test_a_model_that_the_hub_does_not_provide_comes_with_a_remedy(monkeypatch, error, remedy):
    """The hub's errors, as its own client raises them."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("diffusers.configuration_utils.hf_hub_download", refuse)
    with pytest.raises(InputError, match=rf"^model\.path=owner/name: .*{remedy}"):
        load("owner/name")
