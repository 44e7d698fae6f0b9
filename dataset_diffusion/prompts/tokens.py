"""The texts that the text encoder reads, and where each class is in them.

Positions come from the tokenizer's offsets. Counting words would not do: CLIP splits "aeroplane" in two
("aerop", "lane"), and also "hydrant" and "surfboard".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.english import with_article

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

_CAPTIONS_AT_ONCE = 10_000
UNBOUNDED_LENGTH = 1_000_000
"""transformers sets model_max_length to 1e30 for a tokenizer that has none."""


@dataclass(frozen=True)
class ClassPrompt:
    """A text of only class words, whose attention makes the masks (the paper's class-prompt cross-attention).

    `token_ids` [T]: start, words, end, padding up to the tokenizer's `model_max_length`. `spans[k]` are the positions
    in `token_ids` (1 ... T - 2, ascending) of the k-th word; each span has at least one, and no two overlap.
    """

    text: str
    token_ids: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]


def class_prompt(tokenizer: "CLIPTokenizer", words: Sequence[str]) -> ClassPrompt:
    """Join class words ("aeroplane", "dining table") with spaces and find each one's tokens.
    Raises InputError if they need more than `model_max_length` tokens, if a word has no token, or if the tokenizer
    gives no offsets.
    """
    _require_usable(tokenizer)
    text = " ".join(words)
    encoding = tokenizer(text, padding="max_length", return_offsets_mapping=True, verbose=False)
    token_ids = tuple(encoding["input_ids"])
    if len(token_ids) > tokenizer.model_max_length:
        raise _too_long(tokenizer, words)
    # Word k begins after the k words before it, each with its space.
    starts = accumulate((len(word) + 1 for word in words), initial=0)
    offsets = [_without_spaces(text, *offset) for offset in encoding["offset_mapping"]]
    spans = tuple(_tokens_within(offsets, start, start + len(word)) for start, word in zip(starts, words, strict=False))
    for word, span in zip(words, spans, strict=True):
        if not span:
            raise InputError(f"class word {word!r}: the tokenizer has no token for it; give the class another word")
    return ClassPrompt(text, token_ids, spans)


@dataclass(frozen=True)
class PromptTokens:
    """Where the words of a whole prompt are: the positions of their tokens, in ascending order.

    `words` are the positions of all words, without start, end, padding and chat template; `spans[k]` are those of the
    k-th class word, at least one each, all of them in `words`.
    """

    words: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]


def prompt_tokens(
    tokenizer: "PreTrainedTokenizerFast",
    text: str,
    words: Sequence[str],
    max_length: int,
    around: tuple[str, str] = ("", ""),
) -> PromptTokens:
    """Find the words of a prompt, and among them the class words, in the part that a text encoder reads.

    It reads `max_length` tokens of the text between the two texts `around` it, such as those of a chat template. Raises
    InputError for a class word that is not in the text, or of which the encoder reads no token.
    """
    whole = around[0] + text + around[1]
    encoding = tokenizer(whole, truncation=True, max_length=max_length, return_offsets_mapping=True, verbose=False)
    offsets = [_without_spaces(whole, *offset) for offset in encoding["offset_mapping"]]
    begin = len(around[0])
    spans = tuple(_tokens_within(offsets, begin + start, begin + end) for start, end in class_word_ranges(text, words))
    for word, span in zip(words, spans, strict=True):
        if not span:
            raise InputError(
                f"class word {word!r}: the text encoder, which reads {max_length} tokens, has none for it in {text!r}; "
                "shorten the prompt, or give the class another word"
            )
    return PromptTokens(_tokens_within(offsets, begin, begin + len(text)), spans)


def class_word_ranges(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """The characters [start, end) of class words in a prompt: those appended at its end, or else their last mentions.

    A word inside a longer class word does not count: "hot dog" does not mention "dog" if both are wanted. Raises
    InputError for a word that is not in the text.
    """
    appended = " ".join(words)
    if re.search(rf"(?<!\w){re.escape(appended)}\Z", text):
        starts = accumulate((len(word) + 1 for word in words), initial=len(text) - len(appended))
        return [(start, start + len(word)) for start, word in zip(starts, words, strict=False)]
    taken: list[tuple[int, int]] = []
    ranges: dict[str, tuple[int, int]] = {}
    for word in sorted(dict.fromkeys(words), key=len, reverse=True):
        mentions = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)]
        free = [(start, end) for start, end in mentions if all(end <= first or last <= start for first, last in taken)]
        if not free:
            raise InputError(f"class word {word!r}: not in the prompt {text!r}; append it: {f'{text}; {appended}'!r}")
        taken += free
        ranges[word] = free[-1]
    return [ranges[word] for word in words]


def merge_repeats(words: Sequence[str], spans: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """One span per distinct word, with all its mentions, in order of first mention; spans[i] belongs to words[i]."""
    merged: dict[str, tuple[int, ...]] = {}
    for word, span in zip(words, spans, strict=True):
        merged[word] = (*merged.get(word, ()), *span)
    return tuple(merged.values())


def full_text(caption: str, words: Sequence[str], mode: str = "caption_and_classes") -> str:
    """The text that an image is made from, however long, in one of the four kinds of the paper's ablation.

    simple: "a photo of a person and a sofa"; caption: "a woman on a couch"; classes: "person sofa";
    caption_and_classes: "a woman on a couch; person sofa". A prompt without classes is its caption.
    """
    appended = " ".join(words)
    if mode == "caption" or not appended:
        return caption.rstrip()
    if mode == "simple":
        *first, last = map(with_article, dict.fromkeys(words))
        return f"a photo of {', '.join(first)} and {last}" if first else f"a photo of {last}"
    return f"{caption.rstrip()}; {appended}" if mode == "caption_and_classes" and caption.strip() else appended


def prompt_text(
    tokenizer: "CLIPTokenizer", caption: str, words: Sequence[str], mode: str = "caption_and_classes"
) -> str:
    """`full_text`, cut to the `model_max_length` tokens that the text encoder reads.

    A text that is too long loses words from the end of the caption, never from the classes, which must be read. Raises
    InputError if the classes alone are too long.
    """
    _require_usable(tokenizer)
    text = full_text(caption, words, mode)
    if _fits(tokenizer, text):
        return text
    if mode in {"caption", "caption_and_classes"}:
        # Every word has at least one token, so no more words than tokens can fit.
        word_ends = [match.end() for match in re.finditer(r"\S+", caption)][: tokenizer.model_max_length]
        for end in (*reversed(word_ends), 0):
            text = full_text(caption[:end], words, mode)
            if _fits(tokenizer, text):
                return text
    raise _too_long(tokenizer, words)


def fits(tokenizer: "CLIPTokenizer", caption: str, words: Sequence[str], mode: str) -> bool:
    """Whether the text encoder reads all of a prompt, so that `prompt_text` leaves it unchanged."""
    return _fits(tokenizer, full_text(caption, words, mode))


def count_shortened(
    tokenizer: "CLIPTokenizer", captions: Sequence[str], words: Sequence[Sequence[str]], mode: str
) -> int:
    """How many prompts `prompt_text` would cut; `words[i]` are the class words of caption i.

    Raises InputError, as class_prompt and prompt_text would, for classes whose words do not fit. This checks all of
    them in seconds, before any image is made.
    """
    bounds = _TokenBounds(tokenizer)
    combinations = dict.fromkeys(map(tuple, words))
    for word in dict.fromkeys(chain.from_iterable(combinations)):
        class_prompt(tokenizer, [word])
    for combination in combinations:
        if not bounds.surely_fits(" ".join(combination)):
            class_prompt(tokenizer, combination)
        if mode == "simple" and not bounds.surely_fits(full_text("", combination, mode)):
            prompt_text(tokenizer, "", combination, mode)
    texts = (
        text
        for text in (full_text(*pair, mode) for pair in zip(captions, words, strict=True))
        if not bounds.surely_fits(text)
    )
    num_shortened = 0
    # The tokens of a million captions at once would take gigabytes.
    while chunk := list(islice(texts, _CAPTIONS_AT_ONCE)):
        tokens = tokenizer(chunk, verbose=False, return_attention_mask=False)["input_ids"]
        num_shortened += sum(len(ids) > tokenizer.model_max_length for ids in tokens)
    return num_shortened


class _TokenBounds:
    """Recognises most texts that fit, in a fiftieth of the time that the tokenizer takes.

    It does so only for printable ASCII: normalising other texts can lengthen them, and not all tokenizers treat control
    characters as white space.
    """

    def __init__(self, tokenizer: "CLIPTokenizer") -> None:
        specials = tokenizer.num_special_tokens_to_add()
        self._room = tokenizer.model_max_length - specials
        # CLIP splits words between spaces one by one, so their token counts add up.
        self._counts = _WordCounts(tokenizer, specials) if type(tokenizer).__name__.startswith("CLIP") else None

    def surely_fits(self, text: str) -> bool:
        if not (text.isascii() and text.isprintable()):
            return False
        # No token is shorter than a character, except for one that some tokenizers put in front.
        if len(text) < self._room:
            return True
        return self._counts is not None and sum(map(self._counts.__getitem__, text.split())) <= self._room


class _WordCounts(dict[str, int]):
    """Token counts of single words, each counted when it is first needed."""

    def __init__(self, tokenizer: "CLIPTokenizer", specials: int) -> None:
        super().__init__()
        self._tokenizer, self._specials = tokenizer, specials

    def __missing__(self, word: str) -> int:
        self[word] = count = _num_tokens(self._tokenizer, word) - self._specials
        return count


def _tokens_within(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, ...]:
    """Positions of the tokens whose characters lie in [start, end). Special and padding tokens have no characters."""
    return tuple(
        position for position, (token_start, token_end) in enumerate(offsets) if start <= token_start < token_end <= end
    )


def _without_spaces(text: str, start: int, end: int) -> tuple[int, int]:
    """A token's characters without the space before it, which some tokenizers include."""
    return start + len(text[start:end]) - len(text[start:end].lstrip()), end


def _num_tokens(tokenizer: "CLIPTokenizer", text: str) -> int:
    return len(tokenizer(text, verbose=False)["input_ids"])


def _fits(tokenizer: "CLIPTokenizer", text: str) -> bool:
    return _num_tokens(tokenizer, text) <= tokenizer.model_max_length


def _too_long(tokenizer: "CLIPTokenizer", words: Sequence[str]) -> InputError:
    return InputError(
        f"class words {' '.join(words)!r}: {_num_tokens(tokenizer, ' '.join(words))} tokens with start and end, but "
        f"the text encoder reads {tokenizer.model_max_length}; use fewer classes per image, or shorter words"
    )


def _require_usable(tokenizer: "CLIPTokenizer") -> None:
    name = f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__!r}"
    if not tokenizer.is_fast:
        raise InputError(f"{name}: gives no token offsets; use a model with a fast tokenizer")
    if tokenizer.model_max_length > UNBOUNDED_LENGTH:
        raise InputError(f"{name}: has no model_max_length; set it in its tokenizer_config.json (CLIP: 77)")
