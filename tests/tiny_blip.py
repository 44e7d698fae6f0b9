"""A BLIP with random weights, in the same files as the published models."""

from pathlib import Path

import torch
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

WORDS = ("a", "dog", "dogs", "cat", "puppy", "man", "on", "the", "street", "sofa", "with", "and", "two", "big", "red")


def build_tiny_blip(folder: Path, seed: int = 0) -> Path:
    """Write the model with save_pretrained and return its folder."""
    torch.manual_seed(seed)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(tokens)})
    # Published models start with a token that is not in their tokenizer.
    ids = {"bos_token_id": len(tokens), "eos_token_id": tokens.index("[SEP]"), "pad_token_id": 0}
    config = BlipConfig(
        text_config={
            "vocab_size": len(tokens) + 1,
            "hidden_size": 32,
            "encoder_hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "sep_token_id": tokens.index("[SEP]"),
            **ids,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
            "initializer_range": 0.02,  # 1e-10 without this
        },
        projection_dim=32,
    )
    model = BlipForConditionalGeneration(config)
    # Fresh weights hardly use the image and would caption all images alike.
    for name, parameter in model.named_parameters():
        if "crossattention" in name and parameter.ndim > 1:
            parameter.data *= 20
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
