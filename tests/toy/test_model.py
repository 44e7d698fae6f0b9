"""The model that comes with the package, as any Stable Diffusion tool sees it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from dataset_diffusion.paths import toy_model_dir

MAX_BYTES = 24_000_000


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    """Loaded as its model card says, without options."""
    pipe = StableDiffusionPipeline.from_pretrained(toy_model_dir())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_plain_pipeline_makes_an_image(pipe: StableDiffusionPipeline) -> None:
    (image,) = pipe(
        "a red car; car", num_inference_steps=3, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images
    assert image.shape == (128, 128, 3)
    assert np.isfinite(image).all()
    assert image.std() > 0.05


def test_the_model_is_small_and_safe_to_load() -> None:
    files = [path for path in Path(toy_model_dir()).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    weights = [path for path in files if path.suffix not in (".json", ".txt", ".md", ".png")]
    assert {path.suffix for path in weights} == {".safetensors"}
    assert len(weights) == 3


@pytest.mark.parametrize("word", ["aeroplane", "motorbike"])
def test_some_class_words_take_two_tokens_as_in_clip(pipe: StableDiffusionPipeline, word: str) -> None:
    assert len(pipe.tokenizer(word).input_ids) == 2 + 2


def test_any_text_can_be_tokenised(pipe: StableDiffusionPipeline) -> None:
    text = "zebra € 漢字 😀 ærø\n7"
    decoded = pipe.tokenizer.decode(pipe.tokenizer(text).input_ids, skip_special_tokens=True)
    assert "".join(decoded.split()) == "".join(text.split())


def test_the_tokenizer_has_the_same_files_as_clips(pipe: StableDiffusionPipeline) -> None:
    folder = Path(toy_model_dir()) / "tokenizer"
    assert (folder / "tokenizer.json").is_file()
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert vocabulary == pipe.tokenizer.get_vocab()
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    # Like CLIP's: 256 bytes, the same as word endings, the merges, start and end.
    assert len(vocabulary) == 2 * 256 + len(merges) + 2
    assert all("".join(merge.split(" ")) in vocabulary for merge in merges)
