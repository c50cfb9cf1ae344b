"""Linear layers by the kernel that is fastest on this machine for their shape: measured once, and remembered."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dougong.heads.language import Tied
from dougong.machine import cache_folder, processor, remember, remembered
from dougong.parts.products import Linear, by_onednn, linear, there

MANY = 256
"""Rows for which kernels are compared: tokens of a prompt or a batch."""
VERSION = 2  # of what is measured
ROUNDS = 7
WORTH = 128 * 128
"""Weights of a layer from which on a quicker kernel is worth a slower call."""
GAIN = 0.97  # a kernel takes torch's place if it needs less than this share of its time


class FastLinears:
    """While it is entered, a model's linear layers run by oneDNN, where it is there: on the CPU, in float32 only.

    torch's default for a few rows of float32 reads weights with one core's bandwidth; oneDNN reads the very same
    tensors with that of all of them. Results differ in the last bits. Nothing is copied.

    Args:
        model: whose layers they are.
        learning: whether gradients are wanted; backward is to be called while it is entered. Small layers are left to
            torch then, whose calls cost less, and losses in chunks multiply by oneDNN too.
    """

    def __init__(self, model: nn.Module, learning: bool = False) -> None:
        suited = [part for part in model.modules() if _suits(part)] if there() else []
        layers = [part for part in suited if isinstance(part, nn.Linear)]
        self.layers = [each for each in layers if not learning or each.weight.numel() >= WORTH]
        self.heads = [] if learning else [part for part in suited if isinstance(part, Tied)]
        self._forwards = [_forward(layer, learning) for layer in self.layers]
        self.learning, self._entered = learning, contextlib.ExitStack()

    def __enter__(self) -> None:
        if self.learning:
            self._entered.enter_context(by_onednn())
        for layer, forward in zip(self.layers, self._forwards, strict=True):
            layer.__dict__["forward"] = forward
        for head in self.heads:
            head.__dict__["multiply"] = linear

    def __exit__(self, *raised: object) -> None:
        for layer in self.layers:
            layer.__dict__.pop("forward", None)
        for head in self.heads:
            head.__dict__.pop("multiply", None)
        self._entered.close()


class Packed(nn.Module):
    """A linear layer whose weights lie as oneDNN's kernel reads them; the only copy of them. For inference on the CPU.

    Args:
        layer: that it takes the place of.
        rows: tokens that it is packed for.
    """

    def __init__(self, layer: nn.Linear, rows: int = MANY) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.weight = packed(layer.weight.detach(), rows)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., F)."""
        return packed_linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, packed"

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[no-untyped-call]
        destination[f"{prefix}weight"] = self.weight.to_dense(self.weight.dtype)  # type: ignore[no-untyped-call]


def packed(weight: Tensor, rows: int) -> Tensor:
    """Weights (F, D) in the order in which oneDNN's kernel for so many rows reads them."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


@torch.library.custom_op("dougong::packed_linear", mutates_args=())
def packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(..., D) by packed weights of (F, D) to (..., F); a compiler takes it as it is."""
    return linear(x, weight, bias)


@packed_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def gains(layer: nn.Linear, rows: int = MANY) -> bool:
    """Whether packing a layer pays on this machine."""
    weight = layer.weight
    if not there() or weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return False
    seconds = measured(weight.shape[0], weight.shape[1], rows, weight.dtype)
    return seconds["onednn packed"] < GAIN * seconds["torch"]


def measured(n_out: int, n_in: int, rows: int, dtype: torch.dtype) -> dict[str, float]:
    """Seconds of each kernel for a layer of these sizes on this machine: "torch", "onednn" and "onednn packed".

    They are measured at the first call and kept in the user's cache folder.
    """
    name = str(dtype).removeprefix("torch.")
    return _once(f"{rows} x {n_in} by {n_out}, {name}", lambda: _compare(n_out, n_in, rows, dtype))


def seconds_of_learning(rows: int = 2 * MANY, width: int = 512) -> dict[str, float]:
    """Seconds of a feed-forward pair's products and their gradients in float32, by "torch" and by "onednn"; kept so."""

    def compare() -> dict[str, float]:
        x, gradient = torch.randn(rows, width, requires_grad=True), torch.randn(rows, width)
        up, down = (torch.randn(size, requires_grad=True) for size in ((4 * width, width), (width, 4 * width)))

        def learn(multiply: Callable[..., Tensor]) -> None:
            multiply(multiply(x, up, None), down, None).backward(gradient)

        return _in_turns({"torch": lambda: learn(nn.functional.linear), "onednn": lambda: learn(Linear.apply)})

    return _once(f"learning, {rows} x {width} by {4 * width} and back, float32", compare)


def timed_kernels() -> dict[str, dict[str, float]]:
    """Seconds of each kernel by what it computes: all that was measured on this machine with this torch and threads."""
    found: dict[str, dict[str, float]] = remembered(_file()).get(_machine(), {})
    return found


def _once(what: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What was measured here before, or is now."""
    known = timed_kernels()
    if what not in known:
        known[what] = measure()
        remember(_file(), {**remembered(_file()), _machine(): known})
    return known[what]


def _file() -> Path:
    return cache_folder() / "kernels.json"


def _machine() -> str:
    return f"{VERSION}|{processor()}|{torch.__version__}|{torch.get_num_threads()} threads"


def _compare(n_out: int, n_in: int, rows: int, dtype: torch.dtype) -> dict[str, float]:
    with torch.inference_mode():
        x, weight = torch.randn(rows, n_in).to(dtype), torch.randn(n_out, n_in).to(dtype)
        ready = packed(weight, rows)
        return _in_turns(
            {
                "torch": lambda: nn.functional.linear(x, weight),
                "onednn": lambda: linear(x, weight, None),
                "onednn packed": lambda: linear(x, ready, None),
            }
        )


def _in_turns(kernels: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in kernels}
    for turn in range(ROUNDS + 1):
        for name, kernel in kernels.items():
            start = time.perf_counter()
            kernel()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _forward(layer: nn.Linear, learning: bool) -> Callable[[Tensor], Tensor]:
    weight, bias = layer.weight, layer.bias
    return (lambda x: Linear.apply(x, weight, bias)) if learning else lambda x: linear(x, weight, bias)


def _suits(part: nn.Module) -> bool:
    """A layer of exactly this kind, not one that a rewritten tree has in its place, with plain float32 weights."""
    if type(part) is not nn.Linear and type(part) is not Tied:
        return False
    weight = part.weight
    return isinstance(weight, Tensor) and weight.device.type == "cpu" and weight.dtype == torch.float32
