"""CLIP's real tokenizer, from its published merges (tests/data/clip_bpe), for tests that need true token positions."""

from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

from scripts.clip_vocabulary import clip_tokenizer

CLIP_BPE = Path(__file__).parent / "data" / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"


@cache
def real_clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion 1.x; every call returns the same object, so do not change it."""
    return clip_tokenizer(CLIP_BPE)
