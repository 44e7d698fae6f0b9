"""Archived attention: its mean over layers and quarters equals dd-generate's recording; class words are found again."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from dataset_diffusion.attention.aggregate import class_attention
from dataset_diffusion.attention.layers import find_attention_layers
from dataset_diffusion.calibration.recording import LabelledImage, NoisedRecorder
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from dataset_diffusion.toy.scenes import VOC_WORDS
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.reproduction.archive import (
    CLASS_PROMPT,
    FULL_PROMPT,
    MORE_WORDS,
    NUM_MORE,
    ArchivedAttention,
    QuarterlyRecorder,
    appended_spans,
    archive,
    archive_labelled,
    other_words,
    plan_recordings,
    read_texts,
)
from tests.clip import real_clip_tokenizer
from tests.tiny_pipeline import build_tiny_pipeline

SETTINGS = SamplerSettings(num_inference_steps=7, guidance_scale=2.0)
SIXTEEN = AttentionSettings(self_resolution=16, cross_resolution=16)
WORDS = ["cat", "dog"]
PROMPTS = [Prompt("a", "a cat", (8, 12), seed=1), Prompt("b", "a dog", (12,), seed=2)]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPipeline:
    return load_pipeline(ModelSettings(path=str(build_tiny_pipeline(tmp_path_factory.mktemp("pipeline")))), SETTINGS)


def encode(pipe: StableDiffusionPipeline, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return pipe.encode_prompt(texts, "cpu", 1, False)[0]


def test_quarters_of_a_sampling_run_average_to_the_samplers_recording(pipe: StableDiffusionPipeline) -> None:
    generator = Generator(pipe, SETTINGS, SIXTEEN, load_vocabulary("voc"))
    words = (WORDS[:2], WORDS[1:2])
    class_texts = [class_prompt(pipe.tokenizer, of_image) for of_image in words]
    plan = plan_recordings(
        find_attention_layers(pipe.unet, (16, 16)),
        read_texts(pipe.tokenizer, partial(encode, pipe), None, words, seeds=[1, 2]),
    )
    plain = generator.sample(PROMPTS)
    with QuarterlyRecorder(pipe.unet, [planned.recording for planned in plan], num_calls=7) as recorder:
        samples = generator.sample(PROMPTS)
    for index, (sample, same) in enumerate(zip(samples, plain, strict=True)):
        assert np.array_equal(sample.image, same.image)
        archived = archive(plan, recorder.quarters(index), index, num_steps=7)
        cross = archived.cross[CLASS_PROMPT, 16]
        assert cross.shape == (3, 4, len(sample.prompt.class_ids), 16, 16)
        assert archived.self_attention[8].shape == (4, 4, 64, 64)
        expected = class_attention(sample.attention.cross, class_texts[index].spans)
        torch.testing.assert_close(torch.from_numpy(archived.mean(cross)), expected, atol=1e-6, rtol=1e-5)
        mean = torch.from_numpy(archived.mean(archived.self_attention[16]))
        torch.testing.assert_close(mean, sample.attention.self_attention, atol=1e-6, rtol=1e-5)
        quarters = cross.mean(axis=0)
        assert not np.allclose(quarters[0], quarters[3], atol=1e-6)
    assert not [module for module in pipe.unet.modules() if module._forward_hooks or module._forward_pre_hooks]


def test_a_sampling_run_of_another_length_is_an_error(pipe: StableDiffusionPipeline) -> None:
    generator = Generator(pipe, SETTINGS, SIXTEEN, load_vocabulary("voc"))
    texts = read_texts(pipe.tokenizer, partial(encode, pipe), None, [["cat"]], seeds=[1])
    plan = plan_recordings(find_attention_layers(pipe.unet, (16, 16)), texts)
    with QuarterlyRecorder(pipe.unet, [planned.recording for planned in plan], num_calls=12) as recorder:
        generator.sample(PROMPTS[:1])
    with pytest.raises(RuntimeError, match="7 times, not 12"):
        recorder.quarters(0)


def test_a_labelled_images_quarters_average_to_its_recording(pipe: StableDiffusionPipeline) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    item = LabelledImage(image, np.zeros((32, 32), np.uint8), (8, 12), ("cat", "dog"), prompt="a thing; cat dog")
    recorder = NoisedRecorder(pipe, 7, SIXTEEN)
    archived = archive_labelled(recorder, item, seed=5, appended=True)
    recorded = recorder.record(item, seed=5).attention
    spans = ((1,), (2, 3))
    mean = archived.mean(archived.cross[CLASS_PROMPT, 16])
    torch.testing.assert_close(torch.from_numpy(mean), class_attention(recorded.cross, spans), atol=1e-6, rtol=1e-5)
    assert archived.cross[FULL_PROMPT, 16].shape == archived.cross[CLASS_PROMPT, 16].shape
    assert not np.allclose(archived.cross[FULL_PROMPT, 16], archived.cross[CLASS_PROMPT, 16], atol=1e-4)
    assert (FULL_PROMPT, 16) not in archive_labelled(recorder, item, seed=5, appended=False).cross


def test_words_not_asked_for_are_read_after_the_requested_ones(pipe: StableDiffusionPipeline) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    item = LabelledImage(image, np.zeros((32, 32), np.uint8), (8, 12), ("cat", "dog"), prompt="a thing; cat dog")
    recorder = NoisedRecorder(pipe, 7, SIXTEEN)
    archived = archive_labelled(recorder, item, seed=5, appended=False)
    five_words = (*item.words, *other_words(item.words, seed=5))
    text = class_prompt(pipe.tokenizer, five_words)
    expected = recorder.record(replace(item, class_ids=tuple(range(1, 6)), words=five_words), seed=5).attention
    mean = torch.from_numpy(archived.mean(archived.cross[MORE_WORDS, 16]))
    torch.testing.assert_close(mean, class_attention(expected.cross, text.spans), atol=1e-6, rtol=1e-5)
    asked_alone = archived.cross[CLASS_PROMPT, 16]
    assert not np.allclose(archived.cross[MORE_WORDS, 16][:, :, :2], asked_alone, atol=1e-4)
    assert (MORE_WORDS, 8) not in archived.cross


def test_other_words_exclude_the_requested_ones_and_depend_on_the_seed() -> None:
    asked = ["cat", "dog", "sofa"]
    drawn = [other_words(asked, seed) for seed in range(50)]
    assert all(len({*words, *asked}) == 3 + NUM_MORE for words in drawn)
    assert drawn == [other_words(asked, seed) for seed in range(50)]
    assert {word for words in drawn for word in words} == set(VOC_WORDS) - set(asked)


@pytest.mark.parametrize(
    "caption", ["a woman on a couch using a laptop", "two aeroplanes, one of them old - seen at 5:30"]
)
def test_appended_class_words_are_found_in_the_whole_prompt(caption: str) -> None:
    tokenizer = real_clip_tokenizer()
    words = ["hot dog", "aeroplane", "dog"]
    prompt = f"{caption}; {' '.join(words)}"
    token_ids = tokenizer(prompt)["input_ids"]
    spans = appended_spans(tokenizer, prompt, words)
    assert [tokenizer.decode([token_ids[p] for p in span]).strip() for span in spans] == words


def test_an_archive_survives_writing_up_to_float16_precision(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    archived = ArchivedAttention(
        cross={(CLASS_PROMPT, 16): generator.random((2, 4, 1, 16, 16), dtype=np.float32)},
        self_attention={8: generator.random((2, 4, 64, 64), dtype=np.float32)},
        quarter_steps=[3, 4, 4, 4],
    )
    archived.write(tmp_path / "a.npz")
    read = ArchivedAttention.read(tmp_path / "a.npz")
    for old, new in ((archived.cross, read.cross), (archived.self_attention, read.self_attention)):
        assert old.keys() == new.keys()
        for key in old:
            np.testing.assert_allclose(new[key], old[key], rtol=1e-3)
    assert read.quarter_steps == [3, 4, 4, 4]
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
