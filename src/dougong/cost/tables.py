"""A cost sheet as people read it: tables with units. The exact numbers are in its fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dougong.figures import count, duration, size

if TYPE_CHECKING:
    from dougong.cost.sheet import CostSheet, Seconds

Section = tuple[str, list[str], list[list[Any]]]

NOTHING = "-"
SMALL = 0.01  # an uncounted operation below this share of all their elements is named below the table


def sections(sheet: CostSheet) -> list[Section]:
    """The sheet as tables: (title, columns, rows of cells): in total, by part, and what is not counted."""
    asked = [f"batch {sheet.batch}", *([f"length {sheet.length}"] if sheet.length else []), sheet.precision]
    where = f"{sheet.devices} x {sheet.device}" if sheet.devices > 1 else sheet.device
    columns = ["part", "parameters", "FLOPs", "share", *(["kept for backward"] if sheet.train else []), "time"]
    found: list[Section] = [
        (f"{sheet.model}: {', '.join(asked)}, on {where}", ["in total", "inference", "training step"], in_total(sheet)),
        (f"by part, {'a training step' if sheet.train else 'a forward pass'}", columns, by_part(sheet)),
    ]
    if sheet.uncounted:
        title = f"not in the FLOPs, having no formula; with 1 FLOP an element they would add {beside(sheet)}"
        found.append((title, ["operation", "calls", "elements"], uncounted(sheet)[0]))
    return found


def notes(sheet: CostSheet) -> list[str]:
    """What stands below the tables: the small operations without a formula, and what the figures rest on."""
    small = uncounted(sheet)[1]
    return [*([f"also not in the FLOPs: {', '.join(small)}"] if small else []), *sheet.assumptions]


def in_total(sheet: CostSheet) -> list[list[Any]]:
    """Everything about the whole model, once for inference and once for training."""

    def both(label: str, show: Callable[[Any], str], *sides: Any) -> list[Any]:
        return [label, *[show(side) if side else NOTHING for side in sides]]

    inference, training = sheet.inference, sheet.training
    each = ", each device" if sheet.devices > 1 else ""
    rows = [
        both("parameters", "{:,}".format, sheet.parameters, sheet.parameters),
        both("FLOPs", count, sheet.flops.forward, sheet.flops.training),
        both("  as multiply-adds (MACs)", count, sheet.flops.forward // 2, sheet.flops.training // 2),
        both("bytes moved", size, sheet.bytes_moved["forward"], sheet.bytes_moved["training"]),
        both("time, estimated", lambda s: duration(s.estimate), sheet.forward_seconds, sheet.training_seconds),
        both("  error band", band, sheet.forward_seconds, sheet.training_seconds),
        both(f"memory at its peak{each}", size, inference.peak, training.peak),
        both("  weights", size, inference.weights, training.weights),
        both("  gradients", size, inference.gradients, training.gradients),
        both(f"  optimizer ({sheet.optimizer})", size, inference.optimizer, training.optimizer),
        both("  activations, at most", size, inference.activations, training.activations),
        both("    of them kept for backward", size, inference.saved, training.saved),
    ]
    if sheet.cache_per_token:
        rows.append(both("cache, when it generates", size, inference.cache, training.cache))
        rows.append(both("  a token of one sample", size, sheet.cache_per_token, 0))
    if sheet.device_memory:
        rows.append(both(f"memory of {'one' if each else 'the'} device", size, *2 * [sheet.device_memory]))
        rows.append(["  taken of it", *[fits(side.peak, sheet.device_memory) for side in (inference, training)]])
    return rows


def band(seconds: Seconds) -> str:
    """The ends of an estimate's band."""
    return f"{duration(seconds.low)} to {duration(seconds.high)}"


def fits(peak: int, memory: float) -> str:
    """How much of a memory a peak takes, or how many of it."""
    share = peak / memory
    return f"{100 * share:.3g} %" if share <= 1 else f"{share:.3g} x: too much"


def by_part(sheet: CostSheet) -> list[list[Any]]:
    """A row for each part, and their sum."""
    whole = (sheet.flops.training if sheet.train else sheet.flops.forward) or 1
    rows: list[list[Any]] = []
    for part in sheet.parts:
        flops = part.training_flops if sheet.train else part.forward_flops
        time = part.training_seconds if sheet.train else part.seconds
        name = part.name + (f"  x{part.count}" if part.count > 1 else "")
        if part.parameters or flops or time or (sheet.train and part.saved):
            rows.append([name, part.parameters, flops, flops, *([part.saved] if sheet.train else []), time])
    waiting = sheet.seconds.estimate - sum(row[-1] for row in rows)
    if sheet.devices > 1 and waiting > 0:
        rows.append(["(waiting for other devices)", 0, 0, 0, *([0] if sheet.train else []), waiting])
    rows.append(["sum", *[sum(row[column] for row in rows) for column in range(1, len(rows[0]))]])

    def share(flops: float) -> str:
        return f"{100 * flops / whole:.1f} %"

    shown = (count, count, share, *([size] if sheet.train else []), duration)
    return [
        [name, *[show(value) if value else NOTHING for show, value in zip(shown, values, strict=True)]]
        for name, *values in rows
    ]


def beside(sheet: CostSheet) -> str:
    """What the uncounted elements are, as a share of the FLOPs."""
    flops = sheet.flops.training if sheet.train else sheet.flops.forward
    share = 100 * sum(item.elements for item in sheet.uncounted) / (flops or 1)
    return f"{share:.2g} %" if share < 1000 else "many times as much"


def uncounted(sheet: CostSheet) -> tuple[list[list[Any]], list[str]]:
    """The operations without a formula: rows of the large ones, the largest first, and the names of the small ones."""
    ordered = sorted(sheet.uncounted, key=lambda item: -item.elements)
    whole = sum(item.elements for item in ordered)
    large = [item for item in ordered if item.elements >= SMALL * whole]
    rows: list[list[Any]] = [[item.name, f"{item.calls:,}", count(item.elements)] for item in large]
    return rows, [item.name for item in ordered[len(large) :]]


def text(found: Sequence[Section], below: Sequence[str]) -> str:
    """Tables as aligned lines, and the notes below them."""
    lines: list[str] = []
    for title, columns, rows in found:
        cells = [columns, *[[str(cell) for cell in row] for row in rows]]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        lines.append(title)
        for line in cells:
            first, *rest = (
                cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            lines.append("  ".join([first, *rest]).rstrip())
        lines.append("")
    return "\n".join([*lines, *[f"- {line}" for line in below]])
