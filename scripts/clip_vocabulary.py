"""The tokenizer of CLIP's text encoder, built from its published list of merges: no model and no network needed."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_diffusion.errors import InputError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

NUM_MERGES = 48_894
"""The file lists more. CLIP's 49,408 tokens are 2 x 256 characters, these merges, and the start and end tokens."""


def clip_tokenizer(bpe_path: str | Path, model_max_length: int = 77) -> "CLIPTokenizer":
    """The tokenizer of Stable Diffusion 1.x (and of SD 2.x, except for its padding token).

    `bpe_path` is `bpe_simple_vocab_16e6.txt.gz`, published with CLIP (github.com/openai/CLIP, MIT) and in the PyPI
    package `open_clip_torch`. Token ids match the published models: start 49406, end (and padding) 49407.
    Raises InputError if the file is not that list.
    """
    return byte_level_tokenizer(_read_merges(Path(bpe_path)), model_max_length)


def byte_level_tokenizer(merges: list[tuple[str, str]], model_max_length: int) -> "CLIPTokenizer":
    """A tokenizer in CLIP's layout: 2 x 256 characters, the tokens of `merges` in their order, start and end."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    # Printable bytes map to themselves and the others to the characters from 256 on: this is CLIP's order.
    characters = sorted(ByteLevel.alphabet())
    tokens = [
        *characters,
        *(f"{character}</w>" for character in characters),
        *(left + right for left, right in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocab = {token: token_id for token_id, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=model_max_length)


def _read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs on lines 1 to NUM_MERGES of the file (line 0 is a version)."""
    try:
        with gzip.open(path, mode="rt", encoding="utf-8") as file:
            lines = file.read().split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as gzipped text; use CLIP's bpe_simple_vocab_16e6.txt.gz") from error
    pairs = [tuple(line.split()) for line in lines[1 : NUM_MERGES + 1]]
    if len(pairs) < NUM_MERGES or any(len(pair) != 2 for pair in pairs):
        raise InputError(f"{path}: not a list of {NUM_MERGES} merges; use CLIP's bpe_simple_vocab_16e6.txt.gz")
    return [(left, right) for left, right in pairs]
