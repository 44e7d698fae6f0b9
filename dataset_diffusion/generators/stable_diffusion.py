"""Stable Diffusion 1 and 2: a UNet whose cross-attention also matches the class words alone, a text of their own.

The paper calls it class-prompt cross-attention.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from dataset_diffusion.attention.layers import AttentionLayer, find_attention_layers, select_layers
from dataset_diffusion.attention.recorder import AttentionRecorder
from dataset_diffusion.generators.family import Family, Spans
from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.settings.generate import AttentionSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class StableDiffusion(Family):
    """Stable Diffusion 1 and 2."""

    title = "Stable Diffusion 1 and 2"
    pipeline = "StableDiffusionPipeline"
    # The checker's weights are a quarter of the download, and it would put black images into the dataset.
    load_options: ClassVar[Mapping[str, Any]] = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }

    @property
    def denoiser(self) -> nn.Module:
        """The UNet."""
        return self.pipe.unet

    @property
    def tokenizers(self) -> "tuple[PreTrainedTokenizerFast, ...]":
        """CLIP's tokenizer."""
        return (self.pipe.tokenizer,)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model was trained for."""
        height, width = latent_size(self.pipe)
        return height * self.pipe.vae_scale_factor, width * self.pipe.vae_scale_factor

    def attention_layers(self, image_size: tuple[int, int], settings: AttentionSettings) -> tuple[AttentionLayer, ...]:
        """One resolution for cross-attention and one for self-attention; see select_layers."""
        height, width = (side // self.pipe.vae_scale_factor for side in image_size)
        return select_layers(find_attention_layers(self.pipe.unet, (height, width)), settings, (height, width))

    def class_spans(self, text: str, words: Sequence[str]) -> Spans:  # noqa: ARG002
        """The words' positions in the class prompt, whatever the prompt of the image."""
        return class_prompt(self.pipe.tokenizer, words).spans

    def recorder(
        self,
        layers: Sequence[AttentionLayer],
        texts: Sequence[str],  # noqa: ARG002
        words: Sequence[Sequence[str]],
    ) -> AttentionRecorder:
        """Records the attention to class prompts, which the images are not made from."""
        class_prompts = [class_prompt(self.pipe.tokenizer, class_words).text for class_words in words]
        return AttentionRecorder(self.pipe.unet, layers, self.encode_text(class_prompts))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The states [B, T, C] that the pipeline makes of texts."""
        embeddings, _ = self.pipe.encode_prompt(
            list(texts), self.pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return embeddings


def latent_size(pipe: Any) -> tuple[int, int]:
    """Height and width of the latents that a UNet pipeline's images are made from."""
    size = pipe.unet.config.sample_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])
