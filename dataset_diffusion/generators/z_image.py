"""Z-Image and Z-Image-Turbo: image positions first, then the caption, both padded to multiples of 32."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dataset_diffusion.generators.joint import JointFamily, TextPart

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MULTIPLE = 32
"""Image and caption are each padded to a multiple of this (SEQ_MULTI_OF in diffusers' transformer_z_image.py)."""
TEXT_LENGTH = 512
"""How many tokens the text encoder reads, chat template included, unless the pipeline call says otherwise."""


class ZImage(JointFamily):
    """Z-Image and Z-Image-Turbo."""

    title = "Z-Image"
    pipeline = "ZImagePipeline"
    other_pipelines = ("ZImageImg2ImgPipeline", "ZImageInpaintPipeline")
    conditional = "first"
    gives_noise_levels = True
    # Its layers take image and caption as one sequence.
    class_prompts = ("appended",)
    encode_options: ClassVar[Mapping[str, Any]] = {"do_classifier_free_guidance": False}

    @classmethod
    def limited(cls, tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedTokenizerFast":
        """A tokenizer whose model_max_length leaves room for the chat template."""
        template = len(tokenizer("".join(chat_template(tokenizer)))["input_ids"])
        tokenizer.model_max_length = min(tokenizer.model_max_length, TEXT_LENGTH - template)
        return tokenizer

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the pipeline makes by default."""
        return 1024, 1024

    def blocks(self) -> dict[int, str]:
        """The main layers; the refiners before them see only the image or only the caption."""
        return {index: f"layers.{index}.attention" for index in range(len(self.denoiser.layers))}

    def default_blocks(self) -> Sequence[int]:
        """The middle third. Nobody has published which layers localise best: this choice has yet to be measured."""
        number = len(self.denoiser.layers)
        return range(number // 3, max(number // 3 + 1, 2 * number // 3))

    @cached_property
    def _around(self) -> tuple[str, str]:
        return chat_template(self.pipe.tokenizer)

    def around(self) -> tuple[str, str]:
        """The chat template."""
        return self._around

    def text_parts(self, **prompt_options: Any) -> Sequence[TextPart]:
        """The caption; its padding is cut off before it is padded again."""
        return [TextPart(self.pipe.tokenizer, prompt_options.get("max_sequence_length", TEXT_LENGTH), 0)]

    def starts(self, grid: tuple[int, int], **prompt_options: Any) -> tuple[int, int]:  # noqa: ARG002
        """The image comes first, padded."""
        return 0, -(-grid[0] * grid[1] // MULTIPLE) * MULTIPLE

    def input_size(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int, int]:
        """Read from the shape of the latents, which come as a list."""
        images = args[0] if args else kwargs["x"]
        height, width = (side * self.pipe.vae_scale_factor for side in images[0].shape[-2:])
        return len(images), height, width

    def denoise(self, latents: Tensor, times: Tensor, text: str) -> None:
        """Run the transformer, whose time runs from noise to image."""
        (states,), _ = self.encode_prompt(text)
        images = list(latents.unsqueeze(2).unbind(dim=0))
        self.pipe.transformer(images, (1000 - times) / 1000, [states] * len(images))


def chat_template(tokenizer: "PreTrainedTokenizerFast") -> tuple[str, str]:
    """What the pipeline puts before and after a prompt."""
    marker = "PROMPT"
    message = [{"role": "user", "content": marker}]
    # As the pipeline calls it.
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    before, _, behind = text.partition(marker)
    return before, behind
