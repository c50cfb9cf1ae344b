"""Devices: rates from the table, or measured on this machine."""

from __future__ import annotations

import functools
import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from dougong.errors import UserError, unknown

Points = tuple[tuple[float, float], ...]  # (size of one call, rate reached), smallest first

# What well-written code reaches of a GPU's peak, and what it costs to start an operation. These are assumptions.
MATMUL_SHARE, BANDWIDTH_SHARE, START_SECONDS = 0.6, 0.8, 5e-6
TABLED_HIGH = 2.5  # the band ends at this many times the estimate


@dataclass(frozen=True)
class Rates:
    """How fast a device works, by the size of one operation.

    Args:
        name: of the device.
        kind: "cpu" or "cuda", for the kernels that torch would choose.
        matmul, convolution, attention: FLOPs a second by FLOPs of one call.
        bandwidth: bytes a second by bytes of one call, read and written.
        curves: elements a second of exp, tanh and the like; 0 where they keep up with the memory.
        overhead: seconds of starting one operation.
        low, high: factors from the estimate to the ends of its band.
        basis: where all this comes from.
        memory: bytes of the device; 0 where it is not known.
        link: bytes a second that it exchanges with the others.
    """

    name: str
    kind: str
    matmul: Points
    convolution: Points
    attention: Points
    bandwidth: Points
    curves: float
    overhead: float
    low: float
    high: float
    basis: str
    memory: float = 0
    link: float = 0


def at(points: Points, size: float) -> float:
    """The rate for a call of this size: between two measured points by their logarithms, beyond them the nearest."""
    index = bisect_left(points, (size, 0.0))
    if index == 0:
        return points[0][1]
    if index == len(points):
        return points[-1][1]
    (a, low), (b, high) = points[index - 1], points[index]
    share = (log(size) - log(a)) / (log(b) - log(a))
    return exp(log(low) + share * (log(high) - log(low)))


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    """The rows of devices.toml by name."""
    return tomllib.loads((Path(__file__).parent / "devices.toml").read_text(encoding="utf-8"))


def parse(devices: str) -> tuple[int, str]:
    """ "8xh100" as (8, "h100"); "h100" as (1, "h100").

    Raises:
        UserError: neither of these.
    """
    found = re.fullmatch(r"\s*(?:(\d+)\s*x\s*)?([A-Za-z][\w-]*)\s*", devices)
    if not found or found[1] == "0":
        raise UserError("devices", f"{devices!r} names no devices", "write a number, an x and a name: 8xh100")
    return int(found[1] or 1), found[2].lower()


def rates(device: str, precision: str) -> Rates:
    """A device's rates in one precision.

    Args:
        device: a name of devices.toml; "cpu" or "cuda" to measure this machine's; "auto" for the better of them.
        precision: "float32", "bfloat16", "float16" or "float64".

    Raises:
        UserError: an unknown device, or one that does not compute in this precision.
    """
    if device in ("auto", "cpu", "cuda"):
        from dougong.cost.probe import measured

        return measured(device, precision)
    if device not in table():
        raise unknown("device", "device", device, ["auto", "cpu", "cuda", *table()])
    row = table()[device]
    if precision not in row:
        known = [key for key in ("float32", "bfloat16", "float16", "float64") if key in row]
        raise UserError("precision", f"{row['name']} has no rate for {precision}", f"choose {' or '.join(known)}")
    matmul = ((1.0, row[precision] * MATMUL_SHARE),)
    return Rates(
        name=row["name"], kind="cuda", matmul=matmul, convolution=matmul, attention=matmul,
        bandwidth=((1.0, row["bandwidth"] * BANDWIDTH_SHARE),), curves=0.0, overhead=START_SECONDS,
        low=MATMUL_SHARE, high=TABLED_HIGH, memory=row["memory"], link=row["link"],
        basis=f"{row['source']}; assumed: {MATMUL_SHARE:.0%} of the peak rate, {BANDWIDTH_SHARE:.0%} of the bandwidth, "
        f"{1e6 * START_SECONDS:.0f} us an operation; the band goes from the full peak to {TABLED_HIGH} times "
        f"the estimate",
    )  # fmt: skip
