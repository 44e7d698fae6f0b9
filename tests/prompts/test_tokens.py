import random
import unicodedata
from itertools import product
from types import SimpleNamespace

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.tokens import (
    class_prompt,
    class_word_ranges,
    count_shortened,
    full_text,
    merge_repeats,
    prompt_text,
)
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.clip_vocabulary import clip_tokenizer
from tests.clip import CLIP_BPE, real_clip_tokenizer

VOC_WORDS = [entry.word for entry in load_vocabulary("voc").classes]
COCO_WORDS = [entry.word for entry in load_vocabulary("coco").classes]
LENGTH = 77


def tokens_of(text: str) -> list[int]:
    """The tokens of a text, without the start and end tokens."""
    return real_clip_tokenizer()(text)["input_ids"][1:-1]


def expected_spans(words: list[str]) -> tuple[tuple[int, ...], ...]:
    """Computed without offsets: CLIP never joins tokens across a space, so lengths add up."""
    spans, position = [], 1
    for word in words:
        length = len(tokens_of(word))
        spans.append(tuple(range(position, position + length)))
        position += length
    return tuple(spans)


@pytest.mark.parametrize("word", sorted({*VOC_WORDS, *COCO_WORDS}))
def test_span_of_each_word_alone(word: str) -> None:
    prompt = class_prompt(real_clip_tokenizer(), [word])
    assert prompt.spans == expected_spans([word])
    assert [prompt.token_ids[position] for position in prompt.spans[0]] == tokens_of(word)


@pytest.mark.parametrize("words", [VOC_WORDS, COCO_WORDS], ids=["voc", "coco"])
def test_spans_of_every_ordered_pair(words: list[str]) -> None:
    """Every pair of classes, including with itself: 400 and 6,400 class prompts, checked by decoding alone."""
    tokenizer = real_clip_tokenizer()
    decoded = {token_id: text.removesuffix("</w>") for text, token_id in tokenizer.get_vocab().items()}
    num_words = 0
    for pair in product(words, repeat=2):
        prompt = class_prompt(tokenizer, pair)
        for word, span in zip(pair, prompt.spans, strict=True):
            assert "".join(decoded[prompt.token_ids[position]] for position in span) == word.replace(" ", ""), pair
            num_words += 1
        # Spans are disjoint and cover the class prompt up to the end token.
        length = prompt.token_ids.index(tokenizer.eos_token_id)
        assert [position for span in prompt.spans for position in span] == list(range(1, length)), pair
    assert num_words == 2 * len(words) ** 2


CHARACTERS = ("a", "B", "dog", "Hot Dog", "aeroplane", "-", "'s", "é", "ß", "猫", "🐕", "7", "&", "(x)", "ﬁ", ".", "tv")


@pytest.mark.parametrize("seed", range(5))
def test_spans_of_random_texts_decode_to_their_words(seed: int) -> None:
    rng = random.Random(seed)
    tokenizer = real_clip_tokenizer()
    for _ in range(100):
        words = ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 5))]
        prompt = class_prompt(tokenizer, words)
        length = prompt.token_ids.index(tokenizer.eos_token_id)
        assert [position for span in prompt.spans for position in span] == list(range(1, length)), words
        for word, span in zip(words, prompt.spans, strict=True):
            text = tokenizer.decode([prompt.token_ids[position] for position in span])
            plain = unicodedata.normalize("NFC", word).lower()
            assert text.replace(" ", "") == plain.replace(" ", ""), words


@pytest.mark.parametrize("words", [VOC_WORDS, COCO_WORDS], ids=["voc", "coco"])
def test_spans_of_random_combinations(words: list[str]) -> None:
    rng = random.Random(0)
    for _ in range(300):
        chosen = rng.choices(words, k=rng.randint(1, 8))
        prompt = class_prompt(real_clip_tokenizer(), chosen)
        assert prompt.spans == expected_spans(chosen), chosen
        assert prompt.text == " ".join(chosen)


def test_spans_account_for_words_that_clip_splits() -> None:
    # Counting words would give: aeroplane (1,), dining table (2, 3), dog (4,).
    assert class_prompt(real_clip_tokenizer(), ["aeroplane", "dining table", "dog"]).spans == ((1, 2), (3, 4), (5,))
    assert class_prompt(real_clip_tokenizer(), ["fire hydrant", "surfboard"]).spans == ((1, 2, 3), (4, 5))
    assert class_prompt(real_clip_tokenizer(), ["hot dog", "teddy bear", "dog"]).spans == ((1, 2), (3, 4), (5,))


def test_token_ids_are_padded_as_in_the_pipeline() -> None:
    prompt = class_prompt(real_clip_tokenizer(), ["dog"])
    assert prompt.token_ids == (49406, 1929, *[49407] * (LENGTH - 2))


def test_padding_with_a_word_token_is_not_a_word() -> None:
    # Stable Diffusion 2.x pads with "!".
    tokenizer = clip_tokenizer(CLIP_BPE)
    tokenizer.pad_token = "!"
    prompt = class_prompt(tokenizer, ["dog!", "cat"])
    assert prompt.token_ids == (49406, 1929, 256, 2368, 49407, *[0] * (LENGTH - 5))
    assert prompt.spans == ((1, 2), (3,))


