"""Budgets: how much a training may take, in steps, epochs, seconds or FLOPs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dougong.errors import UserError

Kind = Literal["steps", "epochs", "seconds", "flops"]

UNITS: dict[str, tuple[Kind, float]] = {
    "step": ("steps", 1),
    "steps": ("steps", 1),
    "epoch": ("epochs", 1),
    "epochs": ("epochs", 1),
    "s": ("seconds", 1),
    "sec": ("seconds", 1),
    "second": ("seconds", 1),
    "seconds": ("seconds", 1),
    "min": ("seconds", 60),
    "minute": ("seconds", 60),
    "minutes": ("seconds", 60),
    "h": ("seconds", 3600),
    "hour": ("seconds", 3600),
    "hours": ("seconds", 3600),
    "flop": ("flops", 1),
    "flops": ("flops", 1),
}

REMEDY = "write it as 500steps, 3epochs, 90s, 10min, 2h or 1e15flops"


@dataclass(frozen=True)
class Budget:
    """An amount of one kind.

    Args:
        kind: what is counted.
        amount: how much of it; more than 0.
    """

    kind: Kind
    amount: float

    @classmethod
    def parse(cls, text: str | int | float | Budget) -> Budget:
        """A budget as a user writes it: "10min", "1e15flops", "3epochs", "500steps"; a bare number counts steps.

        Raises:
            UserError: no number, an unknown unit, or nothing to spend.
        """
        if isinstance(text, Budget):
            return text
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*", str(text))
        if isinstance(text, bool) or not match:
            raise UserError(f"budget {text!r}", "is no amount with a unit", REMEDY)
        unit = match[2].lower() or "steps"
        if unit not in UNITS:
            raise UserError(f"budget {text!r}", f"has an unknown unit {match[2]!r}", REMEDY)
        kind, factor = UNITS[unit]
        amount = float(match[1]) * factor
        if amount <= 0:
            raise UserError(f"budget {text!r}", "is nothing to train with", "give more than zero")
        if not math.isfinite(amount):
            raise UserError(f"budget {text!r}", "is no finite amount", REMEDY)
        if kind == "steps" and amount != int(amount):
            raise UserError(f"budget {text!r}", "is no whole number of steps", REMEDY)
        return cls(kind, amount)

    def steps(self, of_epochs: Callable[[float], int], flops_per_step: int) -> int | None:
        """Optimizer steps that it pays for, at least 1; None when only the clock can tell.

        Args:
            of_epochs: gives the steps of so many epochs.
            flops_per_step: FLOPs of one step, forward and backward.

        Raises:
            UserError: FLOPs for less than one step.
        """
        if self.kind == "steps":
            return int(self.amount)
        if self.kind == "epochs":
            return of_epochs(self.amount)
        if self.kind == "flops":
            count = int(self.amount // flops_per_step)
            if count < 1:
                raise UserError(
                    f"budget {self}",
                    f"does not pay for one step of {flops_per_step:.3g} FLOPs",
                    "give more, or train a smaller model",
                )
            return count
        return None

    def __str__(self) -> str:
        amount = f"{self.amount:.10g}"
        return amount + {"seconds": "s"}.get(self.kind, self.kind)
