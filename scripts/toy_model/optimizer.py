"""Train a copy of the UNet in the fastest precision, with float32 master weights and Muon for matrices."""

import copy
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scripts.toy_model.recipe import Recipe

NOT_MATRICES = ("conv_in", "conv_out", "embedding")
"""Layers at the network's ends: Muon is for the hidden ones (Jordan et al., 2024)."""

MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> a x + b x^3 + c x^5, which takes singular values from 0 ... 1 to near 1 (Jordan et al., 2024)."""
NEWTON_SCHULZ_STEPS = 5


class MixedOptimizer:
    """Updates the master weights of several modules.

    Muon treats convolutions as matrices [out, in * height * width]. torch.optim.Muon would do the same in a loop over
    the matrices and in bfloat16; on a CPU that took a fifth of a training step.
    """

    def __init__(self, modules: list[nn.Module], recipe: Recipe) -> None:
        named = [(name, parameter) for module in modules for name, parameter in module.named_parameters()]
        self.parameters = [parameter for _, parameter in named]
        self._matrices: list[Tensor] = [
            p for name, p in named if p.ndim >= 2 and not any(end in name for end in NOT_MATRICES)
        ]
        self._momenta = [torch.zeros_like(p) for p in self._matrices]
        self._scales = [0.2 * math.sqrt(max(len(p), p[0].numel())) for p in self._matrices]
        is_matrix = {id(p) for p in self._matrices}
        self._adamw = torch.optim.AdamW(
            [p for p in self.parameters if id(p) not in is_matrix],
            lr=recipe.vector_learning_rate,
            betas=(0.9, 0.99),
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        self._recipe = recipe

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights from their `.grad` at `rate` times the learning rates, and clear the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self._step_matrices(rate * self._recipe.matrix_learning_rate)
        self._adamw.param_groups[0]["lr"] = rate * self._recipe.vector_learning_rate
        self._adamw.step()
        for parameter in self.parameters:
            parameter.grad = None

    def _step_matrices(self, rate: float) -> None:
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._matrices]
        torch._foreach_lerp_(self._momenta, gradients, 1 - MOMENTUM)
        torch._foreach_lerp_(gradients, self._momenta, MOMENTUM)  # Nesterov's look ahead
        updates = orthogonalise([gradient.flatten(1) for gradient in gradients])
        torch._foreach_mul_(self._matrices, 1 - rate * WEIGHT_DECAY)
        for parameter, update, scale in zip(self._matrices, updates, self._scales, strict=True):
            parameter.add_(update.view_as(parameter), alpha=-rate * scale)

    def state_dict(self) -> dict[str, Any]:
        """The state of both optimizers."""
        return {"momenta": self._momenta, "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what state_dict() returned."""
        torch._foreach_copy_(self._momenta, state["momenta"])
        self._adamw.load_state_dict(state["adamw"])


def orthogonalise(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Each matrix [m, n] float32 with its singular values brought near 1: most end between 0.7 and 1.2.

    The Newton-Schulz iteration multiplies a matrix by polynomials of its Gram matrix. So it runs on the Gram matrices
    only, which are small, and the matrices are multiplied once, at the end. Matrices of equal shape are batched.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        groups[tuple(matrix.shape)].append(index)
    results: list[Tensor] = list(matrices)
    for (rows, columns), members in groups.items():
        stack = torch.stack([matrices[index] for index in members])
        wide = stack if rows <= columns else stack.mT
        wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
        wide = _newton_schulz_factor(wide @ wide.mT) @ wide
        for index, result in zip(members, wide if rows <= columns else wide.mT, strict=True):
            results[index] = result
    return results


def _newton_schulz_factor(gram: Tensor) -> Tensor:
    """The matrices [B, m, m] whose product with x is the iteration's result, from the Gram matrices x x^T."""
    a, b, c = NEWTON_SCHULZ
    factor = torch.eye(gram.shape[-1], device=gram.device).expand_as(gram)
    for step in range(NEWTON_SCHULZ_STEPS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        factor = polynomial @ factor if step else polynomial
        if step < NEWTON_SCHULZ_STEPS - 1:
            gram = polynomial @ gram @ polynomial
    return factor


class WorkingCopy:
    """A copy of a float32 module in `dtype`, channels-last.

    In bfloat16 this is faster than autocast, which casts weights at every use.
    """

    def __init__(self, master: nn.Module, dtype: torch.dtype) -> None:
        self._master = list(master.parameters())
        self.dtype = dtype
        module: Any = copy.deepcopy(master)
        self.module = module.to(dtype=dtype, memory_format=torch.channels_last)
        self._copies = list(self.module.parameters())

    @torch.no_grad()
    def gradients_to_master(self) -> None:
        """Move the copy's gradients to the master weights, in float32."""
        for master, working in zip(self._master, self._copies, strict=True):
            if working.grad is not None:
                master.grad = torch.empty_like(master).copy_(working.grad)
                working.grad = None

    @torch.no_grad()
    def follow_master(self) -> None:
        """Copy the master weights into the copy."""
        masters: list[Tensor] = [master.data for master in self._master]
        torch._foreach_copy_([working.data for working in self._copies], masters)
