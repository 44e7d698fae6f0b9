"""Each part of the toy model's recipe, checked for the property that it must preserve."""

import json
import platform
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dataset_diffusion.toy.captions import write_caption
from dataset_diffusion.toy.scenes import VOC_WORDS, render_scene
from scripts.toy_model import __main__ as toy_model_main
from scripts.toy_model import denoiser as denoiser_module
from scripts.toy_model.__main__ import make_recipe, parse_arguments
from scripts.toy_model.autoencoder import standardise_latents
from scripts.toy_model.denoiser import DenoiserTraining, draw_times, new_denoiser, scene_weights
from scripts.toy_model.export import assemble, export
from scripts.toy_model.optimizer import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, MixedOptimizer, orthogonalise
from scripts.toy_model.quality import CaptionLosses
from scripts.toy_model.recipe import (
    AUTOENCODER_CONFIG,
    NUM_MERGES,
    TEXT_ENCODER_CONFIG,
    TEXT_LENGTH,
    Recipe,
    Stage,
)
from scripts.toy_model.scenes import SceneStore, describe, encode_images
from scripts.toy_model.text import tokenise, training_captions, training_states
from scripts.toy_model.tokenizer import train_tokenizer

SEEDS = range(300)
SMALL_UNET = {"block_out_channels": (16, 16, 16), "norm_num_groups": 4}


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    rng = random.Random(0)
    scenes = (render_scene(seed) for seed in SEEDS)
    return train_tokenizer([write_caption(s.objects, s.background, rng, "appended") for s in scenes for _ in range(5)])


@pytest.fixture
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(**AUTOENCODER_CONFIG).eval()


def test_the_tokenizer_gives_words_one_token_and_split_words_two(tokenizer: CLIPTokenizer) -> None:
    counts = {word: len(tokenizer(word).input_ids) - 2 for word in ("car", "sofa", "aeroplane", "motorbike")}
    assert counts == {"car": 1, "sofa": 1, "aeroplane": 2, "motorbike": 2}


