"""Feed-forward networks: the same small network at every token."""

from __future__ import annotations

from torch import Tensor, nn

from dougong.parts.context import Context


class Activation(nn.Module):
    """An element-wise function by its name in torch.nn.functional (relu, gelu, silu, tanh, ...), or one of two
    approximations of gelu, `gelu_tanh` and `gelu_quick` (Hendrycks and Gimpel 2016, section 2).

    Raises:
        ValueError: torch has no such function.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        if name not in ("gelu_tanh", "gelu_quick") and not callable(getattr(nn.functional, name, None)):
            raise ValueError(f"no activation {name!r} in torch.nn.functional; try relu, gelu, gelu_tanh or silu")

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        if self.name == "gelu_tanh":
            return nn.functional.gelu(x, approximate="tanh")
        if self.name == "gelu_quick":
            return x * (1.702 * x).sigmoid()
        return getattr(nn.functional, self.name)(x)

    def extra_repr(self) -> str:
        return self.name


class FeedForward(nn.Module):
    """down(activation(up(x))) (Vaswani et al. 2017, section 3.3).

    Args:
        up: module, (..., D) to (..., F).
        down: module, (..., F) to (..., D).
        activation: module between them.
        mix: module with ``(x, context)`` between ``up`` and the activation (SegFormer's depthwise convolution).
        dropout: after the activation.
    """

    def __init__(
        self,
        up: nn.Module,
        down: nn.Module,
        activation: nn.Module,
        *,
        mix: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.up, self.mix, self.activation = up, mix, activation
        self.dropout, self.down = nn.Dropout(dropout), down

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """(..., D) to (..., D)."""
        x = self.up(x)
        if self.mix is not None:
            x = self.mix(x, context)
        return self.down(self.dropout(self.activation(x)))


class GatedFeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)) (Shazeer 2020, section 2): SwiGLU with silu, GEGLU with gelu.

    Args:
        gate, up: modules, (..., D) to (..., F).
        down: module, (..., F) to (..., D).
        activation: module applied to the gate.
        dropout: after the product.
    """

    def __init__(
        self, gate: nn.Module, up: nn.Module, down: nn.Module, activation: nn.Module, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.gate, self.up, self.activation = gate, up, activation
        self.dropout, self.down = nn.Dropout(dropout), down

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """(..., D) to (..., D)."""
        return self.down(self.dropout(self.activation(self.gate(x)) * self.up(x)))


def feed_forward(
    d_model: int, d_ff: int, activation: str = "gelu", *, gated: bool = False, bias: bool = True, dropout: float = 0.0
) -> FeedForward | GatedFeedForward:
    """A feed-forward network of linear layers, plain or gated. Args: d_model: D; d_ff: F."""
    act, down = Activation(activation), nn.Linear(d_ff, d_model, bias)
    up = nn.Linear(d_model, d_ff, bias)
    if gated:
        return GatedFeedForward(nn.Linear(d_model, d_ff, bias), up, down, act, dropout)
    return FeedForward(up, down, act, dropout=dropout)
