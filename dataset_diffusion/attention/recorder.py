"""Record attention while a model of any family runs. This is the only code that hooks a model.

Within a recorded module, a function mode sees each call to torch's scaled_dot_product_attention, with its queries and
keys after normalisation and rotary embedding. The paper's class-prompt cross-attention (arXiv 2309.14303) matches these
queries with the keys of the class words only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from dataset_diffusion.attention.class_stream import ClassStream
from dataset_diffusion.attention.layer_weights import block_of, feature_attention, guides, layer_weights, similarity
from dataset_diffusion.attention.layers import AttentionLayer
from dataset_diffusion.errors import InputError
from dataset_diffusion.types import AttentionMaps

MOST_SCORES = {"cpu": 2**20}
"""How many scores are computed at once, by device type: on a CPU 4 MiB, which stay in its cache."""
MOST_SCORES_ELSEWHERE = 2**24
"""64 MiB: with less, a GPU would wait for the next chunk."""


@dataclass(frozen=True)
class JointText:
    """Where the text is in the joint attention of image and text.

    Image positions start at `image_start`. `words[i]` are the positions of the words of text i, without start, end and
    padding tokens; `classes[i]` are the positions of its class words. The image's attention is the softmax over
    `words[i]`; the maps have a row for each of `classes[i]`.
    """

    image_start: int
    words: Sequence[Sequence[int]]
    classes: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class PromptText:
    """The `number` texts that a UNet makes its images from; the maps have a row for each position in them."""

    number: int

    def __len__(self) -> int:
        return self.number


Call = Callable[[tuple[Any, ...], Mapping[str, Any]], bool]
"""Decides from the arguments of a model call whether to record it."""


@dataclass(frozen=True)
class StepWindow:
    """The share of the sampler's steps that is recorded, from `begin` to `end`: 0 is the noise, 1 the image.

    `num_steps` returns how many steps there are; it is called after sampling has started.
    """

    begin: float
    end: float
    num_steps: Callable[[], int]

    def has(self, step: int) -> bool:
        """Whether the middle of a step lies in the window."""
        return self.begin <= (step + 0.5) / self.num_steps() < self.end

    def check(self) -> None:
        """Raise InputError, proposing another window, if no step has its middle in this one."""
        number = self.num_steps()
        if any(map(self.has, range(number))):
            return
        nearest = min(int((self.begin + self.end) / 2 * number), number - 1)
        begin, end = (round(step / number, 4) for step in (nearest, nearest + 1))
        raise InputError(
            f"attention.steps=[{self.begin:g},{self.end:g}]: none of the sampler's {number} steps has its middle "
            f"there; use [{begin:g},{end:g}], or null"
        )


class AttentionRecorder:
    """Within its `with` block, average the attention of `layers` of a model over heads, layers and calls.

    `text` is what the image's attention is matched with. For a UNet, it is either the encoded class prompts [B, T, C],
    one per sample, from which keys are projected that never reach the image; or a PromptText, which stands for the
    prompts. For joint attention, it is a JointText: of the class prompts in `stream` if that is given, otherwise of the
    prompts. The model's output is bit-identical to that without recording.

    With classifier-free guidance, the model's batch is 2B, and only its `conditional` half is recorded. Model calls
    for which `is_recorded` is false, and calls outside `window`, are not recorded. `weighted` weights the heads at each
    position by what they contribute to the layer's output. `weighted_layers` weights the layers in each call by the
    similarity of their self-attention to one computed from the last layer's input.

    All self-attention layers must have the same size, and so must all cross-attention layers. Memory is one float32
    sum of each kind, [B, N, N] and [B, N, T], regardless of the number of calls, plus MOST_SCORES. `weighted_layers`
    also needs such sums for each layer. Raises InputError where these would be too large.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[AttentionLayer],
        text: Tensor | PromptText | JointText,
        *,
        stream: ClassStream | None = None,
        conditional: Literal["first", "last"] = "last",
        is_recorded: Call | None = None,
        weighted: bool = False,
        weighted_layers: bool = False,
        window: StepWindow | None = None,
    ) -> None:
        self._model = model
        self._text = text
        self._batch = len(text)
        self._stream = stream
        self._is_beside = False
        """Whether a block is running on the stream's class prompts."""
        self._weights: Tensor | None = None
        """The weights of the heads in the block that last ran for the image."""
        self._conditional = conditional
        self._is_recorded = is_recorded
        self._records = True
        self._weighted = weighted
        self._weighted_layers = weighted_layers
        self._window = window
        self._calls = 0
        cross = [layer for layer in layers if layer.is_cross]
        self_attention = [layer for layer in layers if not layer.is_cross]
        self._cross_size = _common_size(cross)
        self._cross = _RunningMean()
        self._layer_cross: dict[str, _RunningMean] = {}
        self._self_size = _common_size(self_attention)
        self._self = _RunningMean()
        self._layer_self: dict[str, _RunningMean] = {}
        self._features: dict[tuple[int, int], Tensor] = {}
        self._grid = self_attention[0].grid or self._self_size
        self._blocks = {block_of(layer.name) for layer in self_attention}
        self._modules: dict[str, set[bool]] = {}
        for layer in (*layers, *(guides(layers) if weighted_layers else ())):
            self._modules.setdefault(layer.name, set()).add(layer.is_cross)
        self._handles: list[RemovableHandle] = []
        self._watch: _Watch | None = None

    def __enter__(self) -> Self:
        if self._is_recorded is not None or self._window is not None or self._weighted_layers:
            self._handles.append(self._model.register_forward_pre_hook(self._before_model, with_kwargs=True))
        if self._stream is not None:
            for name in self._stream.blocks:
                hook = self._after_block(name, self._stream)
                self._handles.append(self._model.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
        for name, kinds in self._modules.items():
            module = self._model.get_submodule(name)
            self._handles += [
                module.register_forward_pre_hook(self._before, with_kwargs=True),
                # Prepended: of several recorders, the one started last ends its watch first.
                module.register_forward_hook(
                    self._after(name, kinds), with_kwargs=True, always_call=True, prepend=True
                ),
            ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._end_watch()

    def maps(self) -> list[AttentionMaps]:
        """The means so far, one AttentionMaps for each sample of the batch, on the model's device."""
        if self._window is not None and self._calls:
            self._window.check()
        self._weigh_layers()
        cross = self._cross.mean().transpose(1, 2).unflatten(2, self._cross_size).contiguous()
        if isinstance(self._text, JointText):
            columns = [map_[: len(classes)] for map_, classes in zip(cross, self._text.classes, strict=True)]
        else:
            columns = list(cross)
        return [AttentionMaps(*pair) for pair in zip(columns, self._self.mean(), strict=True)]

    def begin_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Decide whether to record the model call that is starting. Hooks do this, except in a call already running."""
        self._weigh_layers()
        self._records = self._is_recorded is None or self._is_recorded(args, kwargs)
        if self._records and self._window is not None:
            self._records = self._window.has(self._calls)
            self._calls += 1

    @torch.compiler.disable
    def _before_model(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.begin_call(args, kwargs)

    @torch.compiler.disable
    def _before(self, _module: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        if self._records:
            self._watch = _Watch()
            self._watch.__enter__()

    def _after(self, name: str, kinds: set[bool]) -> Callable[..., None]:
        @torch.compiler.disable
        @torch.no_grad()
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            watch = self._end_watch()
            if watch is None or output is None:  # not to be recorded, or the module raised an exception
                return
            call = watch.call or self._unseen(module, args, kwargs)
            rows = self._conditional_rows(len(call.query))
            call = call.rows(rows)
            block = block_of(name)
            if self._weighted:
                if not self._is_beside:
                    self._weights = _head_weights(module, call)
                call = replace(call, weights=self._weights)
            if self._weighted_layers and False in kinds and not self._is_beside:
                self._keep_features((args[0] if args else kwargs["hidden_states"])[rows], block)
            if isinstance(self._text, JointText):
                self._record_joint(call, self._text, self._recorded_now(kinds), block)
            elif kinds == {False}:
                self._record_self(call, block)
            else:
                self._record_cross(module, call, block)

        return hook

    def _after_block(self, name: str, stream: ClassStream) -> Callable[..., None]:
        @torch.compiler.disable
        @torch.no_grad()
        def hook(module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
            if not self._records:
                return
            self._is_beside = True
            try:
                stream.run(name, module, kwargs)
            finally:
                self._is_beside = False

        return hook

    def _recorded_now(self, kinds: set[bool]) -> set[bool]:
        """With a stream: cross-attention while the class prompts run, self-attention while the image runs."""
        return kinds if self._stream is None else kinds & {self._is_beside}

    def _end_watch(self) -> "_Watch | None":
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.__exit__(None, None, None)
        return watch

    def _unseen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "_Call":
        """A call that the watch did not see. A UNet's is recomputed; others join texts or rotate keys."""
        if isinstance(self._text, JointText):
            raise InputError(
                "the attention of this model cannot be recorded: it does not call torch's "
                "scaled_dot_product_attention; keep the default attention backend and slicing"
            )
        return _projected(module, args, kwargs)

    def _conditional_rows(self, num_rows: int) -> slice:
        if num_rows not in (self._batch, 2 * self._batch):
            raise ValueError(f"the model ran a batch of {num_rows}, but there are {self._batch} texts")
        return slice(0, self._batch) if self._conditional == "first" else slice(num_rows - self._batch, num_rows)

    def _record_self(self, call: "_Call", block: str) -> None:
        total = self._layer_self.setdefault(block, _RunningMean()) if self._weighted_layers else self._self
        if block not in self._blocks or self._grid == self._self_size:
            total.add(call)
        else:
            total.add_pooled(call, self._grid, self._self_size)

    def _record_cross(self, layer: Any, call: "_Call", block: str) -> None:
        if isinstance(self._text, Tensor):
            call = replace(call, key=text_keys(layer, self._text))
        self._cross_of(block).add(call)

    def _record_joint(self, call: "_Call", text: JointText, kinds: set[bool], block: str) -> None:
        positions = self._grid[0] * self._grid[1]
        image = slice(text.image_start, text.image_start + positions)
        if True in kinds:
            self._cross_of(block).add_words(call.positions(image), text)
        if False in kinds:
            self._record_self(replace(call.positions(image), key=call.key[:, :, image]), block)

    def _cross_of(self, block: str) -> "_RunningMean":
        return self._layer_cross.setdefault(block, _RunningMean()) if self._weighted_layers else self._cross

    def _keep_features(self, states: Tensor, block: str) -> None:
        """Keep a layer's input; for each map size, the layer that runs last wins."""
        grid = self._grid if block in self._blocks else self._cross_size
        positions = grid[0] * grid[1]
        if states.shape[1] != positions and isinstance(self._text, JointText):  # text and image are already joined
            states = states[:, self._text.image_start : self._text.image_start + positions]
        self._features[grid] = states

    @torch.no_grad()
    def _weigh_layers(self) -> None:
        """Add the layers' maps of a finished call to the sums, each with its weight."""
        if not self._layer_self:
            return
        references: dict[tuple[int, int], Tensor] = {}
        for grid, states in self._features.items():
            size = self._self_size if grid == self._grid else grid
            references[size] = feature_attention(states, grid, size)
        similarities = {
            block: similarity(layer.mean(), references[self._self_size if block in self._blocks else self._cross_size])
            for block, layer in self._layer_self.items()
        }
        recorded = {block: layer for block, layer in self._layer_self.items() if block in self._blocks}
        for total, layers in ((self._self, recorded), (self._cross, self._layer_cross)):
            for block, weights in layer_weights(similarities, layers).items():
                total.add_part(layers[block].mean(), weights)
            total.count()
        self._layer_self, self._layer_cross, self._features = {}, {}, {}


@dataclass(frozen=True)
class _Call:
    """An attention call: `query` [B, heads, N, d], `key` [B, heads, M, d]; scores are multiplied by `scale`.

    `output` [B, heads, N, d] is its result. `weights` [B, heads, N] are the weights of the heads at each position, with
    a mean of 1 over the heads; None stands for equal weights.
    """

    query: Tensor
    key: Tensor
    scale: float
    output: Tensor | None = None
    weights: Tensor | None = None

    def rows(self, rows: slice) -> "_Call":
        output = None if self.output is None else self.output[rows]
        return _Call(self.query[rows], self.key[rows], self.scale, output)

    def positions(self, positions: slice) -> "_Call":
        weights = None if self.weights is None else self.weights[:, :, positions]
        return _Call(self.query[:, :, positions], self.key, self.scale, weights=weights)

    def probabilities(self, heads: slice, rows: slice) -> Tensor:
        """What some rows of queries attend to, summed over some heads: [B, rows, M] float32."""
        probabilities = attention_probabilities(self.query[:, heads, rows], self.key[:, heads], self.scale)
        if self.weights is not None:
            probabilities *= self.weights[:, heads, rows, None]
        return probabilities.sum(dim=1)


class _Watch(TorchFunctionMode):
    """Sees a module's call to scaled_dot_product_attention; changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.call: _Call | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention and self.call is None:
            self.call = replace(_observed(*args, **kwargs), output=result)
        return result


def _observed(query: Tensor, key: Tensor, *_: Any, scale: float | None = None, **__: Any) -> _Call:
    if key.shape[1] != query.shape[1]:  # grouped queries: several heads share a key
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    return _Call(query, key, query.shape[-1] ** -0.5 if scale is None else scale)


def _head_weights(module: Any, call: _Call) -> Tensor:
    """How much each head contributes to a layer's output at each position: [B, heads, N], with a mean of 1 over heads.

    The output is the sum of the heads' contributions; a head's weight is the scalar product of its contribution with
    that sum where this is positive (arXiv 2603.06178).
    """
    if call.output is None or getattr(module, "to_out", None) is None:
        raise InputError(
            "attention.aggregation=weighted: needs each head's contribution to the output, which this model's layers "
            "do not expose; use mean"
        )
    matrix = module.to_out[0].weight.float()  # [C, heads * d]
    heads = call.output.float().transpose(1, 2)  # [B, N, heads, d]
    summed = heads.flatten(2) @ matrix.T
    weights = ((summed @ matrix).view_as(heads) * heads).sum(dim=3).clamp(min=0).transpose(1, 2)
    total = weights.sum(dim=1, keepdim=True)
    return torch.where(total > 0, weights * weights.shape[1] / total.clamp(min=torch.finfo(total.dtype).tiny), 1.0)


def _projected(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
    """The call of a UNet's module that computes its attention by other functions, e.g. with attention slicing."""
    hidden = args[0] if args else kwargs["hidden_states"]
    if module.group_norm is not None:
        hidden = module.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
    query = module.head_to_batch_dim(module.to_q(hidden), out_dim=4)
    if module.norm_q is not None:
        query = module.norm_q(query)
    text = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
    return _Call(query, text_keys(module, hidden if text is None else text), module.scale)


def text_keys(layer: Any, states: Tensor) -> Tensor:
    """Project states [B, T, C] to keys, as a UNet's attention does: [B, heads, T, d]."""
    if layer.norm_cross is not None and layer.is_cross_attention:
        states = layer.norm_encoder_hidden_states(states)
    key = layer.head_to_batch_dim(layer.to_k(states), out_dim=4)
    return key if layer.norm_k is None else layer.norm_k(key)


class _RunningMean:
    """The mean of attention probabilities over heads and calls; sums in float32 and divides last."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, call: _Call) -> None:
        """Add the probabilities of all heads: as many heads at once as MOST_SCORES allows, or some rows of one head."""
        batch, heads, positions, _ = call.query.shape
        total = self._total((batch, positions, call.key.shape[2]), call.query.device)
        rows_at_once = min(positions, _rows_at_once(call))
        for some_heads in _slices(heads, _rows_at_once(call) // positions):
            for rows in _slices(positions, rows_at_once):
                total[:, rows] += call.probabilities(some_heads, rows)
        self._count += heads

    def add_pooled(self, call: _Call, grid: tuple[int, int], size: tuple[int, int]) -> None:
        """Add the probabilities of heads whose positions lie in a `grid`, pooled to `size` cells.

        A cell's attention to another is the mean over its own positions of the sum over the other's positions.
        """
        cell = grid[0] // size[0], grid[1] // size[1]
        batch, heads = call.query.shape[:2]
        total = self._total((batch, size[0] * size[1], size[0] * size[1]), call.query.device)
        lines = max(1, min(cell[0], _rows_at_once(call) // grid[1]))
        for some_heads in _slices(heads, _rows_at_once(call) // (lines * grid[1])):
            for row in range(size[0]):
                pooled = total.new_zeros((batch, size[1], *size))
                for first in range(row * cell[0], (row + 1) * cell[0], lines):
                    part = slice(first * grid[1], min(first + lines, (row + 1) * cell[0]) * grid[1])
                    cells = call.probabilities(some_heads, part).unflatten(2, (size[0], cell[0], size[1], cell[1]))
                    pooled += cells.sum(dim=(3, 5)).unflatten(1, (-1, size[1], cell[1])).sum(dim=(1, 3))
                total[:, row * size[1] : (row + 1) * size[1]] += pooled.flatten(2) / (cell[0] * cell[1])
        self._count += heads

    def add_words(self, call: _Call, text: JointText) -> None:
        """Add what the image attends to among the words of its text, over all heads."""
        most = max(map(len, text.classes))
        total = self._total((len(call.query), call.query.shape[2], most), call.query.device)
        for index, (words, classes) in enumerate(zip(text.words, text.classes, strict=True)):
            columns = [words.index(position) for position in classes]
            probabilities = attention_probabilities(call.query[index], call.key[index][:, list(words)], call.scale)
            if call.weights is not None:
                probabilities = call.weights[index][..., None] * probabilities
            total[index, :, : len(columns)] += probabilities[..., columns].sum(dim=0)
        self._count += call.query.shape[1]

    def add_part(self, maps: Tensor, weights: Tensor) -> None:
        """Add maps [B, N, M] times weights [B]. The weights of the parts of one map sum to 1; `count` ends the map."""
        self._total(tuple(maps.shape), maps.device).add_(maps * weights[:, None, None])

    def count(self) -> None:
        """Count the parts added by `add_part` as one map."""
        self._count += 1

    def mean(self) -> Tensor:
        if self._sum is None:
            raise RuntimeError("no attention was recorded: the model has not run inside the recorder's `with` block")
        return self._sum / self._count

    def _total(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        if self._sum is None:
            self._sum = torch.zeros(shape, dtype=torch.float32, device=device)
        return self._sum


def _rows_at_once(call: _Call) -> int:
    """How many query rows, of one head or several, make up MOST_SCORES."""
    most = MOST_SCORES.get(call.query.device.type, MOST_SCORES_ELSEWHERE)
    return max(1, most // (len(call.key) * call.key.shape[2]))


def _slices(length: int, at_once: int) -> Iterator[slice]:
    at_once = max(1, at_once)
    return (slice(start, start + at_once) for start in range(0, length, at_once))


def attention_probabilities(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """`softmax(scale * query @ key^T)` in float32 whatever the dtype: [..., N, d], [..., T, d] -> [..., N, T].

    Stable Diffusion 2's scores overflow float16, and sums of hundreds of bfloat16 probabilities would lose precision.
    """
    if _multiplies_halves(query, key):
        scores = _scores_of_halves(query, key, scale)
    else:
        scores = (query.float() @ key.float().transpose(-1, -2)).mul_(scale)
    return torch.softmax(scores, dim=-1)


def _multiplies_halves(query: Tensor, key: Tensor) -> bool:
    """Whether torch can multiply these directly, with a float32 result: half precision, on NVIDIA GPUs only."""
    is_half = query.dtype == key.dtype and query.dtype in (torch.float16, torch.bfloat16)
    return is_half and query.is_cuda and torch.version.hip is None


def _scores_of_halves(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """`scale * query @ key^T` in float32, on tensor cores and without float32 copies of queries and keys."""
    rows, columns = query.flatten(0, -3), key.flatten(0, -3)
    scores = torch.empty(len(rows), rows.shape[1], columns.shape[1], dtype=torch.float32, device=query.device)
    # With beta=0, the previous content of `scores` is ignored, even where it is not finite.
    torch.baddbmm(scores, rows, columns.transpose(1, 2), out_dtype=torch.float32, beta=0, alpha=scale, out=scores)
    return scores.view(*query.shape[:-1], key.shape[-2])


def require_not_compiled(model: nn.Module) -> None:
    """Raise InputError if a model is compiled: its code was generated without the hooks and does not call them."""
    for module in model.modules():
        if isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None:
            raise InputError(
                "the model is compiled, and compiled code calls no hooks: record with the uncompiled model, and "
                "compile it afterwards"
            )


def _common_size(layers: Sequence[AttentionLayer]) -> tuple[int, int]:
    sizes = {layer.size for layer in layers}
    if len(sizes) != 1:
        raise ValueError(f"all layers of a kind must have the same map size, got {sorted(sizes)}")
    return sizes.pop()