@pytest.mark.parametrize(
    "words",
    [
        ["car", "scar", "car", "carcar"],
        ["dog", "dog"],
        ["Aeroplane", "DINING Table"],
        ["café", "cafe\u0301", "dog"],
        ["猫", "İstanbul", "ﬁre", "dog"],
        ["don't", "T-shirt", "dog"],
        ["🐕‍🦺", "dog"],
        ["dining  table", " dog ", "cat"],
    ],
)
def test_spans_of_unusual_words(words: list[str]) -> None:
    assert class_prompt(real_clip_tokenizer(), words).spans == expected_spans(words)


def test_any_clip_tokenizer_works() -> None:
    # Without merges, each letter is a token.
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=16)
    prompt = class_prompt(tokenizer, ["a cat", "dog"])
    assert prompt.spans == ((1, 2, 3, 4), (5, 6, 7))
    assert len(prompt.token_ids) == 16


def test_no_classes_give_no_spans() -> None:
    prompt = class_prompt(real_clip_tokenizer(), [])
    assert prompt.spans == ()
    assert prompt.token_ids == (49406, *[49407] * (LENGTH - 1))


def test_words_that_just_fit() -> None:
    prompt = class_prompt(real_clip_tokenizer(), ["dog"] * 75)
    assert prompt.spans[-1] == (75,)
    with pytest.raises(InputError, match=r"78 tokens with start and end, but the text encoder reads 77"):
        class_prompt(real_clip_tokenizer(), ["dog"] * 76)


@pytest.mark.parametrize("word", ["", "  "])
def test_word_without_token_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="has no token"):
        class_prompt(real_clip_tokenizer(), ["dog", word])


@pytest.mark.parametrize("function", [lambda t: class_prompt(t, ["dog"]), lambda t: prompt_text(t, "a dog", ["dog"])])
def test_unusable_tokenizers_are_named(function) -> None:
    with pytest.raises(InputError, match="'some/model': gives no token offsets"):
        function(SimpleNamespace(name_or_path="some/model", is_fast=False, model_max_length=77))
    with pytest.raises(InputError, match="'CLIPTokenizer': has no model_max_length"):
        function(clip_tokenizer(CLIP_BPE, model_max_length=int(1e30)))


@pytest.mark.parametrize(
    ("caption", "words", "text"),
    [
        (
            "a woman sitting on a couch",
            ["person", "sofa"],
            "a woman sitting on a couch; person sofa",
        ),
        ("A dog.  ", ["dog"], "A dog.; dog"),
        ("a quiet street", [], "a quiet street"),
        ("", ["dog", "cat"], "dog cat"),
        (" ", [], ""),
    ],
)
def test_prompt_text_that_fits_is_unchanged(caption: str, words: list[str], text: str) -> None:
    assert prompt_text(real_clip_tokenizer(), caption, words) == text


@pytest.mark.parametrize("words", [["dog"], ["fire hydrant", "teddy bear", "surfboard"], []])
@pytest.mark.parametrize("separator", [" ", ". ", ", ", "  "])
def test_a_long_caption_loses_its_end_but_no_class(words: list[str], separator: str) -> None:
    tokenizer = real_clip_tokenizer()
    caption_words = [f"surfboard{number}" for number in range(60)]
    text = prompt_text(tokenizer, separator.join(caption_words), words)
    ending = f"; {' '.join(words)}" if words else ""
    assert text.endswith(ending)
    kept = text.removesuffix(ending)
    assert separator.join(caption_words).startswith(kept)
    # The pipeline truncates nothing, ...
    cut = tokenizer(text, max_length=LENGTH, truncation=True)["input_ids"]
    assert cut == tokenizer(text)["input_ids"]
    # ... and one more caption word would not fit.
    num_kept = len(kept.split())
    assert 0 < num_kept < len(caption_words)
    longer = separator.join(caption_words[: num_kept + 1]) + ending
    assert len(tokenizer(longer)["input_ids"]) > LENGTH


def test_a_caption_that_just_fits_is_unchanged() -> None:
    # 72 + ";" + "hot dog" + start and end.
    caption = " ".join(["word"] * 72)
    assert prompt_text(real_clip_tokenizer(), caption, ["hot dog"]) == f"{caption}; hot dog"
    assert prompt_text(real_clip_tokenizer(), f"{caption} more", ["hot dog"]) == f"{caption}; hot dog"


def test_a_single_overlong_word_is_left_out() -> None:
    assert prompt_text(real_clip_tokenizer(), "qz" * 5000, ["dog"]) == "dog"
    assert prompt_text(real_clip_tokenizer(), f"a photo {'qz' * 5000} of", ["dog"]) == "a photo; dog"


def test_class_words_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"78 tokens"):
        prompt_text(real_clip_tokenizer(), "many dogs", ["dog"] * 76)


