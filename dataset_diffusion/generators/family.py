"""What a family of text-to-image models must define, so that its images can be labelled by its attention.

Adding a family takes one file with a subclass of Family, listed in families.py, and one test file.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dataset_diffusion.attention.layers import AttentionLayer
from dataset_diffusion.attention.recorder import AttentionRecorder, StepWindow
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import AttentionSettings, SamplerSettings

if TYPE_CHECKING:
    import diffusers
    from transformers import PreTrainedTokenizerFast

MakeRecorder = Callable[[Sequence[AttentionLayer], int], AttentionRecorder]
"""Makes a recorder for the layers and a number of images per prompt."""
Spans = tuple[tuple[int, ...], ...]
"""For each class of a prompt, its positions along the first axis of AttentionMaps.cross."""


class Family(ABC):
    """A pipeline of one family: its tokenizers, its sizes, and where attention is in its denoiser.

    The pipeline is diffusers' own and is not changed.
    """

    title: ClassVar[str]
    """What people call the family, e.g. "Stable Diffusion 1 and 2"."""
    pipeline: ClassVar[str]
    """Its text-to-image pipeline: the class that a model's model_index.json names."""
    other_pipelines: ClassVar[tuple[str, ...]] = ()
    """Pipelines with the same denoiser, whose calls can be recorded as well."""
    load_options: ClassVar[Mapping[str, Any]] = {}
    """Extra arguments for from_pretrained, to leave out parts that are not needed here."""
    prompt_tokenizer: ClassVar[str] = "tokenizer"
    """The pipeline part that holds the tokenizer of the text encoder that reads the least of a prompt."""
    class_prompts: ClassVar[tuple[str, ...]] = ("own", "appended")
    """The kinds of attention.class_prompt that can be recorded, the default first."""
    takes_schedulers: ClassVar[bool] = True
    """Whether Stable Diffusion's schedulers can sample from it; flow matching has its own."""

    def __init__(self, pipe: "diffusers.DiffusionPipeline", attention: AttentionSettings | None = None) -> None:
        """`attention` says how recorders combine heads, which steps they record, and where they read class words.

        Raises InputError if this family cannot read them there.
        """
        self.pipe = pipe
        self._attention = attention or AttentionSettings()
        wanted = self._attention.class_prompt
        if wanted not in (None, *self.class_prompts):
            raise InputError(
                f"attention.class_prompt={wanted}: {self.title} takes no second text; use {self.class_prompts[0]}, "
                "or null"
            )
        self.class_prompt = wanted or self.class_prompts[0]
        """Where class words are read: see settings."""
        self.positive_states: Any = None
        """The pipeline's encoded prompt, where it tells denoiser calls with the prompt from others."""

    def recorder_options(self) -> dict[str, Any]:
        """The recorder options that the settings ask for."""
        steps = self._attention.steps
        window = None if steps is None else StepWindow(steps[0], steps[1], lambda: self.pipe.num_timesteps)
        aggregation = self._attention.aggregation
        return {
            "weighted": aggregation != "mean",
            "weighted_layers": aggregation == "weighted_layers",
            "window": window,
        }

    @property
    @abstractmethod
    def denoiser(self) -> Any:
        """The network whose attention is recorded: the UNet or the transformer."""

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The tokenizer of the text encoder that reads the least of a prompt, limited to what that encoder reads."""
        return self.limited(copy.copy(getattr(self.pipe, self.prompt_tokenizer)))

    @classmethod
    def limited(cls, tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedTokenizerFast":
        """The tokenizer, with model_max_length set to what the pipeline reads of a prompt."""
        return tokenizer

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model was trained for."""

    @property
    def size_step(self) -> int:
        """Heights and widths of images are multiples of this, in pixels."""
        return self.pipe.vae_scale_factor

    def checked_size(self, wanted: Sequence[int] | None) -> tuple[int, int]:
        """The image size that the settings name, or the model's own. Raises InputError if the model cannot make it."""
        if wanted is None:
            return self.image_size
        height, width = wanted
        if height % self.size_step or width % self.size_step:
            raise InputError(
                f"sampler.image_size=[{height},{width}]: this model makes images whose sides are multiples of "
                f"{self.size_step}"
            )
        return height, width

    @abstractmethod
    def attention_layers(self, image_size: tuple[int, int], settings: AttentionSettings) -> tuple[AttentionLayer, ...]:
        """The layers that are recorded when the model makes images of `image_size`.

        Raises InputError if the model lacks the attention that the settings ask for.
        """

    @abstractmethod
    def class_spans(self, text: str, words: Sequence[str]) -> Spans:
        """Where each class word is in the recorded attention of an image made from `text`.

        Raises InputError for words that the text encoder cannot read.
        """

    @abstractmethod
    def prepare(self, texts: Sequence[str], words: Sequence[Sequence[str]], **prompt_options: Any) -> MakeRecorder:
        """Read the prompts of a batch; `words[i]` are the class words of `texts[i]`.

        `prompt_options` are the options, besides the texts, that the pipeline's encode_prompt is called with.
        """

    def recorder(
        self, layers: Sequence[AttentionLayer], texts: Sequence[str], words: Sequence[Sequence[str]]
    ) -> AttentionRecorder:
        """A recorder for a batch of images, one per text."""
        return self.prepare(texts, words)(layers, 1)

    def prompts_of(self, arguments: Mapping[str, Any]) -> Any:
        """The text or texts that the image attends to, from the arguments of the pipeline's encode_prompt."""
        return arguments["prompt"]

    @abstractmethod
    def input_size(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int, int]:
        """How many images the denoiser is called with, and their height and width in pixels."""

    def is_guided(self) -> bool:
        """Whether the running pipeline gives the denoiser each image twice, with its prompt and without."""
        return bool(self.pipe.do_classifier_free_guidance)

    def call_options(self, settings: SamplerSettings, batch: int) -> dict[str, Any]:
        """The pipeline's arguments for a batch of images, apart from prompts, size and noise."""
        return {
            "negative_prompt": [settings.negative_prompt] * batch,
            "num_inference_steps": settings.num_inference_steps,
            "guidance_scale": settings.guidance_scale,
        }

    @abstractmethod
    def encode_images(self, pixels: Tensor) -> Tensor:
        """The latents [B, C, h, w] of images [B, 3, H, W] in [-1, 1]: the mean of the autoencoder's distribution."""

    @abstractmethod
    def noise_times(self, num_inference_steps: int, image_size: tuple[int, int]) -> Tensor:
        """The sampler's time steps [S], most noise first."""

    @abstractmethod
    def add_noise(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Latents with as much noise as sampling has at `times` [B]."""

    @abstractmethod
    def denoise(self, latents: Tensor, times: Tensor, text: str) -> None:
        """Run the denoiser once, without guidance, on noisy latents [B, C, h, w] at `times` [B], given a prompt."""
