"""Stable Diffusion 3 and 3.5: image positions first, then CLIP's text, then T5's.

A word has positions in both texts, and both count.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.joint import JointFamily, TextPart, relative_block

BEST_BLOCK, OF_BLOCKS = 9, 24
"""In the medium model, block 9 groups image positions by the words that they show (Seg4Diff, arXiv 2509.18096)."""
T5_LENGTH = 256
"""How many tokens T5 reads, unless the pipeline call says otherwise."""


class StableDiffusion3(JointFamily):
    """Stable Diffusion 3 and 3.5."""

    title = "Stable Diffusion 3 and 3.5"
    pipeline = "StableDiffusion3Pipeline"
    other_pipelines = ("StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline")
    encode_options: ClassVar[Mapping[str, Any]] = {
        "prompt_2": None,
        "prompt_3": None,
        "do_classifier_free_guidance": False,
    }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model was trained for."""
        side = self.pipe.transformer.config.sample_size * self.pipe.vae_scale_factor
        return side, side

    @property
    def size_step(self) -> int:
        """Each transformer position is a patch of latents."""
        return self.pipe.transformer.config.patch_size * self.pipe.vae_scale_factor

    def blocks(self) -> dict[int, str]:
        """All blocks. `attn2`, which the first blocks of 3.5-medium also have, sees only the image."""
        return {index: f"transformer_blocks.{index}.attn" for index in range(len(self.denoiser.transformer_blocks))}

    def default_blocks(self) -> Sequence[int]:
        """The medium model's best block; for other sizes the one at the same relative depth, which is unmeasured."""
        return [relative_block(BEST_BLOCK, OF_BLOCKS, len(self.denoiser.transformer_blocks))]

    def text_parts(self, **prompt_options: Any) -> Sequence[TextPart]:
        """CLIP's two encoders share their positions; T5 may have been left out."""
        clip_length = self.pipe.tokenizer_max_length
        parts = [TextPart(self.pipe.tokenizer, clip_length, 0)]
        if self.pipe.text_encoder_3 is not None:
            length = prompt_options.get("max_sequence_length", T5_LENGTH)
            parts.append(TextPart(self.pipe.tokenizer_3, length, clip_length))
        return parts

    def starts(self, grid: tuple[int, int], **prompt_options: Any) -> tuple[int, int]:  # noqa: ARG002
        """The image comes first."""
        return 0, grid[0] * grid[1]

    def is_recorded(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Skip-layer guidance calls the transformer once more, without some of its blocks."""
        return kwargs.get("skip_layers") is None

    def prompts_of(self, arguments: Mapping[str, Any]) -> Any:
        """All three text encoders must be given the same text."""
        prompt = arguments["prompt"]
        if any(arguments.get(other) not in (None, prompt) for other in ("prompt_2", "prompt_3")):
            raise InputError("prompt_2, prompt_3: class words are looked up in one prompt; give only `prompt`")
        return prompt

    def input_size(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int, int]:
        """Read from the shape of the latents."""
        latents = args[0] if args else kwargs["hidden_states"]
        height, width = (side * self.pipe.vae_scale_factor for side in latents.shape[-2:])
        return len(latents), height, width

    def denoise(self, latents: Tensor, times: Tensor, text: str) -> None:
        """Run the transformer."""
        states, _, pooled, _ = self.encode_prompt(text)
        self.pipe.transformer(
            hidden_states=latents,
            timestep=times,
            encoder_hidden_states=states.expand(len(times), -1, -1),
            pooled_projections=pooled.expand(len(times), -1),
        )
