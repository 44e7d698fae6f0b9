"""Attention that is recorded once; the masks of all ablations are made from it.

Each layer and each quarter of the time steps is kept separately; the mean over layers and steps is what dd-generate
records.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from dataset_diffusion.attention.aggregate import class_attention
from dataset_diffusion.attention.layers import AttentionLayer
from dataset_diffusion.attention.recorder import AttentionRecorder
from dataset_diffusion.calibration.recording import LabelledImage, NoisedRecorder, Recording, mean_maps
from dataset_diffusion.files import write_atomically
from dataset_diffusion.prompts.seeds import named_rng
from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.toy.scenes import VOC_WORDS
from dataset_diffusion.types import AttentionMaps

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

FINE, COARSE = 16, 8
"""The resolutions at which the toy model has attention."""
QUARTERS = 4
CLASS_PROMPT, FULL_PROMPT, MORE_WORDS = "class_prompt", "full_prompt", "more_words"
"""The text that the cross-attention's keys come from: only the class words (the paper's), the class words in the whole
prompt, or the class words followed by NUM_MORE of classes that were not requested."""
ARCHIVED_TEXTS = (CLASS_PROMPT, FULL_PROMPT, MORE_WORDS)
NUM_MORE = 3

Spans = Sequence[Sequence[int]]


@dataclass(frozen=True)
class ArchivedAttention:
    """The attention of one image.

    `cross[text, resolution]` is [L, Q, K, h, w]: layers, quarters of the time steps, classes (the mean over their
    tokens; for MORE_WORDS there are K + NUM_MORE); `self_attention[resolution]` is [L, Q, N, N]. All are float32,
    stored in files as float16. `quarter_steps` [Q] is the number of time steps in each quarter.
    """

    cross: Mapping[tuple[str, int], np.ndarray]
    self_attention: Mapping[int, np.ndarray]
    quarter_steps: Sequence[int]

    def mean(
        self, values: np.ndarray, layers: Sequence[int] | None = None, quarters: Sequence[int] | None = None
    ) -> np.ndarray:
        """The mean of [L, Q, ...] over the time steps of chosen layers and quarters (None: all)."""
        weights = np.asarray(self.quarter_steps, values.dtype)
        if layers is not None:
            values = values[list(layers)]
        if quarters is not None:
            values, weights = values[:, list(quarters)], weights[list(quarters)]
        return np.average(values.mean(axis=0), axis=0, weights=weights)

    def write(self, path: Path) -> None:
        """Write one .npz atomically."""
        arrays = {f"cross {text} {side}": values for (text, side), values in self.cross.items()}
        arrays |= {f"self {side}": values for side, values in self.self_attention.items()}
        content = io.BytesIO()
        halves = {name: values.astype(np.float16) for name, values in arrays.items()}
        np.savez(content, quarter_steps=np.asarray(self.quarter_steps), **halves)  # type: ignore[arg-type]
        write_atomically(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote, up to rounding to float16."""
        cross: dict[tuple[str, int], np.ndarray] = {}
        self_attention: dict[int, np.ndarray] = {}
        with np.load(path) as arrays:
            quarter_steps = arrays["quarter_steps"].tolist()
            for name in arrays.files:
                if name == "quarter_steps":
                    continue
                kind, *text, side = name.split(" ")
                values = arrays[name].astype(np.float32)
                if kind == "cross":
                    cross[text[0], int(side)] = values
                else:
                    self_attention[int(side)] = values
        return cls(cross, self_attention, quarter_steps)


@dataclass(frozen=True)
class ArchivedRecording:
    """A recording of one layer's attention to one text, and the positions of each class in the text."""

    text: str
    recording: Recording
    spans: Sequence[Spans]

    @property
    def resolution(self) -> int:
        """The side of the layer's maps."""
        return self.recording.layers[0].resolution


@dataclass(frozen=True)
class ReadText:
    """A batch's texts that class words are read from: encoded, [B, T, C], and the positions of the words in each."""

    name: str
    states: Tensor
    spans: Sequence[Spans]


def read_texts(
    tokenizer: "CLIPTokenizer",
    encode: Callable[[list[str]], Tensor],
    prompts: Sequence[str] | None,
    words: Sequence[Sequence[str]],
    seeds: Sequence[int],
) -> list[ReadText]:
    """The texts that the class words of a batch's images are read from, the class prompt first.

    `prompts` are the whole prompts, None if they have no class words. `encode` turns B texts into states [B, T, C].
    """
    more = [(*of_image, *other_words(of_image, seed)) for of_image, seed in zip(words, seeds, strict=True)]
    texts = []
    for name, of_batch in ((CLASS_PROMPT, words), (MORE_WORDS, more)):
        found = [class_prompt(tokenizer, of_image) for of_image in of_batch]
        texts.append(ReadText(name, encode([text.text for text in found]), [text.spans for text in found]))
    if prompts is not None:
        spans = [appended_spans(tokenizer, *pair) for pair in zip(prompts, words, strict=True)]
        texts.append(ReadText(FULL_PROMPT, encode(list(prompts)), spans))
    return texts


