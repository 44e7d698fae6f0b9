"""Masks and heat maps of images that you make with your own pipeline.

with record_attention(pipe, [["cat", "sofa"]]) as recorded:
    image = pipe("a cat on a sofa; cat sofa").images[0]
(mask,) = recorded.label_masks()
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from dataset_diffusion.attention.aggregate import class_evidence
from dataset_diffusion.attention.recorder import AttentionRecorder, require_not_compiled
from dataset_diffusion.drawing import draw_heatmap
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.families import family_of
from dataset_diffusion.generators.family import MakeRecorder, Spans
from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.settings.generate import AttentionSettings, MaskSettings
from dataset_diffusion.types import AttentionMaps, ClassScores

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

DEFAULTS = MaskSettings()


def record_attention(
    pipe: "DiffusionPipeline",
    words: Sequence[Sequence[str]],
    *,
    self_resolution: int | None = None,
    cross_resolution: int | None = None,
    blocks: list[int] | None = None,
    aggregation: str = "mean",
    class_prompt: str | None = None,
    steps: list[float] | None = None,
) -> "RecordedAttention":
    """Record the attention of one call of a diffusers pipeline inside a `with` block.

    `words` are the class words of each prompt of the call. Models with joint attention (Stable Diffusion 3, Flux.1,
    Z-Image) find them in the prompt: append them to it, or give class_prompt="own" (not for Z-Image). The images are
    bit-identical to those made without recording. The other arguments are those of `attention` in dd-generate. Works
    with any scheduler, with image-to-image and inpainting pipelines, and with several images per prompt.

    Raises InputError for a pipeline that cannot be recorded, is compiled or is already being recorded; for words that
    are not in their prompt; for prompts given as embeddings; and for a second call.
    """
    settings = AttentionSettings(
        self_resolution=self_resolution,
        cross_resolution=cross_resolution,
        aggregation=aggregation,
        class_prompt=class_prompt,
        blocks=blocks,
        steps=steps,
    )
    return RecordedAttention(pipe, words, settings)


class RecordedAttention:
    """The attention of one pipeline call, made by record_attention. Images are in the order of the call."""

    def __init__(self, pipe: "DiffusionPipeline", words: Sequence[Sequence[str]], settings: AttentionSettings) -> None:
        if isinstance(words, str) or any(isinstance(entry, str) for entry in words):
            raise InputError(f"words={words!r}: give a list of class words for each prompt, e.g. [['cat', 'sofa']]")
        self._family = family_of(pipe, settings)
        self._pipe: Any = pipe
        self._words = [list(entry) for entry in words]
        self._settings = settings
        self._make_recorder: MakeRecorder | None = None
        self._recorder: AttentionRecorder | None = None
        self._spans: list[Spans] = []
        self._handle: RemovableHandle | None = None
        # Code that is compiled meanwhile for a block without hooks must not be used for a block with hooks.
        self._guards = torch._dynamo.config.patch(skip_nnmodule_hook_guards=False)
        self._images_per_prompt = 1
        self._image_size = (0, 0)

    def __enter__(self) -> Self:
        require_not_compiled(self._family.denoiser)
        if self._make_recorder is not None:
            raise InputError("record_attention: this recorder has already been used; call record_attention again")
        if isinstance(getattr(self._pipe.encode_prompt, "__self__", None), RecordedAttention):
            raise InputError("record_attention: the pipeline is already being recorded; leave that `with` block first")
        self._guards.__enter__()
        self._encode_prompt: Callable[..., Any] = self._pipe.encode_prompt
        self._pipe.encode_prompt = self._observe_prompt
        self._handle = self._family.denoiser.register_forward_pre_hook(self._before_denoiser, with_kwargs=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self._guards.__exit__(*error)
        self._pipe.__dict__.pop("encode_prompt", None)  # the class's own method remains
        if self._handle is not None:
            self._handle.remove()
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)

    @property
    def maps(self) -> list[AttentionMaps]:
        """The recorded maps of each image; see AttentionMaps. `spans` gives the rows of `cross` for each class."""
        if self._recorder is None:
            raise RuntimeError("no attention was recorded: call the pipeline inside the `with` block")
        return self._recorder.maps()

    @property
    def spans(self) -> list[Spans]:
        """For each image and class word, the word's rows in AttentionMaps.cross."""
        return [spans for spans in self._spans for _ in range(self._images_per_prompt)]

    def scores(self, power: int = AttentionSettings.power) -> list[ClassScores]:
        """For each image, the scores of its class words, [K, H, W] in [0, 1]; class k has the id k + 1."""
        power = replace(self._settings, power=power).power  # checked like the setting
        return [
            class_scores(class_evidence(maps, spans, power), range(1, len(spans) + 1), self._image_size)
            for maps, spans in zip(self.maps, self.spans, strict=True)
        ]

    def label_masks(
        self,
        threshold: float = DEFAULTS.threshold,
        uncertainty_threshold: float | None = None,
        power: int = AttentionSettings.power,
    ) -> list[np.ndarray]:
        """For each image, a mask [H, W] uint8: 0 background, 1 the first of its class words, 2 the second, ...

        Pixels whose best score lies between the thresholds are 255; there are none if only `threshold` is given.
        `power` is the exponent of the self-attention (arXiv 2309.14303). Raises InputError for values that dd-generate
        does not accept.
        """
        low = threshold if uncertainty_threshold is None else uncertainty_threshold
        mask = MaskSettings(threshold, low)
        return [label_mask(scores, mask.threshold, mask.uncertainty_threshold).labels for scores in self.scores(power)]

    def heatmaps(self, power: int = 0) -> list[np.ndarray]:
        """For each image, where the attention to each class word is: [K, H, W] float32 in [0, 1]."""
        return [scores.scores.clamp(0, 1).cpu().numpy() for scores in self.scores(power)]

    def overlays(self, images: Sequence[Any], power: int = 0) -> list[list[np.ndarray]]:
        """For each image and class word, the image under the word's heat map: [H, W, 3] uint8.

        `images` are the call's, as PIL or arrays [H, W, 3]: uint8, or the floats in [0, 1] of output_type="np".
        """
        return [
            [draw_heatmap(_as_bytes(image), heatmap) for heatmap in heatmaps]
            for image, heatmaps in zip(images, self.heatmaps(power), strict=True)
        ]

    def _observe_prompt(self, *args: Any, **kwargs: Any) -> Any:
        arguments = inspect.signature(self._encode_prompt).bind(*args, **kwargs)
        arguments.apply_defaults()
        # Z-Image's pipeline writes its chat template into the list that it is given.
        given = {name: list(value) if isinstance(value, list) else value for name, value in arguments.arguments.items()}
        result = self._encode_prompt(*args, **kwargs)
        if self._recorder is not None:
            raise InputError("record_attention: call the pipeline only once in each `with` block")
        if self._make_recorder is None:  # a second text before the image is started is a negative prompt
            self._make_recorder = self._read(given)
            self._family.positive_states = result[0]
        return result

    def _read(self, arguments: dict[str, Any]) -> MakeRecorder:
        prompts = self._family.prompts_of(arguments)
        if prompts is None:
            raise InputError(
                "record_attention: give the pipeline its prompt as text; words cannot be found in embeddings"
            )
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if len(texts) != len(self._words):
            raise InputError(f"record_attention: {len(texts)} prompts, but class words for {len(self._words)}")
        options = {name: arguments[name] for name in ("max_sequence_length",) if name in arguments}
        self._spans = [self._family.class_spans(*pair) for pair in zip(texts, self._words, strict=True)]
        # The pipeline's own method, not this one.
        del self._pipe.encode_prompt
        try:
            return self._family.prepare(texts, self._words, **options)
        finally:
            self._pipe.encode_prompt = self._observe_prompt

    @torch.compiler.disable
    def _before_denoiser(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._recorder is not None:
            return
        if self._make_recorder is None:
            raise InputError(
                "record_attention: give the pipeline its prompt as text; words cannot be found in embeddings"
            )
        number, height, width = self._family.input_size(args, kwargs)
        self._image_size = (height, width)
        self._images_per_prompt = number // len(self._words) // (2 if self._family.is_guided() else 1)
        layers = self._family.attention_layers(self._image_size, self._settings)
        self._recorder = self._make_recorder(layers, self._images_per_prompt)
        self._recorder.__enter__()
        self._recorder.begin_call(args, kwargs)


def _as_bytes(image: Any) -> np.ndarray:
    array = np.asarray(image)
    return array if array.dtype == np.uint8 else (255 * array).round().astype(np.uint8)
