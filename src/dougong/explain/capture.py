"""What each attention layer was given and gave in one pass, for its weights to be recomputed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.explanation import Check
from dougong.explain.subject import Grids, Subject
from dougong.figures import many
from dougong.parts.attention import Attention, Memory
from dougong.parts.context import Context

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
REMEDY = "use method=integrated-gradients, which explains every model"


@dataclass(frozen=True, eq=False)
class Layer:
    """One attention layer in one pass.

    Args:
        name: of the module.
        attention: the module.
        x: what it was given, (1, L, D).
        context: what it was given with.
        output: what it gave, (1, L, D).
    """

    name: str
    attention: Attention
    x: Tensor
    context: Context
    output: Tensor

    @property
    @torch.no_grad()
    def grids(self) -> Grids | None:
        """Where in a picture its queries and keys lie; None where they lie on no grid."""
        if self.context.grid is None:
            return None
        reading = None if self.attention.source is None else self.attention.source(self.x, self.context)
        if reading is None or reading.grid is None:
            return Grids(self.context.grid, self.context.grid)
        return Grids(self.context.grid, reading.grid, reading.stride)

    @torch.no_grad()
    def weights(self, heads: Sequence[int] | None = None, rows: Sequence[int] | None = None) -> Tensor:
        """(h, l, S) of the heads and rows wanted; all by default."""
        return self.attention.weights(self.x, self.context, heads, rows)[0]

    @torch.no_grad()
    def error(self, weights: Tensor, rows: Sequence[int] | None = None) -> float:
        """How far weights (H, l, S) times values are from the real output, as a share of its largest entry."""
        mixed = self.attention.mix(weights[None], self.x, self.context)
        real = self.output if rows is None else self.output[:, list(rows)]
        return float((mixed - real).abs().max() / real.abs().max().clamp_min(torch.finfo(real.dtype).tiny))


def capture(subject: Subject, method: str) -> list[Layer]:
    """Every self-attention layer of the model in one pass over the input, in the order in which they run; of a subject
    with a memory every layer that reads it.

    Raises:
        UserError: the model has none.
    """
    found = {module: name for name, module in subject.model.named_modules() if isinstance(module, Attention)}
    # of the backbone: a head's own attention reads more than the input
    crosses = bool(subject.cross)
    found = {
        module: name
        for module, name in found.items()
        if isinstance(module.source, Memory) == crosses and not name.startswith("head.")
    }
    if not found:
        family = getattr(subject.model, "config", {}).get("architecture") or type(subject.model).__name__
        raise UserError(f"method={method}", f"{family} has no attention to show", REMEDY)
    given: dict[nn.Module, tuple[Tensor, Context]] = {}
    layers: list[Layer] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else kwargs["x"]
        context = args[1] if len(args) > 1 else kwargs.get("context") or Context()
        given[module] = (x.detach(), context)

    def after(module: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(module, Attention)
        x, context = given[module]
        layers.append(Layer(found[module], module, x, context, output.detach()))

    handles = [module.register_forward_pre_hook(before, with_kwargs=True) for module in found]
    handles += [module.register_forward_hook(after) for module in found]
    try:
        with torch.no_grad():
            subject.logits(subject.points)
    finally:
        for handle in handles:
            handle.remove()
    return layers


def stages(layers: Sequence[Layer]) -> list[int]:
    """Of each layer the number, from 0, of its stage: those that follow one another on one grid are of one."""
    found = [0]
    for before, layer in itertools.pairwise(layers):
        found.append(found[-1] + (layer.context.grid != before.context.grid))
    return found


def reproduction(errors: Sequence[float], dtype: torch.dtype, count: str) -> Check:
    """The check that weights shown are those that the fused kernel used."""
    worst, limit = max(errors), TOLERANCE.get(dtype, 1e-5)
    passed = worst <= limit
    verdict = "they are the weights the model really used" if passed else "they are NOT what the model really used"
    meaning = (
        f"The weights times the values were compared with what {count} really gave: they differ by {worst:.1e} of "
        f"the largest entry, so {verdict}. Passes up to {limit:.0e}, the rounding error of {str(dtype)[6:]}."
    )
    return Check(worst, meaning, passed)


def choose(wanted: Sequence[int] | None, count: int, option: str, noun: str) -> list[int]:
    """Checked numbers below ``count``, negative ones counted from the end; all when none are named.

    Raises:
        UserError: a number that is out of range.
    """
    if wanted is None:
        return list(range(count))
    for number in wanted:
        if not -count <= number < count:
            raise UserError(f"{option}={number}", f"the model has {many(count, noun)}", f"choose from 0 to {count - 1}")
    return [number % count for number in wanted]
