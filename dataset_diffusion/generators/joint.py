"""What transformers whose image and text attend to each other (joint attention) have in common.

Class words are read in the prompt itself, or in a class prompt that goes through the blocks alongside it (ClassStream).
The image's attention is the softmax over the words of that text: padding and special tokens, which take more than half
of the attention in some models, are left out before normalising.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset_diffusion.attention.class_stream import ClassStream
from dataset_diffusion.attention.layer_weights import block_of
from dataset_diffusion.attention.layers import AttentionLayer, joint_layers
from dataset_diffusion.attention.recorder import AttentionRecorder, JointText
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.family import Family, MakeRecorder, Spans
from dataset_diffusion.prompts.tokens import PromptTokens, prompt_text, prompt_tokens
from dataset_diffusion.settings.generate import AttentionSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BACKGROUND = ("background", "floor", "grass", "tree", "sky")
"""Added to the class words in a class prompt: regions of no class need a word, too (arXiv 2502.04320)."""


class TextPart(NamedTuple):
    """A part of a joint sequence: a prompt as encoded by one text encoder, starting at position `start`."""

    tokenizer: "PreTrainedTokenizerFast"
    max_length: int
    start: int


class JointFamily(Family):
    """A family whose denoiser is a transformer with joint attention, and which samples by flow matching."""

    class_prompts: ClassVar[tuple[str, ...]] = ("appended", "own")
    takes_schedulers = False
    encode_options: ClassVar[Mapping[str, Any]] = {}
    """The arguments, besides the text, that encode_prompt needs to encode just a text."""
    conditional: Literal["first", "last"] = "last"
    """Which half of a batch is conditional under classifier-free guidance."""
    gives_noise_levels = False
    """Whether the pipeline sets its scheduler's noise levels, from 1 in equal steps; if not, the scheduler does."""

    @property
    def denoiser(self) -> Any:
        """The transformer."""
        return self.pipe.transformer

    @property
    def size_step(self) -> int:
        """Each transformer position is a patch of two by two latents."""
        return 2 * self.pipe.vae_scale_factor

    @abstractmethod
    def blocks(self) -> dict[int, str]:
        """The names of the joint attention modules that can be recorded, by block number."""

    @abstractmethod
    def default_blocks(self) -> Sequence[int]:
        """The blocks that localise class words best."""

    @abstractmethod
    def text_parts(self, **prompt_options: Any) -> Sequence[TextPart]:
        """The texts in the joint sequence; positions count from the start of the text."""

    @abstractmethod
    def starts(self, grid: tuple[int, int], **prompt_options: Any) -> tuple[int, int]:
        """Where the image's positions start in the joint sequence, and where the text's start."""

    def around(self) -> tuple[str, str]:
        """What the pipeline puts before and after a prompt."""
        return "", ""

    def is_recorded(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Whether a transformer call is one that makes the image from its prompt."""
        return True

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the image, in positions."""
        return image_size[0] // self.size_step, image_size[1] // self.size_step

    def attention_layers(self, image_size: tuple[int, int], settings: AttentionSettings) -> tuple[AttentionLayer, ...]:
        """The blocks that the settings name, or the family's best; see joint_layers."""
        available = self.blocks()
        chosen = self.default_blocks() if settings.blocks is None else settings.blocks
        for block in chosen:
            if block not in available:
                raise InputError(
                    f"attention.blocks={list(chosen)}: this model has blocks 0 to {max(available)}; name some of them, "
                    "or null"
                )
        return joint_layers([available[block] for block in chosen], self.grid(image_size), settings)

    def class_spans(self, text: str, words: Sequence[str]) -> Spans:
        """The recorded attention has a row for each token of a class word, class by class."""
        spans: list[tuple[int, ...]] = []
        for positions in self._find(self._read_text(text, words), words).spans:
            start = sum(map(len, spans))
            spans.append(tuple(range(start, start + len(positions))))
        return tuple(spans)

    def prepare(self, texts: Sequence[str], words: Sequence[Sequence[str]], **prompt_options: Any) -> MakeRecorder:
        """Record the attention to the class words in the prompts, or in class prompts alongside them."""
        read = [self._read_text(*pair) for pair in zip(texts, words, strict=True)]
        found = [self._find(*pair, **prompt_options) for pair in zip(read, words, strict=True)]
        states = self.encode_prompt(read, **prompt_options)[0] if self.class_prompt == "own" else None

        def make(layers: Sequence[AttentionLayer], images_per_prompt: int) -> AttentionRecorder:
            grid = next(layer.size for layer in layers if layer.is_cross)
            image_start, start = self.starts(grid, **prompt_options)
            repeated = [tokens for tokens in found for _ in range(images_per_prompt)]
            text = JointText(
                image_start,
                words=[[start + position for position in tokens.words] for tokens in repeated],
                classes=[[start + position for span in tokens.spans for position in span] for tokens in repeated],
            )
            return AttentionRecorder(
                self.denoiser,
                layers,
                text,
                stream=None if states is None else self._stream(layers, states, images_per_prompt),
                conditional=self.conditional,
                is_recorded=self.is_recorded,
                **self.recorder_options(),
            )

        return make

    def _read_text(self, text: str, words: Sequence[str]) -> str:
        """The text in which class words are read: the prompt, or the class prompt."""
        if self.class_prompt == "appended":
            return text
        others = " ".join(word for word in BACKGROUND if word not in words)
        return prompt_text(self.tokenizer, others, words)

    def _stream(self, layers: Sequence[AttentionLayer], states: Tensor, images_per_prompt: int) -> ClassStream:
        """Class prompts for the blocks up to the last one that is recorded."""
        blocks = [block_of(name) for name in self.blocks().values()]
        last = max(blocks.index(block_of(layer.name)) for layer in layers)
        repeated = states.repeat_interleave(images_per_prompt, dim=0)
        return ClassStream(repeated, self.denoiser.context_embedder, blocks[: last + 1])

    @torch.no_grad()
    def encode_prompt(self, texts: str | Sequence[str], **prompt_options: Any) -> Any:
        """The pipeline's encoding of texts, without guidance: the states, and whatever else its denoiser takes."""
        options = {"device": self.pipe._execution_device, **self.encode_options, **prompt_options}
        return self.pipe.encode_prompt(texts, **options)

    def _find(self, text: str, words: Sequence[str], **prompt_options: Any) -> PromptTokens:
        """The positions of words, counted from the start of the text, over all its parts together."""
        parts = [
            (part.start, prompt_tokens(part.tokenizer, text, words, part.max_length, self.around()))
            for part in self.text_parts(**prompt_options)
        ]
        if len(set(words)) == 1 and all(set(tokens.words) == set(chain(*tokens.spans)) for _, tokens in parts):
            # Its share of the attention would be the same everywhere.
            raise InputError(
                f"class word {words[0]!r}: the prompt has no other word to compare it with; add a caption, or set "
                "attention.class_prompt=own"
            )
        return PromptTokens(
            words=tuple(start + position for start, tokens in parts for position in tokens.words),
            spans=tuple(
                tuple(start + position for start, tokens in parts for position in tokens.spans[index])
                for index in range(len(words))
            ),
        )

    def encode_images(self, pixels: Tensor) -> Tensor:
        """The latents, shifted and scaled as in the pipeline."""
        vae = self.pipe.vae
        mean = vae.encode(pixels.to(self.pipe._execution_device, vae.dtype)).latent_dist.mean
        return (mean - (vae.config.shift_factor or 0)) * vae.config.scaling_factor

    def noise_times(self, num_inference_steps: int, image_size: tuple[int, int]) -> Tensor:
        """The time steps of flow matching, where 1000 is pure noise; shifted for large images if the model's are."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        scheduler, config = self.pipe.scheduler, self.pipe.scheduler.config
        options: dict[str, Any] = {}
        if config.get("use_dynamic_shifting"):
            grid = self.grid(image_size)
            options["mu"] = calculate_shift(
                grid[0] * grid[1],
                config.get("base_image_seq_len", 256),
                config.get("max_image_seq_len", 4096),
                config.get("base_shift", 0.5),
                config.get("max_shift", 1.15),
            )
        if self.gives_noise_levels:
            options["sigmas"] = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
        scheduler.set_timesteps(num_inference_steps, device=self.pipe._execution_device, **options)
        return scheduler.timesteps

    def add_noise(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Interpolate on the straight line from the image to the noise (flow matching, arXiv 2403.03206)."""
        share = (times / self.pipe.scheduler.config.num_train_timesteps).view(-1, 1, 1, 1).to(latents)
        return (1 - share) * latents + share * noise


def relative_block(block: int, of: int, num_blocks: int) -> int:
    """The block of a model with `num_blocks` blocks that is as deep, relatively, as `block` in a model with `of`."""
    return round(block / (of - 1) * (num_blocks - 1))
