"""What a family of text-to-image models must say of itself, so that its images can be labelled by its attention.

Adding a family is one file with a subclass of Family, named in families.py, and one test file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from dataset_diffusion.attention.layers import AttentionLayer
from dataset_diffusion.attention.recorder import AttentionRecorder
from dataset_diffusion.settings.generate import AttentionSettings, SamplerSettings

if TYPE_CHECKING:
    import diffusers
    from transformers import PreTrainedTokenizerFast

Spans = tuple[tuple[int, ...], ...]
"""For each class of a prompt, its positions along the first axis of AttentionMaps.cross."""


class Family(ABC):
    """A pipeline of one family: its tokenizers, its sizes, and where in its denoiser attention is.

    The pipeline is diffusers' own and stays as it is.
    """

    title: ClassVar[str]
    """What people call the family, as "Stable Diffusion 1 and 2"."""
    pipeline: ClassVar[str]
    """Its text-to-image pipeline: the class that a model's model_index.json names."""
    load_options: ClassVar[Mapping[str, Any]] = {}
    """What from_pretrained is told besides, to leave parts out that nobody needs here."""

    def __init__(self, pipe: "diffusers.DiffusionPipeline") -> None:
        self.pipe = pipe

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The network whose attention is recorded: the UNet or the transformer."""

    @property
    @abstractmethod
    def tokenizers(self) -> "tuple[PreTrainedTokenizerFast, ...]":
        """The tokenizers of the text encoders whose tokens the image attends to."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model was trained for."""

    @abstractmethod
    def attention_layers(self, image_size: tuple[int, int], settings: AttentionSettings) -> tuple[AttentionLayer, ...]:
        """The layers that are recorded when the model makes images of `image_size`.

        Raises InputError if the model has no such attention as the settings ask for.
        """

    @abstractmethod
    def class_spans(self, text: str, words: Sequence[str]) -> Spans:
        """Where the recorded attention has each class word, when the image is made from `text`.

        Raises InputError for words that the text encoder cannot read.
        """

    @abstractmethod
    def recorder(
        self, layers: Sequence[AttentionLayer], texts: Sequence[str], words: Sequence[Sequence[str]]
    ) -> AttentionRecorder:
        """A recorder of a batch of images made from `texts`, in which `words[i]` are the class words of image i."""

    def call_options(self, settings: SamplerSettings, batch: int) -> dict[str, Any]:
        """What the pipeline is called with for a batch of images, besides prompts, size and noise."""
        return {
            "negative_prompt": [settings.negative_prompt] * batch,
            "num_inference_steps": settings.num_inference_steps,
            "guidance_scale": settings.guidance_scale,
        }

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The states [B, T, C] that the pipeline makes of texts."""