def other_words(words: Sequence[str], seed: int) -> list[str]:
    """NUM_MORE class words that were not requested for an image, drawn with its seed."""
    return named_rng(seed, "other words").sample([word for word in VOC_WORDS if word not in words], NUM_MORE)


def plan_recordings(layers: Sequence[AttentionLayer], texts: Sequence[ReadText]) -> list[ArchivedRecording]:
    """What to record for a batch: each transformer block separately, and the finest with the other texts too."""
    blocks: dict[str, list[AttentionLayer]] = {}
    for layer in layers:
        if layer.resolution in {FINE, COARSE}:
            blocks.setdefault(layer.name.rpartition(".")[0], []).append(layer)
    return [
        ArchivedRecording(text.name, Recording(block, text.states), text.spans)
        for text in texts
        for block in blocks.values()
        if text.name == CLASS_PROMPT or block[0].resolution == FINE
    ]


def split_steps(num_steps: int) -> list[range]:
    """The time steps of each quarter; if their number is not divisible by four, some quarters have one more."""
    return [range(num_steps * q // QUARTERS, num_steps * (q + 1) // QUARTERS) for q in range(QUARTERS)]


def archive(
    plan: Sequence[ArchivedRecording], quarters: Sequence[Sequence[AttentionMaps]], item: int, num_steps: int
) -> ArchivedAttention:
    """Combine the recordings of image `item` of the batch over `num_steps` time steps.

    `quarters[q][r]` holds recording r's maps of the image in quarter q.
    """
    cross: dict[tuple[str, int], list[Tensor]] = {}
    self_attention: dict[int, list[Tensor]] = {}
    for index, planned in enumerate(plan):
        maps = [quarter[index] for quarter in quarters]
        side = planned.resolution
        by_class = torch.stack([class_attention(m.cross, planned.spans[item]) for m in maps])
        cross.setdefault((planned.text, side), []).append(by_class)
        if planned.text == CLASS_PROMPT:
            self_attention.setdefault(side, []).append(torch.stack([m.self_attention for m in maps]))
    return ArchivedAttention(
        cross={key: torch.stack(values).float().cpu().numpy() for key, values in cross.items()},
        self_attention={side: torch.stack(values).float().cpu().numpy() for side, values in self_attention.items()},
        quarter_steps=[len(steps) for steps in split_steps(num_steps)],
    )


def appended_spans(tokenizer: "CLIPTokenizer", prompt: str, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The token positions of class words at the end of a whole prompt: those in the class prompt, shifted."""
    in_class_prompt = class_prompt(tokenizer, words)
    num_tokens = (len(tokenizer(text)["input_ids"]) for text in (prompt, in_class_prompt.text))
    shift = next(num_tokens) - next(num_tokens)
    return tuple(tuple(position + shift for position in span) for span in in_class_prompt.spans)


def archive_labelled(recorder: NoisedRecorder, item: LabelledImage, seed: int, *, appended: bool) -> ArchivedAttention:
    """Record a labelled image, noised to the sampler's steps; `appended`: its prompt ends with its words."""
    texts = read_texts(
        recorder.pipe.tokenizer,
        lambda one: recorder.encode_text(one[0]),
        [item.prompt] if appended else None,
        [item.words],
        [seed],
    )
    plan = plan_recordings(recorder.layers(item.image), texts)
    by_step = recorder.record_steps(item.image, item.prompt, [planned.recording for planned in plan], seed)
    num_steps = len(recorder.times)
    quarters = [[mean_maps([maps[step] for step in steps]) for maps in by_step] for steps in split_steps(num_steps)]
    return archive(plan, quarters, item=0, num_steps=num_steps)


class QuarterlyRecorder:
    """Within its `with` block, records each quarter of a UNet's `num_calls` calls separately."""

    def __init__(self, unet: nn.Module, recordings: Sequence[Recording], num_calls: int) -> None:
        self._unet = unet
        self._num_calls = num_calls
        self._starts = [steps.start for steps in split_steps(num_calls)]
        self._calls = 0
        self._recorders = [
            [AttentionRecorder(unet, recording.layers, recording.states) for recording in recordings]
            for _ in range(QUARTERS)
        ]
        self._active = ExitStack()

    def __enter__(self) -> Self:
        self._handle = self._unet.register_forward_pre_hook(self._before_call)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handle.remove()
        self._active.close()

    def _before_call(self, _module: nn.Module, _args: Any) -> None:
        if self._calls in self._starts:
            self._active.close()
            for recorder in self._recorders[self._starts.index(self._calls)]:
                self._active.enter_context(recorder)
        self._calls += 1

    def quarters(self, item: int) -> list[list[AttentionMaps]]:
        """The maps of each recording in each quarter, of image `item` of the batch."""
        if self._calls != self._num_calls:
            raise RuntimeError(f"the UNet ran {self._calls} times, not {self._num_calls}")
        return [[recorder.maps()[item] for recorder in quarter] for quarter in self._recorders]
