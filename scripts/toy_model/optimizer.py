"""Train a copy of the UNet in the fastest precision against float32 master weights, with Muon for matrices."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from scripts.toy_model.recipe import Recipe

NOT_MATRICES = ("conv_in", "conv_out", "embedding")
"""Layers at the network's ends: Muon is for the hidden ones (Jordan et al., 2024)."""


class MixedOptimizer:
    """Steps the master weights of several modules.

    Muon takes two-dimensional parameters, so that it gets views of convolutions as [out, in * height * width].
    """

    def __init__(self, modules: list[nn.Module], recipe: Recipe) -> None:
        named = [(name, parameter) for module in modules for name, parameter in module.named_parameters()]
        self.parameters = [parameter for _, parameter in named]
        matrices = [p for name, p in named if p.ndim >= 2 and not any(end in name for end in NOT_MATRICES)]
        is_matrix = {id(p) for p in matrices}
        self._matrices = [(p, nn.Parameter(p.data.view(len(p), -1))) for p in matrices]
        self._muon = torch.optim.Muon(
            [view for _, view in self._matrices],
            lr=recipe.matrix_learning_rate,
            momentum=0.95,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(
            [p for p in self.parameters if id(p) not in is_matrix],
            lr=recipe.vector_learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
        )
        self._base_rates = (recipe.matrix_learning_rate, recipe.vector_learning_rate)

    def step(self, rate: float) -> None:
        """Update the weights from their `.grad` at `rate` times the learning rates, and clear the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for parameter, view in self._matrices:
            view.grad = None if parameter.grad is None else parameter.grad.view_as(view)
        for optimizer, base_rate in zip((self._muon, self._adamw), self._base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * base_rate
            optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, dict]:
        """The state of both optimizers."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Take over what state_dict() gave."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


class WorkingCopy:
    """A copy of a float32 module in `dtype`: in bfloat16 faster than autocast, which casts weights at every use."""

    def __init__(self, master: nn.Module, dtype: torch.dtype) -> None:
        self._master = list(master.parameters())
        self.dtype = dtype
        self.module: Any = copy.deepcopy(master).to(dtype)
        self._copies = list(self.module.parameters())

    def gradients_to_master(self) -> None:
        """Hand the copy's gradients over to the master weights, in float32."""
        for master, working in zip(self._master, self._copies, strict=True):
            if working.grad is not None:
                master.grad = working.grad.float()
                working.grad = None

    @torch.no_grad()
    def follow_master(self) -> None:
        """Take over the master weights."""
        masters: list[Tensor] = [master.data for master in self._master]
        torch._foreach_copy_([working.data for working in self._copies], masters)
