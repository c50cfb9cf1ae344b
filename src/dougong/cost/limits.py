"""What this machine can do at best: bytes read from memory and products of matrices in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dougong.cost import probe
from dougong.errors import UserError
from dougong.machine import cache_folder, remember, remembered

VERSION = 1  # of what is measured; what another version kept is measured anew

READ = 2**27  # float32 numbers of the text that is read, 512 MiB: more than any cache holds
SIDES = (512, 1024, 2048, 4096)  # of the matrices; no larger ones than a moment allows
MOMENT = 0.3  # seconds for which each kernel is tried
PRECISIONS = ("float32", "bf16", "int8")


@dataclass(frozen=True)
class Limit:
    """One limit of a machine.

    Args:
        name: for people, as "matrix product, bf16".
        kind: "memory" or "matrix".
        precision: of the matrices; "" for memory.
        threads: that worked; 0 on a GPU.
        kernel: that was fastest; "" where there is none.
        rate: bytes or FLOPs a second; None where this machine or this torch has no kernel for it.
        load: processes for each core while it was measured; a busy machine shows less than it can do.
    """

    name: str
    kind: str
    precision: str
    threads: int
    kernel: str
    rate: float | None
    load: float


@dataclass(frozen=True)
class Limits:
    """All limits of one device.

    Args:
        machine: its name.
        device: "cpu" or "cuda".
        rows: limit by limit.
    """

    machine: str
    device: str
    rows: tuple[Limit, ...]

    @property
    def bandwidth(self) -> float:
        """Bytes a second that all threads together read from memory."""
        return max((row.rate or 0.0 for row in self.rows if row.kind == "memory"), default=0.0)

    def matrix(self, precision: str) -> float:
        """FLOPs a second of the fastest kernel of a precision; 0 where there is none."""
        rates = [row.rate or 0.0 for row in self.rows if (row.kind, row.precision) == ("matrix", precision)]
        return max(rates, default=0.0)

    @property
    def busy(self) -> bool:
        """Whether any of them was measured while the machine had other work."""
        return any(row.load > probe.BUSY for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        rows = [asdict(row) for row in self.rows]
        return {"machine": self.machine, "device": self.device, "busy": self.busy, "limits": rows}


def limits(device: str = "auto", *, again: bool = False, show: Callable[[str], None] | None = None) -> Limits:
    """The limits of this machine: from the cache, or measured in some seconds and then kept, one by one.

    A limit that was measured while the machine was busy is measured again when it is calmer.

    Args:
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        again: measure even what is known.
        show: called with the name of each limit when it is known.

    Raises:
        UserError: an unknown device, or "cuda" where there is none.
    """
    device = device_here(device)
    path = cache_folder() / "limits.json"
    found = []
    for name, measure in _measurements(device).items():
        key, load = probe.key_of(VERSION, device, name), probe.load_of_cores()
        known = remembered(path)
        row = _kept(known.get(key))
        if again or row is None or probe.calmer(load, row.load):
            row = measure(name, load)
            # read again: another process may have written meanwhile
            remember(path, {**remembered(path), key: asdict(row)})
        found.append(row)
        if show is not None:
            show(name)
    return Limits(probe.machine(device), device, tuple(found))


def device_here(device: str) -> str:
    """ "auto" as "cuda" or "cpu".

    Raises:
        UserError: an unknown device, or "cuda" where there is none.
    """
    there = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda"):
        raise UserError("device", f"{device!r} is not measured", "say auto, cpu or cuda")
    if device == "cuda" and not there:
        raise UserError("device", "this machine has no GPU that torch can use", "use cpu, or leave --device out")
    return ("cuda" if there else "cpu") if device == "auto" else device


def count(device: str = "auto") -> int:
    """How many limits `limits` gives."""
    return len(_measurements(device_here(device)))


def _kept(row: Any) -> Limit | None:
    try:
        return Limit(**row)
    except TypeError:
        return None


Measurement = Callable[[str, float], Limit]


def _measurements(device: str) -> dict[str, Measurement]:
    """What is measured, by its name."""
    if device == "cuda":
        found: dict[str, Measurement] = {"memory, read": partial(_memory, device, 0)}
    else:
        threads = torch.get_num_threads()
        found = {"memory, read by 1 thread": partial(_memory, device, 1)}
        if threads > 1:
            found[f"memory, read by {threads} threads"] = partial(_memory, device, threads)
    for precision in PRECISIONS:
        for kernel in _kernels(device, precision):
            found[f"matrix product, {precision}, {kernel}"] = partial(_matrix, device, precision, kernel)
    return found


def _memory(device: str, threads: int, name: str, load: float) -> Limit:
    """The fastest of a few kernels that read every byte once and write next to nothing."""
    elements = READ
    while 4.0 * elements > probe.memory_of(device) / 8 > 4 * 2**20:
        elements //= 2
    text = torch.ones(elements, device=device)
    rows, one = text.view(-1, 1024), torch.ones(1024, device=device)
    kernels: dict[str, Callable[[], Any]] = {
        "sum": text.sum,
        "largest": text.amax,
        "dot": partial(torch.dot, text, text),
        "matrix by vector": partial(torch.mv, rows, one),
    }
    with torch.inference_mode(), _threads(threads):
        rates = {kernel: text.nbytes / probe.best(run, device, MOMENT) for kernel, run in kernels.items()}
    kernel = max(rates, key=lambda each: rates[each])
    return Limit(name, "memory", "", threads, kernel, rates[kernel], load)


def _kernels(device: str, precision: str) -> dict[str, Callable[[Tensor, Tensor], Any]]:
    """Products of two square matrices."""
    if precision == "int8":
        return {"torch": lambda a, b: torch._int_mm(a, b.t())}  # b.t(), as a GPU wants its columns together
    if precision == "float32" and device == "cpu" and torch.backends.mkldnn.is_available():
        return {
            "torch": torch.matmul,
            "oneDNN": lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
        }
    return {"torch": torch.matmul}


def _matrix(device: str, precision: str, kernel: str, name: str, load: float) -> Limit:
    """The best rate of squares of growing size."""
    multiply = _kernels(device, precision)[kernel]
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}[precision]
    rate = 0.0
    with torch.inference_mode():
        for side in SIDES if device == "cpu" else (*SIDES, 8192):
            flops = 2.0 * side**3
            if rate and flops > probe.LONG * rate:
                break
            a, b = ((torch.rand(side, side, device=device) * 8).to(dtype) for _ in range(2))
            try:
                rate = max(rate, flops / probe.best(partial(multiply, a, b), device, MOMENT))
            except (RuntimeError, NotImplementedError, AttributeError):
                break
    threads = torch.get_num_threads() if device == "cpu" else 0
    return Limit(name, "matrix", precision, threads, kernel if rate else "", rate or None, load)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for torch's operations; 0 leaves them."""
    before = torch.get_num_threads()
    try:
        if count:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
