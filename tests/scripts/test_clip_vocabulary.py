import gzip

import pytest

from dataset_diffusion.errors import InputError
from scripts.clip_vocabulary import clip_tokenizer
from tests.clip import CLIP_BPE, real_clip_tokenizer


@pytest.mark.parametrize(
    ("text", "token_ids"),
    # The ids that CLIP's published checkpoints use.
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("a photo of a dog", [320, 1125, 539, 320, 1929]),
        ("!", [256]),
        ("", []),
    ],
)
def test_token_ids_equal_those_of_the_published_models(text: str, token_ids: list[int]) -> None:
    assert real_clip_tokenizer()(text)["input_ids"] == [49406, *token_ids, 49407]


def test_the_vocabulary_has_clips_size_and_no_duplicates() -> None:
    assert len(real_clip_tokenizer().get_vocab()) == 49408
    assert real_clip_tokenizer().model_max_length == 77


def test_tokenizer_survives_saving(tmp_path) -> None:
    clip_tokenizer(CLIP_BPE, model_max_length=40).save_pretrained(tmp_path)
    loaded = type(real_clip_tokenizer()).from_pretrained(tmp_path)
    assert loaded.model_max_length == 40
    text = "an aeroplane on a dining table"
    assert loaded(text)["input_ids"] == real_clip_tokenizer()(text)["input_ids"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "not readable as gzipped text"),
        (gzip.compress(b"version\ni n\nt h\n"), "not a list of 48894 merges"),
        (gzip.compress(b"word\n" * 60000), "not a list of 48894 merges"),
        (gzip.compress(b"\xff\xfe"), "not readable as gzipped text"),
        (CLIP_BPE.read_bytes()[:1000], "not readable as gzipped text"),
    ],
    # Explicit names: gzip output contains the time, and all test processes must agree on the names.
    ids=["not-gzip", "few-merges", "other-words", "not-text", "cut-off"],
)
def test_another_file_is_refused(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        clip_tokenizer(path)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"absent\.gz"):
        clip_tokenizer(tmp_path / "absent.gz")
