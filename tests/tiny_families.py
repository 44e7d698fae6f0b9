"""Pipelines of the newer families with random weights, small enough to sample an image in a tenth of a second."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from dataset_diffusion.vocabulary import load_vocabulary
from tests.tiny_pipeline import tiny_text_encoder, tiny_tokenizer

WIDTH = 32
T5_LENGTH = 48
IMAGE_SIZE = (32, 32)
LATENT_CHANNELS = 4
SD3_CHANNELS = 16
"""As in real models, because the inpainting pipeline checks it."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_autoencoder(latent_channels: int = LATENT_CHANNELS) -> AutoencoderKL:
    """One latent position for 2 x 2 pixels."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=IMAGE_SIZE[0],
        shift_factor=0.05,
        scaling_factor=1.5,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


@cache
def words() -> tuple[str, ...]:
    """The class words of VOC and COCO."""
    return tuple(entry.word for name in ("voc", "coco") for entry in load_vocabulary(name).classes)


@cache
def trained_t5_vocabulary() -> tuple[tuple[str, float], ...]:
    """A Unigram vocabulary like T5's, but trained only on captions of the class words."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([f"a photo, of one {word} by; {word} and more" for word in words()], trainer)
    return tuple((piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"])


def t5_tokenizer(length: int = T5_LENGTH) -> T5Tokenizer:
    return T5Tokenizer(vocab=list(trained_t5_vocabulary()), extra_ids=0, model_max_length=length)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE with a chat template, like Qwen's, whose merges make some words one token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "t"), ("c", "at"), ("Ġ", "cat"), ("o", "g"), ("d", "og"), ("Ġ", "dog")]
    tokens = ["<|endoftext|>", *letters, *("".join(pair) for pair in merges)]
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges, model_max_length=4096
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def clip_with_projection(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    plain = tiny_text_encoder(tokenizer).config.to_dict()
    return CLIPTextModelWithProjection(CLIPTextConfig(**{**plain, "projection_dim": WIDTH}))


def t5_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    )


def sharpen(model: nn.Module, factor: float = 6.0) -> None:
    """Scale weights up: fresh ones attend almost uniformly, so tests of averages would pass whatever is averaged."""
    for name, parameter in model.named_parameters():
        if name.endswith(("to_q.weight", "to_k.weight", "add_q_proj.weight", "add_k_proj.weight")):
            parameter.data *= factor
        if "norm" in name and name.endswith(("norm_q.weight", "norm_k.weight")):
            parameter.data *= factor**0.5
    # Some models initialise their last layers to give zeros.
    for name, parameter in model.named_parameters():
        if name.startswith(("proj_out", "norm_out")):
            nn.init.normal_(parameter, std=0.2)


def build_tiny_sdxl(folder: Path) -> Path:
    """Like Stable Diffusion, but with two text encoders and conditioned on sizes."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        transformer_layers_per_block=(1, 2),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=2,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
        use_linear_projection=True,
    )
    sharpen(unet)
    pipe = StableDiffusionXLPipeline(
        vae=tiny_autoencoder(),
        text_encoder=tiny_text_encoder(tokenizer),
        text_encoder_2=clip_with_projection(tokenizer),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def build_tiny_sd3(folder: Path, with_t5: bool = True) -> Path:
    """Three blocks; the first also has image-only attention, as in 3.5-medium."""
    torch.manual_seed(0)
    tokenizer, t5 = tiny_tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=SD3_CHANNELS,
        out_channels=SD3_CHANNELS,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=24,
        qk_norm="rms_norm",
        dual_attention_layers=(0,),
    )
    sharpen(transformer)
    pipe = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_autoencoder(SD3_CHANNELS),
        text_encoder=half_width(clip_with_projection, tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=half_width(clip_with_projection, tokenizer),
        tokenizer_2=tokenizer,
        text_encoder_3=t5_encoder(t5) if with_t5 else None,
        tokenizer_3=t5 if with_t5 else None,
    )
    pipe.save_pretrained(folder)
    return folder


def half_width(make: Callable[[CLIPTokenizer], CLIPTextModelWithProjection], tokenizer: CLIPTokenizer) -> nn.Module:
    """An encoder narrow enough that the two, joined along the features, are no wider than T5."""
    config = make(tokenizer).config.to_dict()
    return CLIPTextModelWithProjection(
        CLIPTextConfig(**{**config, "hidden_size": WIDTH // 2, "intermediate_size": 32, "projection_dim": WIDTH})
    )


def build_tiny_flux(folder: Path) -> Path:
    """Two double blocks and one single block."""
    torch.manual_seed(0)
    tokenizer, t5 = tiny_tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 2, 2),
    )
    sharpen(transformer)
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=tiny_autoencoder(),
        text_encoder=CLIPTextModel(tiny_text_encoder(tokenizer).config),
        tokenizer=tokenizer,
        text_encoder_2=t5_encoder(t5),
        tokenizer_2=t5,
        transformer=transformer,
    )
    pipe.save_pretrained(folder)
    return folder


def build_tiny_z_image(folder: Path) -> Path:
    """Two main layers after one refiner of each kind."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        dim=WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 2, 2],
        axes_lens=[1024, 64, 64],
    )
    for name, parameter in transformer.named_parameters():
        if parameter.std() == 0 and "pad_token" in name:
            nn.init.normal_(parameter, std=0.2)
    sharpen(transformer)
    text_encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=8,
        )
    )
    pipe = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )
    pipe.save_pretrained(folder)
    return folder


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "sdxl": build_tiny_sdxl,
    "sd3": build_tiny_sd3,
    "flux": build_tiny_flux,
    "z_image": build_tiny_z_image,
}
