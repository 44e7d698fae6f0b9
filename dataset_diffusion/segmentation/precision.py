"""Training in mixed precision, on a CPU as on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module(force=True)
class Bfloat16OptimWrapper(OptimWrapper):
    """Layers compute in bfloat16; weights, their gradients and the loss stay in float32.

    mmengine's own wrapper is for GPUs alone. bfloat16 has the range of float32, so the loss needs no scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to train in mixed precision; "auto" does where the hardware need not imitate bfloat16."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public question for a CPU's bfloat16; imitated, it is several times slower than float32.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in names)
