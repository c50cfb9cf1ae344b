"""Numbers as people read them: counts, bytes, seconds, shares."""

from __future__ import annotations

import math

__all__ = ["are", "count", "duration", "many", "number", "percent", "size"]


def number(value: float) -> str:
    """A float with four significant digits: 0.9713, 12.35, 1.2e-05.

    >>> number(0.97134), number(12345.6), number(0.0)
    ('0.9713', '1.235e+04', '0')
    """
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share as per cent: 0.9713 is "97.13 %"."""
    return f"{100 * share:.2f} %"


def many(n: int, one: str, several: str | None = None) -> str:
    """A number and what it is of, in the singular where it is one.

    Args:
        n: how many.
        one: "error", or with more words, "row is left out".
        several: "rows are left out"; the plural of one word when None.

    >>> many(0, "error"), many(1, "error"), many(2000, "class")
    ('no errors', '1 error', '2,000 classes')
    >>> many(1, "row is left out", "rows are left out")
    '1 row is left out'
    """
    if several is None:
        several = f"{one}es" if one.endswith(("s", "x", "ch")) else f"{one}s"
    return f"no {several}" if n == 0 else f"{n:,} {one if n == 1 else several}"


def are(n: int) -> str:
    """The verb of so many: "is" of one."""
    return "is" if n == 1 else "are"


def count(value: float) -> str:
    """A count with a unit: 86567656 is "86.6 M", 1.2e15 is "1.2 P" (powers of 1000)."""
    return _scaled(value, 1000, ["", "k", "M", "G", "T", "P", "E", "Z"])


def parameters(value: float) -> str:
    """A number of parameters as the field writes it: "124 M", "175 B"."""
    return _scaled(value, 1000, ["", "k", "M", "B", "T"])


def size(n_bytes: float) -> str:
    """Bytes with a unit, in powers of 1024: "1.5 GiB"."""
    return _scaled(n_bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"])


def duration(seconds: float) -> str:
    """Seconds as "0.4 ms", "12.3 s", "4 min 05 s" or "2 h 10 min"."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _scaled(value: float, base: int, units: list[str]) -> str:
    if not math.isfinite(value):
        return str(value)
    power = 0
    while abs(value) >= 0.9995 * base and power < len(units) - 1:  # 999.6 would be rounded up to 1000
        value, power = value / base, power + 1
    text = f"{value:.0f}" if power == 0 and float(value).is_integer() else f"{value:.3g}"
    if "e" in text:  # 1000 of 1024, or beyond the last unit
        text = f"{value:.0f}"
    return f"{text} {units[power]}".rstrip()
