"""The rows of a cost sheet: the model's parts, identical neighbours folded into one row."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from torch import nn

from dougong.cost.devices import Rates
from dougong.cost.likeness import signature
from dougong.cost.sheet import Part
from dougong.cost.timing import seconds_of
from dougong.cost.tracing import LOSS

if TYPE_CHECKING:
    from dougong.cost.passes import Trace

DEPTH = 2  # levels below a block that are shown


def part_rows(model: nn.Module, forward: Trace, training: Trace, speed: Rates, count: int) -> list[Part]:
    """The parts in the model's order: each child of it, and of its lists of blocks.

    Every parameter and every FLOP is in exactly one row.

    Args:
        model: traced.
        forward, training: what it did.
        speed: for the time of each part.
        count: devices, each of which does this.
    """
    rows = places(model)
    parameters: Counter[str] = Counter()
    seen: set[int] = set()
    for path, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            parameters[row_of(path.rpartition(".")[0], rows)] += parameter.numel()
    flops: Counter[str] = Counter()
    trained: Counter[str] = Counter()
    saved: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    stepping: Counter[str] = Counter()
    for call, times in forward.calls.items():
        row = row_of(call.path, rows)
        flops[row] += round((call.flops or 0) * times)
        seconds[row] += seconds_of(call, speed) * times  # type: ignore[assignment]
    for call, times in training.calls.items():
        row = row_of(call.path, rows)
        trained[row] += round((call.flops or 0) * times)
        stepping[row] += seconds_of(call, speed) * times  # type: ignore[assignment]
    for path, n_bytes in training.saved.items():
        saved[row_of(path, rows)] += n_bytes
    order = list(dict.fromkeys([*rows.values(), *flops, *trained, *saved, *stepping]))
    sizes = Counter(rows.values())
    found = []
    for row in order:
        figures = (parameters[row], flops[row] * count, trained[row] * count, saved[row], seconds[row], stepping[row])
        if any(figures):
            found.append(Part(row, max(sizes[row], 1), *figures))
    return found


def places(model: nn.Module) -> dict[str, str]:
    """Module path to row, for the modules that rows stand for: "body.blocks.3" to "body.blocks.0-11"."""
    rows: dict[str, str] = {}
    known: dict[int, Any] = {}

    def add(module: nn.Module, path: str, depth: int) -> None:
        children = [(name, child) for name, child in module._modules.items() if child is not None]
        if children and all(name.isdigit() for name, _ in children):
            alike = itertools.groupby(children, key=lambda item: signature(item[1], known))
            for names in ([name for name, _ in group] for _, group in alike):
                label = names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"
                rows.update({f"{path}{name}": f"{path}{label}" for name in names})
            return
        for name, child in children:
            lists = [m for m in child.modules() if isinstance(m, nn.ModuleList | nn.Sequential)]
            if lists and depth < DEPTH:
                add(child, f"{path}{name}.", depth + 1)
            else:
                rows[f"{path}{name}"] = f"{path}{name}"

    add(model, "", 0)
    return rows


def row_of(path: str, rows: dict[str, str]) -> str:
    """The row that a module belongs to: its own, or that of the nearest module around it."""
    if path == LOSS or path.startswith("("):
        return path
    while path not in rows:
        if not path:
            return "(between parts)"
        path = path.rpartition(".")[0]
    return rows[path]
