"""Flux.1 dev and schnell: T5's text first, then image positions. CLIP gives only one vector for the whole prompt."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.joint import JointFamily, TextPart, relative_block
from dataset_diffusion.settings.generate import SamplerSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BEST_BLOCKS, OF_BLOCKS = (15, 16, 17, 18), 19
"""The last double blocks localise best (ConceptAttention, arXiv 2502.04320)."""
T5_LENGTH = 512
"""How many tokens T5 reads, unless the pipeline call says otherwise."""


class Flux(JointFamily):
    """Flux.1 dev and schnell."""

    title = "Flux.1 dev and schnell"
    pipeline = "FluxPipeline"
    other_pipelines = ("FluxImg2ImgPipeline", "FluxInpaintPipeline")
    prompt_tokenizer = "tokenizer_2"
    gives_noise_levels = True
    encode_options: ClassVar[Mapping[str, Any]] = {"prompt_2": None}

    @classmethod
    def limited(cls, tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedTokenizerFast":
        """T5's tokenizer, limited to the length that the pipeline lets it read."""
        tokenizer.model_max_length = min(tokenizer.model_max_length, T5_LENGTH)
        return tokenizer

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the pipeline makes by default."""
        side = self.pipe.default_sample_size * self.pipe.vae_scale_factor
        return side, side

    def blocks(self) -> dict[int, str]:
        """The double blocks, then the single ones, in which text and image are already joined."""
        double, single = len(self.denoiser.transformer_blocks), len(self.denoiser.single_transformer_blocks)
        return {index: f"transformer_blocks.{index}.attn" for index in range(double)} | {
            double + index: f"single_transformer_blocks.{index}.attn" for index in range(single)
        }

    def default_blocks(self) -> Sequence[int]:
        """The last four double blocks; in a model with fewer blocks, those at the same relative depth."""
        number = len(self.denoiser.transformer_blocks)
        return sorted({relative_block(block, OF_BLOCKS, number) for block in BEST_BLOCKS})

    def text_parts(self, **prompt_options: Any) -> Sequence[TextPart]:
        """T5's text only."""
        length = prompt_options.get("max_sequence_length", T5_LENGTH)
        return [TextPart(self.pipe.tokenizer_2, length, 0)]

    def starts(self, grid: tuple[int, int], **prompt_options: Any) -> tuple[int, int]:  # noqa: ARG002
        """The text comes first, with its padding, which is attended to as well."""
        return prompt_options.get("max_sequence_length", T5_LENGTH), 0

    def call_options(self, settings: SamplerSettings, batch: int) -> dict[str, Any]:  # noqa: ARG002
        """Guidance is an input of the model, not a second half of the batch."""
        if settings.negative_prompt:
            raise InputError(
                f"sampler.negative_prompt={settings.negative_prompt!r}: Flux.1 takes no negative prompt; leave it empty"
            )
        return {"num_inference_steps": settings.num_inference_steps, "guidance_scale": settings.guidance_scale}

    def prompts_of(self, arguments: Mapping[str, Any]) -> Any:
        """The prompt that T5 reads."""
        return arguments.get("prompt_2") or arguments["prompt"]

    def input_size(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int, int]:
        """Read from the positions' rows and columns."""
        positions = kwargs["img_ids"]
        rows, columns = (int(positions[:, axis].max()) + 1 for axis in (1, 2))
        return len(args[0] if args else kwargs["hidden_states"]), rows * self.size_step, columns * self.size_step

    def is_recorded(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """With true classifier-free guidance, the transformer is called a second time, with the negative prompt."""
        return self.positive_states is None or kwargs.get("encoder_hidden_states") is self.positive_states

    def is_guided(self) -> bool:
        """With true classifier-free guidance, the transformer is called twice, each time with a single batch."""
        return False

    def denoise(self, latents: Tensor, times: Tensor, text: str) -> None:
        """Run the transformer on packed latents."""
        states, pooled, text_ids = self.encode_prompt(text)
        batch, channels, height, width = latents.shape
        transformer = self.pipe.transformer
        guidance = torch.full([batch], GUIDANCE, device=latents.device) if transformer.config.guidance_embeds else None
        transformer(
            hidden_states=self.pipe._pack_latents(latents, batch, channels, height, width),
            timestep=(times / 1000).to(latents.dtype),
            guidance=guidance,
            pooled_projections=pooled.expand(batch, -1),
            encoder_hidden_states=states.expand(batch, -1, -1),
            txt_ids=text_ids,
            img_ids=self.pipe._prepare_latent_image_ids(batch, height // 2, width // 2, latents.device, latents.dtype),
        )


GUIDANCE = 3.5
"""The pipeline's default, given to the model with images that it has not made."""
