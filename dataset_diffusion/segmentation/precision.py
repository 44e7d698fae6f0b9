"""Mixed-precision training, on CPUs as well as on GPUs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from dataset_diffusion.hardware import bfloat16_is_fast


@OPTIM_WRAPPERS.register_module(force=True)
class PartsOptimWrapper(OptimWrapper):
    """Counts iterations of several parts; mmengine's own counts parts, so its count would be wrong in a resumed run."""

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Start counting at iteration `init_counts` of `max_counts`."""
        parts = self._accumulative_counts
        super().initialize_count_status(model, init_counts * parts, max_counts * parts)


@OPTIM_WRAPPERS.register_module(force=True)
class Bfloat16OptimWrapper(PartsOptimWrapper):
    """Layers compute in bfloat16; weights, their gradients and the loss stay in float32.

    mmengine's own wrapper is only for GPUs. bfloat16 has the range of float32, so the loss needs no scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to train in mixed precision; "auto" does so where it is faster."""
    if precision != "auto":
        return precision == "bfloat16"
    return bfloat16_is_fast(device)