def test_tokenizer_reads_any_text_and_survives_saving(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    text = "ein Zebra, 7 Ærø!"
    assert loaded.decode(loaded(text).input_ids, skip_special_tokens=True).replace(" ", "") == "einzebra,7ærø!"
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.model_max_length == TEXT_LENGTH


@torch.no_grad()
def test_standardised_latents_have_mean_0_and_deviation_1_and_decode_as_before(vae: AutoencoderKL) -> None:
    images = np.stack([render_scene(seed).image for seed in range(16)])
    latents = encode_images(vae, images)
    decoded = vae.decode(latents).sample
    log_variance = vae.encode(torch.zeros(1, 3, 128, 128)).latent_dist.logvar
    deviation = latents.std(dim=(0, 2, 3), keepdim=True)

    standardise_latents(vae, images)

    standard = encode_images(vae, images)
    torch.testing.assert_close(standard.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(vae.decode(standard).sample, decoded, atol=1e-3, rtol=0)
    scaled = vae.encode(torch.zeros(1, 3, 128, 128)).latent_dist.logvar
    torch.testing.assert_close(scaled, log_variance - 2 * deviation.log(), atol=1e-3, rtol=0)


def test_training_states_keep_word_states_and_replace_padding_states(tokenizer: CLIPTokenizer) -> None:
    torch.manual_seed(0)
    config = CLIPTextConfig(vocab_size=len(tokenizer), **TEXT_ENCODER_CONFIG)
    encoder = CLIPTextModel(config).eval()
    token_ids = tokenise(tokenizer, ["a red car", "a white cat next to a sofa", "a dog", "two birds"] * 8)
    empty_ids = tokenise(tokenizer, [""])
    end = tokenizer.eos_token_id
    with torch.no_grad():
        own, empty = encoder(token_ids)[0], encoder(empty_ids)[0][0]
        states = training_states(encoder, token_ids, empty_ids, random.Random(0), end)
    is_word = token_ids != end
    assert torch.equal(states[is_word], own[is_word])
    ends = is_word.sum(dim=1)
    empties = [torch.equal(states[i, ends[i] :], empty[ends[i] :]) for i in range(len(states))]
    others = [
        any(torch.equal(states[i, ends[i]], own[j, ends[j]]) for j in range(len(states)) if j != i)
        for i in range(len(states))
    ]
    assert all(is_empty != is_other for is_empty, is_other in zip(empties, others, strict=True))
    assert 0 < sum(others) < len(states) / 2


def test_training_captions_are_sometimes_empty_and_mostly_have_the_class_words() -> None:
    description = describe(render_scene(3))
    captions = training_captions([description] * 2000, random.Random(0))
    word = VOC_WORDS[description[0][0].class_id - 1]
    assert 0.07 < sum(caption == "" for caption in captions) / 2000 < 0.13
    assert 0.45 < sum("; " in caption for caption in captions) / 2000 < 0.62
    assert sum(word in caption for caption in captions) / 2000 > 0.7


def test_time_steps_follow_the_power_law() -> None:
    times = draw_times(200_000, torch.Generator().manual_seed(0))
    assert times.min() >= 0
    assert times.max() <= 999
    assert times.double().mean().item() == pytest.approx(1000 / 1.6 - 0.5, abs=2)  # the mean of u^0.6 is 1 / 1.6
    assert (times < 500).double().mean().item() == pytest.approx(0.5 ** (1 / 0.6), abs=0.005)


def test_the_optimizer_uses_muon_for_matrices_and_adamw_for_the_rest() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(8, 8, 3)
    recipe = replace(Recipe(), matrix_learning_rate=0.01, vector_learning_rate=0.001)
    optimizer = MixedOptimizer([layer], recipe)
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    for parameter in layer.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(rate=1.0)
    moved = (layer.weight - before["weight"]).detach().flatten(1)
    # Muon's update is nearly orthogonal (similar singular values); AdamW's first step is the learning rate everywhere.
    singular = torch.linalg.svdvals(moved)
    assert singular.max() / singular.min() < 2.5
    assert (layer.bias - before["bias"]).abs().tolist() == pytest.approx([0.001] * 8, rel=0.1)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_orthogonalised_matrices_equal_those_of_the_plain_iteration() -> None:
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((8, 40), (40, 8), (8, 8), (8, 40))]
    a, b, c = NEWTON_SCHULZ
    for matrix, result in zip(matrices, orthogonalise(matrices), strict=True):
        expected = matrix.double() / matrix.norm()
        for _ in range(NEWTON_SCHULZ_STEPS):
            cube = expected @ expected.T @ expected
            expected = a * expected + b * cube + c * expected @ expected.T @ cube
        torch.testing.assert_close(result.double(), expected, atol=1e-4, rtol=0)


def test_the_optimizer_steps_like_torchs_muon() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(8, 32), torch.nn.Linear(8, 32)
    theirs.load_state_dict(ours.state_dict())
    before = theirs.weight.detach().clone()
    recipe = replace(Recipe(), matrix_learning_rate=0.01)
    optimizer = MixedOptimizer([ours], recipe)
    muon = torch.optim.Muon([theirs.weight], lr=0.01, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = 0.01 * torch.randn(32, 8)  # too small to be clipped
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        optimizer.step(rate=1.0)
        muon.step()
    # torch iterates in bfloat16.
    assert torch.dist(ours.weight, theirs.weight) < 0.03 * torch.dist(theirs.weight, before)


def test_scene_weights_give_each_number_of_objects_its_share() -> None:
    descriptions = [describe(render_scene(seed)) for seed in SEEDS]
    weights = scene_weights(descriptions, (0.4, 0.4, 0.2))
    counts = torch.tensor([len(objects) for objects, _ in descriptions])
    shares = [weights[counts == count].sum().item() for count in (1, 2, 3)]
    assert shares == pytest.approx([0.4, 0.4, 0.2])
    assert len(weights[counts == 2].unique()) == 1


def test_the_command_line_sets_where_the_learning_rate_starts_to_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["toy_model", "--samples", "1000", "--decay-from", "0.8"])
    (stage,) = make_recipe(parse_arguments()).stages
    assert stage == Stage(128, 1000, decay_from=0.8)


def test_reports_are_appended_to_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = CaptionLosses([0.1, 0.2, 0.3], [0.1, 0.25, 0.5])
    monkeypatch.setattr(toy_model_main, "assemble", lambda *_: None)
    monkeypatch.setattr(toy_model_main, "caption_losses", lambda *_: losses)
    monkeypatch.setattr(toy_model_main, "mask_figures", lambda _: {0: {0.4: 0.5}, 1: {0.4: 0.75}})
    monkeypatch.setattr(toy_model_main, "draw_samples", lambda _: Image.new("RGB", (8, 8)))
    monkeypatch.setattr(toy_model_main, "export", lambda *_: None)
    training: Any = SimpleNamespace(save=lambda: None, averaged=lambda: None, num_samples=0)
    vae: Any = None
    reporter = toy_model_main.Reporter(training, vae, tmp_path, minutes=15)
    for training.num_samples in (64, 128):
        reporter.report()
    first, second = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert (first["num_samples"], second["num_samples"]) == (64, 128)
    assert second["losses"]["without"] == [0.1, 0.25, 0.5]
    assert second["miou"]["1"]["0.4"] == 0.75


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keep_freed_memory does something with glibc alone")
def test_freed_memory_is_kept() -> None:
    count_new_pages = """
import resource
import numpy as np
from scripts.toy_model.memory import keep_freed_memory
keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(pages)
"""
    result = subprocess.run([sys.executable, "-c", count_new_pages], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 100  # of 16,384


def test_a_resumed_training_ends_like_an_uninterrupted_one(
    tokenizer: CLIPTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser_module, "UNET_CONFIG", {**denoiser_module.UNET_CONFIG, **SMALL_UNET})
    recipe = replace(Recipe(), batch_size=2, warmup_steps=2)
    descriptions = [describe(render_scene(seed)) for seed in range(4)]
    latents = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0)).half()

    def train(num_samples: int, state: Path) -> DenoiserTraining:
        training = DenoiserTraining(new_denoiser(tokenizer, seed=0), recipe, state, torch.device("cpu"))
        stage = Stage(64, num_samples, decay_from=1.0)
        training.run(stage, 0, latents, descriptions, pause=lambda: None)
        training.save()
        return training

    whole = train(12, tmp_path / "whole.pt")
    train(6, tmp_path / "parts.pt")
    resumed = train(12, tmp_path / "parts.pt")
    assert whole.num_samples == resumed.num_samples == 12
    for one, other in zip(whole.averaged().modules, resumed.averaged().modules, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_scenes_are_rendered_and_encoded_once(tmp_path: Path, vae: AutoencoderKL) -> None:
    store = SceneStore(tmp_path, 4)
    images = store.images()
    assert np.array_equal(images[2], render_scene(2).image)
    assert store.descriptions()[2] == describe(render_scene(2))
    latents = store.latents(128, vae)
    with torch.no_grad():
        torch.testing.assert_close(latents.float(), encode_images(vae, images), atol=2e-2, rtol=1e-2)
    assert store.latents(64, vae).shape == (4, 4, 16, 16)
    (tmp_path / "latents_128_4.pt").rename(tmp_path / "unfinished_latents_128_4.pt")
    assert torch.equal(store.latents(128, vae), latents)  # a killed run's leftover is not taken for a complete file


def test_the_exported_pipeline_loads_unchanged_and_as_older_tools_expect_it(
    tokenizer: CLIPTokenizer, vae: AutoencoderKL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser_module, "UNET_CONFIG", {**denoiser_module.UNET_CONFIG, **SMALL_UNET})
    made = assemble(new_denoiser(tokenizer, seed=0), vae)
    export(made, tmp_path / "model")
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path / "model")
    for part in ("unet", "text_encoder", "vae"):
        weights = getattr(loaded, part).state_dict()
        for name, value in getattr(made, part).state_dict().items():
            assert torch.equal(weights[name], value.half().float()), name
    assert loaded.tokenizer("a motorbike").input_ids == tokenizer("a motorbike").input_ids
    with safe_open(tmp_path / "model/text_encoder/model.safetensors", "pt") as file:
        assert all(name.startswith("text_model.") for name in file.keys())  # noqa: SIM118
    vocabulary = json.loads((tmp_path / "model/tokenizer/vocab.json").read_text(encoding="utf-8"))
    assert vocabulary == tokenizer.get_vocab()
    merges = (tmp_path / "model/tokenizer/merges.txt").read_text(encoding="utf-8").splitlines()
    assert len(merges) == 1 + NUM_MERGES
