"""The texts that the text encoder reads, and where in them each class is.

Positions come from the tokenizer's offsets. They cannot be told from the words: CLIP splits "aeroplane" in two
("aerop", "lane"), as "hydrant" and "surfboard".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from dataset_diffusion.errors import InputError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

UNBOUNDED_LENGTH = 1_000_000
"""transformers writes a model_max_length of 1e30 where a tokenizer has none."""


@dataclass(frozen=True)
class ClassPrompt:
    """The class words alone, the text whose attention makes the masks (the paper's class-prompt cross-attention).

    `token_ids` [T]: start, words, end, padding up to the tokenizer's `model_max_length`. `spans[k]` are the positions
    in `token_ids` (1 ... T - 2, ascending) of the k-th class; each class has at least one, and no two share any.
    """

    text: str
    token_ids: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]


def class_prompt(tokenizer: "CLIPTokenizer", words: Sequence[str]) -> ClassPrompt:
    """Join class words ("aeroplane", "dining table") by spaces and find each one's tokens.

    Raises InputError if they need more than `model_max_length` tokens, if a word has no token, or if the tokenizer
    gives no offsets.
    """
    _require_usable(tokenizer)
    text = " ".join(words)
    encoding = tokenizer(text, padding="max_length", return_offsets_mapping=True, verbose=False)
    token_ids = tuple(encoding["input_ids"])
    if len(token_ids) > tokenizer.model_max_length:
        raise _too_long(tokenizer, words)
    # Word k begins behind the k words before it, each with its space.
    starts = accumulate((len(word) + 1 for word in words), initial=0)
    spans = tuple(
        _tokens_within(encoding["offset_mapping"], start, start + len(word))
        for start, word in zip(starts, words, strict=False)
    )
    for word, span in zip(words, spans, strict=True):
        if not span:
            raise InputError(f"class word {word!r}: the tokenizer has no token for it; give the class another word")
    return ClassPrompt(text, token_ids, spans)


def prompt_text(tokenizer: "CLIPTokenizer", caption: str, words: Sequence[str]) -> str:
    """The condition of an image: "caption; class words", or the caption alone where there are no classes.

    This is the paper's class-prompt appending. A text of more than `model_max_length` tokens loses words from the end
    of the caption, never of the classes: those must be seen. Raises InputError if the class words alone are too long.
    """
    _require_usable(tokenizer)
    appended = " ".join(words)
    # Every word has at least one token, so that no more words than tokens can fit.
    word_ends = [match.end() for match in re.finditer(r"\S+", caption)][: tokenizer.model_max_length]
    for end in reversed(word_ends):
        text = f"{caption[:end]}; {appended}" if appended else caption[:end]
        if _fits(tokenizer, text):
            return text
    if not _fits(tokenizer, appended):
        raise _too_long(tokenizer, words)
    return appended


def _tokens_within(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, ...]:
    """Positions of the tokens whose characters lie in [start, end). Start, end and padding tokens have none."""
    return tuple(
        position for position, (token_start, token_end) in enumerate(offsets) if start <= token_start < token_end <= end
    )


def _num_tokens(tokenizer: "CLIPTokenizer", text: str) -> int:
    return len(tokenizer(text, verbose=False)["input_ids"])


def _fits(tokenizer: "CLIPTokenizer", text: str) -> bool:
    return _num_tokens(tokenizer, text) <= tokenizer.model_max_length


def _too_long(tokenizer: "CLIPTokenizer", words: Sequence[str]) -> InputError:
    return InputError(
        f"class words {' '.join(words)!r}: {_num_tokens(tokenizer, ' '.join(words))} tokens with start and end, the "
        f"text encoder reads {tokenizer.model_max_length}; take fewer classes in an image, or shorter words"
    )


def _require_usable(tokenizer: "CLIPTokenizer") -> None:
    name = f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__!r}"
    if not tokenizer.is_fast:
        raise InputError(f"{name}: gives no offsets of its tokens; use a model with a fast tokenizer")
    if tokenizer.model_max_length > UNBOUNDED_LENGTH:
        raise InputError(f"{name}: has no model_max_length; set it in its tokenizer_config.json (CLIP: 77)")
