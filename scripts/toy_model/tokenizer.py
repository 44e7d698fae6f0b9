"""A small tokenizer with CLIP's layout, so that every Stable Diffusion tool can read it."""

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from scripts.clip_vocabulary import byte_level_tokenizer
from scripts.toy_model.recipe import NUM_MERGES, SPLIT_WORDS, TEXT_LENGTH

END_OF_WORD = "</w>"


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Learn byte-pair merges from captions; any other text can be tokenised too, byte by byte if need be."""
    trainer_tokenizer = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    trainer_tokenizer.normalizer = normalizers.Lowercase()
    trainer_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        # Each byte can occur twice, inside a word and at its end. The last term makes up for the split words' merges.
        vocab_size=2 * len(alphabet) + NUM_MERGES + len(SPLIT_WORDS),
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    trainer_tokenizer.train_from_iterator(captions, trainer)
    learnt = [tuple(pair) for pair in json.loads(trainer_tokenizer.to_str())["model"]["merges"]]
    whole_words = {word + END_OF_WORD for word in SPLIT_WORDS}
    merges = [(left, right) for left, right in learnt if left + right not in whole_words]
    return byte_level_tokenizer(merges[:NUM_MERGES], TEXT_LENGTH)
