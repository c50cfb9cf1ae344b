"""Time by the roofline: each operation takes as long as its arithmetic or its bytes, whichever is more."""

from __future__ import annotations

from dougong.cost.devices import Rates, at
from dougong.cost.tracing import Call

# Operations whose arithmetic, not memory, holds a processor up: an exponential or the like for each element.
CURVES = (
    "gelu", "softmax", "tanh", "sigmoid", "exp", "log", "erf", "silu", "pow", "rsqrt", "sqrt", "sin", "cos",
    "softplus", "bernoulli", "normal_", "uniform_",
)  # fmt: skip


def seconds_of(call: Call, rates: Rates) -> float:
    """Estimated seconds of one such call."""
    moved = call.bytes_read + call.bytes_written
    taken = moved / at(rates.bandwidth, moved) if moved else 0.0
    if call.flops:
        points = rates.matmul
        if "convolution" in call.name:
            points = rates.convolution
        elif "attention" in call.name:
            points = rates.attention
        taken = max(taken, call.flops / at(points, call.flops))
    elif rates.curves and any(curve in call.name for curve in CURVES):
        taken = max(taken, call.elements / rates.curves)
    return taken + rates.overhead
