"""A causal language model with random weights and a chat template, in the same files as published ones."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ("a", "dog", "cat", "on", "the", "street", "with", "big", "red", "near", "house", "sleeping", "old", "by")
CHAT_TEMPLATE = (
    "{% for message in messages %}<user> {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)


def build_tiny_language_model(folder: Path, seed: int = 0, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Write the model with save_pretrained and return its folder. Its answers are about 15 random words."""
    torch.manual_seed(seed)
    vocabulary = {token: index for index, token in enumerate(("<unk>", "<end>", "<user>", "<bot>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>")
    fast.chat_template = chat_template
    fast.add_special_tokens({"additional_special_tokens": ["<user>", "<bot>"]})
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=vocabulary["<end>"],
        pad_token_id=vocabulary["<end>"],
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