@pytest.mark.parametrize(
    ("mode", "caption", "words", "text"),
    [
        ("simple", "a woman on a couch", ["person"], "a photo of a person"),
        ("simple", "a woman on a couch", ["person", "sofa"], "a photo of a person and a sofa"),
        ("simple", "", ["umbrella", "skis", "cat"], "a photo of an umbrella, a pair of skis and a cat"),
        ("caption", "a woman on a couch ", ["person", "sofa"], "a woman on a couch"),
        ("classes", "a woman on a couch", ["person", "sofa"], "person sofa"),
        ("caption_and_classes", "a woman on a couch", ["person", "sofa"], "a woman on a couch; person sofa"),
        ("classes", "a street", [], "a street"),
        ("simple", "a street", [], "a street"),
    ],
)
def test_the_four_modes(mode: str, caption: str, words: list[str], text: str) -> None:
    assert full_text(caption, words, mode) == text
    assert prompt_text(real_clip_tokenizer(), caption, words, mode) == text


@pytest.mark.parametrize("mode", ["caption", "caption_and_classes"])
def test_shortened_captions_are_counted(mode: str) -> None:
    tokenizer = real_clip_tokenizer()
    # 75 words fit between start and end; with "; hot dog" only 72 do.
    captions = [" ".join(["word"] * number) for number in (1, 72, 73, 75, 76, 200)]
    words = [["hot dog"]] * len(captions)
    texts = [prompt_text(tokenizer, caption, w, mode) for caption, w in zip(captions, words, strict=True)]
    changed = sum(text != full_text(c, w, mode) for text, c, w in zip(texts, captions, words, strict=True))
    assert count_shortened(tokenizer, captions, words, mode) == changed == (2 if mode == "caption" else 4)
    assert count_shortened(tokenizer, captions, words, "classes") == 0
    assert count_shortened(tokenizer, [], [], mode) == 0


@pytest.mark.parametrize("length", [12, 40])
def test_the_count_of_shortened_captions_matches_the_tokenizer(length: int) -> None:
    tokenizer = clip_tokenizer(CLIP_BPE, length)
    rng = random.Random(0)
    parts = (*CHARACTERS, "a", "dog", "on the", "<|endoftext|>", "it's", "\t", "\x1f", "㍿", "...", "12")
    captions = ["".join(rng.choices([*parts, *[" "] * 12], k=rng.randrange(2 * length))) for _ in range(2000)]
    captions += ["7" * number for number in range(2 * length)]  # as many tokens as characters
    too_long = sum(len(tokenizer(caption.rstrip())["input_ids"]) > length for caption in captions)
    assert 200 < too_long < 1800
    assert count_shortened(tokenizer, captions, [["dog"]] * len(captions), "caption") == too_long


@pytest.mark.parametrize("mode", ["simple", "caption", "classes", "caption_and_classes"])
def test_classes_that_do_not_fit_are_refused_in_every_mode(mode: str) -> None:
    with pytest.raises(InputError, match="tokens with start and end, but the text encoder reads 77"):
        count_shortened(real_clip_tokenizer(), ["a dog", "dogs"], [["dog"], ["dog"] * 76], mode)


def test_a_simple_prompt_that_does_not_fit_is_refused() -> None:
    # The class words fit, but not with their articles.
    with pytest.raises(InputError, match="the text encoder reads 77"):
        count_shortened(real_clip_tokenizer(), [""], [list("abcdefghijklmnopqrstuvwxyz")], "simple")


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("a photo of a dog and a hot dog", ["dog", "hot dog"], [(13, 16), (23, 30)]),
        ("a photo of a dog and a hot dog", ["hot dog", "dog"], [(23, 30), (13, 16)]),
        ("two dogs, a hot dog, a dog and a hot dog by a sofa", ["dog", "hot dog"], [(23, 26), (33, 40)]),
        ("a photo of a person and a sofa", ["person", "sofa", "person"], [(13, 19), (26, 30), (13, 19)]),
        ("a streetcar; car", ["car"], [(13, 16)]),
        ("a hot dog; dog hot dog", ["dog", "hot dog"], [(11, 14), (15, 22)]),
    ],
)
def test_class_words_are_not_found_inside_longer_ones(
    text: str, words: list[str], found: list[tuple[int, int]]
) -> None:
    assert class_word_ranges(text, words) == found


@pytest.mark.parametrize(
    ("text", "words", "missing"),
    [
        ("a hot dog on a table", ["dog", "hot dog"], "dog"),
        ("a family rides in a streetcar", ["car"], "car"),
    ],
)
def test_a_class_word_found_only_inside_another_is_refused(text: str, words: list[str], missing: str) -> None:
    with pytest.raises(InputError, match=f"class word '{missing}': not in the prompt '{text}'; append it"):
        class_word_ranges(text, words)


def test_a_repeated_class_has_one_span_of_all_its_mentions() -> None:
    words = ["person", "aeroplane", "person", "sofa", "person"]
    prompt = class_prompt(real_clip_tokenizer(), words)
    assert prompt.text == "person aeroplane person sofa person"
    assert merge_repeats(words, prompt.spans) == ((1, 4, 6), (2, 3), (5,))
