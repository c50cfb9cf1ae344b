"""Experts: several feed-forward networks, of which each token goes through a few."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dougong.parts.context import Context
from dougong.parts.feedforward import Activation
from dougong.parts.gaussian import gaussian


class Experts(nn.Module):
    """A sparse mixture of gated feed-forward networks (Jiang et al. 2024, section 2.1; Shazeer et al. 2017).

    A router scores the experts for each token; the ``n_chosen`` best run, and their answers are added with the router's
    probabilities, made to sum to one. Tokens are sorted by expert, so that each expert multiplies one matrix, and no
    token waits for an expert that it did not choose.

    Args:
        d_model: D.
        d_ff: F of each expert.
        n_experts: E.
        n_chosen: experts that each token goes through.
        activation: of the gates.

    Raises:
        ValueError: more are chosen than there are.
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, n_chosen: int = 2, activation: str = "silu") -> None:
        super().__init__()
        if n_chosen > n_experts:
            raise ValueError(f"{n_chosen} of {n_experts} experts cannot be chosen")
        self.n_chosen, self.activation = n_chosen, Activation(activation)
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.gate = gaussian(n_experts, d_ff, d_model, std=0.02)
        self.up = gaussian(n_experts, d_ff, d_model, std=0.02)
        self.down = gaussian(n_experts, d_model, d_ff, std=0.02)

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, D) to the weights and the numbers of the chosen experts, each (T, n_chosen), best first."""
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, chosen = self.router(x).softmax(-1, dtype=wide).topk(self.n_chosen, -1)
        return (weight / weight.sum(-1, keepdim=True)).to(x.dtype), chosen

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """(..., D) to the same."""
        tokens = x.reshape(-1, x.shape[-1])
        weight, chosen = self.choose(tokens)
        order = chosen.flatten().argsort(stable=True)
        rows = order // self.n_chosen
        parts = tokens[rows].split(self._loads(chosen))
        answers = [self.answer(number, part) for number, part in enumerate(parts)]
        mixed = torch.cat(answers) * weight.flatten()[order, None]
        return torch.zeros_like(tokens).index_add(0, rows, mixed).view_as(x)

    def answer(self, number: int, x: Tensor) -> Tensor:
        """One expert's, (T, D) to the same."""
        gate, up, down = self.gate[number], self.up[number], self.down[number]
        inner = self.activation(nn.functional.linear(x, gate)) * nn.functional.linear(x, up)
        return nn.functional.linear(inner, down)

    def _loads(self, chosen: Tensor) -> list[int]:
        """How many tokens each expert got; as even as can be where nobody knows, on the meta device."""
        n_experts = len(self.gate)
        if chosen.is_meta:
            even, more = divmod(chosen.numel(), n_experts)
            return [even + (index < more) for index in range(n_experts)]
        loads: list[int] = torch.bincount(chosen.flatten(), minlength=n_experts).tolist()
        return loads
