"""The cost sheet tried: a shrunken model of the same architecture is run for real and compared with its prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.architectures import build, resolve
from dougong.cost.closed import forward_formula, pair
from dougong.cost.devices import Rates, rates
from dougong.cost.passes import trace
from dougong.cost.preparing import nn_bytes, on_meta
from dougong.cost.running import run
from dougong.cost.tables import NOTHING
from dougong.errors import UserError
from dougong.figures import count, duration, size

# The most that is left of each argument. Everything else stays: heads, norms, masks, activations, dropout.
MOST = {
    "vocab_size": 1000, "max_length": 128, "n_layers": 4, "num_layers": 4, "d_ff": 512, "n_filters": 32, "width": 16,
    "n_classes": 100, "window": 32, "d_head": 32,
}  # fmt: skip
MOST_HEADS, HEAD_WIDTH, MOST_BATCH, MOST_LENGTH = 4, 32, 8, 64
MOST_SIDE = {"resnet": 64}
MOST_PATCHES = 8  # along a side


@dataclass(frozen=True)
class Comparison:
    """One quantity, from several sides.

    Args:
        quantity: "FLOPs", "memory peak", "kept for backward" or "time".
        of: "forward" or "training step".
        unit: "FLOPs", "bytes" or "seconds".
        formula: by pencil and paper; None where there is no formula.
        predicted: by the trace on the meta device, or estimated from rates.
        measured: FLOPs by torch's counter on the real run, bytes by its allocator, seconds by the clock.
        low, high: ends of the band of ``predicted``, where it has one.
    """

    quantity: str
    of: str
    unit: str
    formula: float | None
    predicted: float
    measured: float
    low: float | None = None
    high: float | None = None

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured if self.measured else float(self.predicted == self.measured)


@dataclass(frozen=True)
class Verification:
    """What `verify` gives.

    Args:
        model: its name.
        config: of the model that was run; None for a module that has none.
        parameters: of it.
        batch: samples in each pass.
        length: tokens of each; None for pictures.
        device: that ran it.
        rows: quantity by quantity.
    """

    model: str
    config: dict[str, Any] | None
    parameters: int
    batch: int
    length: int | None
    device: str
    rows: list[Comparison]

    def row(self, quantity: str, of: str) -> Comparison:
        """One of the rows."""
        return next(row for row in self.rows if (row.quantity, row.of) == (quantity, of))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        found = asdict(self)
        found["rows"] = [{**asdict(row), "ratio": row.ratio} for row in self.rows]
        return found

    def sections(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """The comparison as tables: (title, columns, rows of cells)."""
        show: dict[str, Callable[[float], str]] = {"FLOPs": "{:,.0f}".format, "bytes": size, "seconds": duration}
        rows = []
        for row in self.rows:
            text = show[row.unit]
            formula = NOTHING if row.formula is None else text(row.formula)
            band = NOTHING if row.low is None or row.high is None else f"{text(row.low)} to {text(row.high)}"
            label = f"{row.quantity}, {row.of}"
            rows.append([label, formula, text(row.predicted), text(row.measured), f"{row.ratio:.3f}", band])
        length = f", length {self.length}" if self.length else ""
        title = (
            f"{self.model}, {count(self.parameters)} parameters of it, run on {self.device}: batch {self.batch}{length}"
        )
        return [(title, ["", "formula", "predicted", "measured", "predicted / measured", "band"], rows)]

    def notes(self) -> list[str]:
        """What stands below the table."""
        return [
            "formula: by pencil and paper from the configuration; predicted: by tracing the model without running it",
            "measured, of a real run: FLOPs by torch's own counter, bytes by its allocator, seconds by the clock, the "
            "median of several passes; the optimizer's step is not among them",
            "band: where the measured time is expected; a machine that is busy with other things leaves it",
        ]


def shrunken(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of the same architecture that any machine runs in a moment.

    Args:
        config: whole, as `dougong.resolve` gives it.
    """
    small = dict(config)
    for key, most in MOST.items():
        if isinstance(small.get(key), int):
            small[key] = min(small[key], most)
    if isinstance(small.get("d_ff"), int) and isinstance(config.get("d_model"), int):
        small["d_ff"] = min(small["d_ff"], max(1, HEAD_WIDTH * MOST_HEADS * config["d_ff"] // config["d_model"]))
    for tower in ("vision", "text"):  # CLIP's two
        width, several = f"d_{tower}", f"n_{tower}_heads"
        if width in small:
            small[several] = min(small[several], MOST_HEADS)
            small[width] = min(small[width], small[several] * HEAD_WIDTH)
            small[f"{width}_ff"] = max(1, small[f"{width}_ff"] * small[width] // config[width])
            small[f"n_{tower}_layers"] = min(small[f"n_{tower}_layers"], MOST["n_layers"])
    if "widths" in small:  # a width a level, where there are heads some for each
        heads = small["n_heads"] if isinstance(small.get("n_heads"), list) else None
        share = min(1.0, HEAD_WIDTH * MOST_HEADS / max(small["widths"]))
        small["widths"] = (
            [max(1, int(width * share)) for width in small["widths"]]
            if heads is None
            else [count * min(HEAD_WIDTH, width // count) for width, count in zip(small["widths"], heads, strict=True)]
        )
    for key in ("n_heads", "nhead"):
        if isinstance(small.get(key), int):
            small[key] = min(small[key], MOST_HEADS)
    if small.get("n_kv_heads"):
        few = max(1, small["n_heads"] * small["n_kv_heads"] // config["n_heads"])
        small["n_kv_heads"] = max(n for n in range(1, few + 1) if small["n_heads"] % n == 0)
    if isinstance(small.get("d_model"), int):
        heads = small.get("n_heads") or small.get("nhead") or MOST_HEADS
        if small["d_model"] > heads * HEAD_WIDTH:
            small["d_model"] = heads * HEAD_WIDTH
    if "layers" in small:
        small["layers"] = [min(n, 2) for n in small["layers"]]
    if small.get("image_size") is not None:
        picture = _smaller_picture(small)
        small["image_size"] = config["image_size"] if picture == list(pair(config["image_size"])) else picture
    return small


def _smaller_picture(config: dict[str, Any]) -> list[int]:
    sides = pair(config["image_size"])
    if config.get("patch_size") is None:
        most = MOST_SIDE.get(config["architecture"], MOST_LENGTH)
        return [min(side, most) for side in sides]
    patches = pair(config["patch_size"])
    return [min(side, patch * MOST_PATCHES) for side, patch in zip(sides, patches, strict=True)]


def verify(
    model: str | dict[str, Any] | nn.Module,
    *,
    batch: int = 4,
    length: int | None = None,
    device: str = "cpu",
    inputs: tuple[Any, ...] | None = None,
    rounds: int = 7,
    name: str | None = None,
) -> Verification:
    """Run a shrunken model and put beside each other what was predicted and what it took.

    FLOPs: the closed formula, torch's own counter (with our formulas where it lacks one) on the real run, and the
    trace on the meta device. Memory: the trace, and what torch's allocator gave out; libraries' scratch space that
    they take from it is in the second alone. Time: the estimate and the clock.

    Args:
        model: the name of a size or family, or a configuration, which are shrunken; or a module, which is run as it
            is.
        batch: samples in each pass, at most 8 of a shrunken model.
        length: tokens of each sample, at most 64 of a shrunken model.
        device: "cpu" or "cuda".
        inputs: what a module without ``example_inputs`` is called with.
        rounds: passes that are timed.
        name: of the model, in the answer.

    Raises:
        UserError: an unknown model or device, or a batch or length below 1.
    """
    if batch < 1 or (length is not None and length < 1):
        raise UserError("batch" if batch < 1 else "length", "must be at least 1", "give a whole number from 1 on")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError("device", f"{device} is not this machine", "use cpu, or cuda where there is a GPU, to verify")
    speed = rates(device, "float32")
    if isinstance(model, nn.Module):
        label, module, config = type(model).__name__, model, getattr(model, "config", None)
    else:
        label = model if isinstance(model, str) else str(model.get("architecture"))
        config = shrunken(resolve(model))
        batch = min(batch, MOST_BATCH)
        length = min(length or MOST_LENGTH, MOST_LENGTH, config.get("max_length") or MOST_LENGTH)
        module = build(config, device=device, seed=0)
    if inputs is None:
        if not hasattr(module, "example_inputs"):
            raise UserError("model", f"{label} does not say what it reads", "give inputs=, a tuple of tensors")
        inputs = module.example_inputs(batch, length, device=device)  # type: ignore[operator]
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    sequence = getattr(module, "input_kind", "image") != "image"
    # of a picture and a text, the text has the length
    length = int(next(tensor for tensor in tensors if tensor.dim() <= 3).shape[1]) if sequence else None
    formula = forward_formula(config, len(tensors[0]), length) if isinstance(config, dict) else None
    rows = compare(module, inputs, speed, formula, rounds)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Verification(name or label, config, parameters, len(tensors[0]), length, speed.name, rows)


def compare(
    module: nn.Module, inputs: tuple[Any, ...], speed: Rates, formula: float | None, rounds: int
) -> list[Comparison]:
    """Every quantity, of a forward pass and of a training step without the optimizer's."""
    shapes = on_meta(module)
    blank = tuple(value.to("meta") if isinstance(value, Tensor) else value for value in inputs)
    rows = []
    for of, train in (("forward", False), ("training step", True)):
        said = trace(shapes, blank, train=train, kernels=speed.kind)
        did = run(module, inputs, train=train, rounds=rounds)
        seconds = said.seconds(speed)
        rows.append(Comparison("FLOPs", of, "FLOPs", None if train else formula, said.flops, did.flops))
        rows.append(Comparison("memory peak", of, "bytes", None, nn_bytes(module) + said.peak, did.peak))
        if train:
            kept = sum(said.saved.values())
            rows.append(Comparison("kept for backward", of, "bytes", None, kept, did.saved))
        low, high = seconds * speed.low, seconds * speed.high
        rows.append(Comparison("time", of, "seconds", None, seconds, did.seconds, low, high))
    return sorted(rows, key=lambda row: ("FLOPs", "memory peak", "kept for backward", "time").index(row.quantity))
