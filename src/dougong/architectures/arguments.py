"""Types of the arguments that configurations hold, checked when a configuration is read."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Len, Lt

Count = Annotated[int, Gt(0), Le(2**31)]
"""A whole number, at least 1; what torch could not number is refused."""

Amount = Annotated[int, Ge(0), Le(10_000)]
"""A whole number, 0 for none."""

Depth = Annotated[int, Gt(0), Le(10_000)]
"""A number of blocks, each of which is an object of its own."""

Counts = Annotated[list[Count], Len(1)]
"""Whole numbers, at least one of them."""

Share = Annotated[float, Ge(0), Lt(1)]
"""A share from 0 to below 1."""

Side = Count | Annotated[list[Count], Len(2, 2)]
"""A size in pixels: one number, or [height, width]."""

Positive = Annotated[float, Gt(0)]
"""A number above 0."""
