"""``dougong.bench``: limits first, then workloads, each kept as soon as it is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dougong.bench.choosing import chosen
from dougong.bench.workloads import PRECISIONS, Row
from dougong.cost.limits import Limits, count, device_here, limits
from dougong.errors import UserError, unknown
from dougong.figures import count as counted
from dougong.figures import number
from dougong.runtime.kernels import timed_kernels


@dataclass
class Bench:
    """What `bench` gives.

    Args:
        limits: of this machine; None where it was interrupted before they were known.
        rows: workload by workload.
        notes: what was left out, and why.
        interrupted: True when it was stopped before the end; what was measured until then is here.
        kernels: seconds of each kernel for the products of matrices for which one was chosen on this machine.
    """

    limits: Limits | None = None
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    kernels: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        held = self.limits.to_dict() if self.limits is not None else {"limits": []}
        rows = [asdict(row) for row in self.rows]
        return {**held, "workloads": rows, "kernels": self.kernels, "notes": self.notes,
                "interrupted": self.interrupted}  # fmt: skip

    def sections(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """The figures as tables: (title, columns, rows of cells)."""
        found: list[tuple[str, list[str], list[list[Any]]]] = []
        if self.limits is not None:
            rows: list[list[Any]] = []
            for limit in self.limits.rows:
                unit = "B/s" if limit.kind == "memory" else "FLOP/s"
                rate = "no kernel here" if limit.rate is None else counted(limit.rate) + unit
                rows.append([limit.name, rate, limit.kernel if limit.kind == "memory" else ""])
            found.append((f"limits of {self.limits.machine}", ["limit", "a second", "fastest by"], rows))
        if self.rows:
            table: list[list[Any]] = [
                [
                    row.workload, row.model, row.precision, f"{number(row.rate)} {row.unit}",
                    f"{number(row.low)} to {number(row.high)}", row.bound,
                    None if row.share is None else f"{100 * row.share:.0f} %",
                ]
                for row in self.rows
            ]  # fmt: skip
            columns = ["workload", "model", "precision", "a second", "rounds", "bound by", "of the limit"]
            found.append(("workloads", columns, table))
        if self.kernels:
            names = list(dict.fromkeys(name for seconds in self.kernels.values() for name in seconds))
            cells: list[list[Any]] = [
                [what, *(f"{1000 * seconds[name]:.3g} ms" if name in seconds else "" for name in names),
                 min(seconds, key=lambda name: seconds[name])]
                for what, seconds in self.kernels.items()
            ]  # fmt: skip
            found.append(("kernels that were timed to choose one", ["product", *names, "quickest"], cells))
        return found


def bench(
    model: str | dict[str, Any] | None = None,
    precision: str | Sequence[str] = ("float32", "bf16"),
    *,
    device: str = "auto",
    workloads: bool = True,
    again: bool = False,
    name: str | None = None,
    show: Callable[[str], None] | None = None,
) -> Bench:
    """This machine's limits, and what models reach of them. Weights are random: speed does not depend on them.

    Writing is held against reading its weights, keys and values once for each token at the measured bandwidth; reading
    and training against the FLOPs of the cost sheet at the measured rate of matrix products.

    Args:
        model: a size or a configuration; by default a Llama of 125M parameters that reads and writes, BERT-base that
            reads, and small GPT-2s that are trained.
        precision: one or several of "float32", "bf16", "int8" and "int4"; the last two only where texts are written.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        workloads: False for the limits alone.
        again: measure limits anew that are known already.
        name: of the model, in the report.
        show: called with the name of each thing that was measured; `steps` says how many there are.

    Returns:
        What was measured. Ctrl-C ends it early, and what was measured until then is given, ``interrupted``.

    Raises:
        UserError: an unknown model, precision or device, or a model that does not fit into memory.

    >>> dg.bench("gpt2-small", precision="bf16").rows[0].share  # doctest: +SKIP
    """
    device = device_here(device)
    precisions = _precisions(precision)
    todo = chosen(model, device, name) if workloads else []
    if model is not None:  # before anything is measured
        for each in todo:
            for one in filter(each.takes, precisions):
                each.check(one, device)
    say = show or (lambda _: None)
    found = Bench()
    try:
        found.limits = limits(device, again=again, show=say)
        for each in todo:
            for one in filter(each.takes, precisions):
                try:
                    found.rows.append(each.measure(one, found.limits))
                except UserError as error:
                    found.notes.append(f"{each.model}, {each.label}, {one}: left out: {error}")
                say(f"{each.model}, {each.label}, {one}")
    except KeyboardInterrupt:
        found.interrupted = True
    found.kernels = timed_kernels() if device == "cpu" else {}
    if found.limits is not None and found.limits.busy:
        found.notes.append("the machine had other work while limits were measured: --again when it is calm")
    if device == "cpu":
        found.notes.append("no GPU was measured" + ("" if _gpu() else ": this machine has none that torch can use"))
    return found


def steps(
    model: str | dict[str, Any] | None, precision: str | Sequence[str], device: str, workloads: bool = True
) -> int:
    """How many things `bench` measures.

    Raises:
        UserError: as `bench`.
    """
    device = device_here(device)
    todo = chosen(model, device, None) if workloads else []
    return count(device) + sum(each.takes(one) for each in todo for one in _precisions(precision))


def _precisions(given: str | Sequence[str]) -> list[str]:
    names = [given] if isinstance(given, str) else list(given)
    for one in names:
        if one not in PRECISIONS:
            raise unknown("precision", "precision", one, PRECISIONS)
    return list(dict.fromkeys(names))


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
