"""LoRA: a finished model rewritten so that small matrices beside its linear layers learn, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dougong.errors import UserError

WHERE = "lora"
TARGETS = ("query", "value")
"""What Hu et al. adapt in most of their experiments (section 5.1)."""


class Adapted(nn.Linear):
    """A linear layer with a low-rank matrix beside it: W x + b + s U D x (Hu et al. 2022, section 4.1).

    It holds the very weight and bias of the layer that it replaces, under their names, frozen.

    Args:
        base: the layer.
        rank: r, rows of D (r, in) and columns of U (out, r).
        alpha: s is alpha / rank.
        dropout: of what D reads, in training.
        generator: of D's first values; U begins at zero, so that nothing changes at first.
    """

    def __init__(
        self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        kept = base.weight.dtype
        dtype = torch.float32 if kept in (torch.float16, torch.bfloat16) else kept  # steps are lost in half precision
        first = torch.empty(rank, base.in_features)
        nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
        self.lora_down = nn.Parameter(first.to(base.weight.device, dtype))
        self.lora_up = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device, dtype=dtype))
        self.lora_dropout = nn.Dropout(dropout)
        self.scale, self.merged = alpha / rank, False
        self.train(base.training)

    @property
    def rank(self) -> int:
        """r."""
        return self.lora_down.shape[0]

    def delta(self) -> Tensor:
        """s U D, (out, in), in the precision of the weight."""
        return (self.scale * self.lora_up @ self.lora_down).to(self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        y = F.linear(x, self.weight, self.bias)
        if self.merged:
            return y
        low = F.linear(self.lora_dropout(x).to(self.lora_down.dtype), self.lora_down)
        return y + (self.scale * F.linear(low, self.lora_up)).to(y.dtype)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the matrix to the weight: the layer is as quick as it was. Done already, it does nothing."""
        if not self.merged:
            self.weight += self.delta()
            self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the matrix out of the weight again, which is what it was but for rounding."""
        if self.merged:
            self.weight -= self.delta()
            self.merged = False

    def extra_repr(self) -> str:
        """As shown by print."""
        return f"{super().extra_repr()}, rank={self.rank}, scale={self.scale:g}"


@dataclass(frozen=True)
class Lora:
    """How a model was adapted; it stands in ``model.lora``.

    Args:
        rank: r.
        alpha: the matrices are scaled by alpha / r.
        dropout: of what they read.
        targets: names of the linear layers that are adapted.
        also: names of parts that are trained whole.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = TARGETS
    also: tuple[str, ...] = ()


def apply(
    model: nn.Module,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: Sequence[str] | str = TARGETS,
    also: Sequence[str] = (),
    seed: int = 0,
) -> list[str]:
    """Put an `Adapted` in the place of each linear layer that is a target; only these and ``also`` learn from then on.

    The model computes what it did until it is trained.

    Args:
        model: changed in place.
        rank: of the matrices.
        alpha: their scale times the rank; twice the rank by default.
        dropout: of what they read.
        targets: ends of the names of linear layers, as "query" or "blocks.0.attention.body.output"; "all" for every
            one in the body.
        also: parts that are trained whole, as "head" where it is new.
        seed: of the first values.

    Returns:
        The names of the adapted layers.

    Raises:
        UserError: a rank below 1, a share outside 0..1, a target or part that is not in the model, or a model that was
            adapted already.
    """
    if getattr(model, "lora", None) is not None:
        raise UserError(WHERE, "the model is adapted already", "fold the first adapters before adding others")
    if rank < 1 or not 0 <= dropout < 1:
        raise UserError(WHERE, f"rank {rank}, dropout {dropout}", "ask for a rank from 1 on, a dropout from 0 below 1")
    wanted = (targets,) if isinstance(targets, str) else tuple(targets)
    linear = {name for name, part in model.named_modules(remove_duplicate=False) if type(part) is nn.Linear}
    found: set[str] = set()
    for target in wanted:
        hit = {
            name
            for name in linear
            if (target == "all" and name.startswith("body.")) or name == target or name.endswith(f".{target}")
        }
        if not hit:
            ends = sorted({name.rpartition(".")[2] for name in linear})
            raise UserError(f"{WHERE} targets", f"{target!r} is no linear layer", f"take some of {', '.join(ends)}")
        found |= hit
    names = sorted(found)
    alpha = 2.0 * rank if alpha is None else float(alpha)
    generator = torch.Generator().manual_seed(seed)
    freeze(model, also)
    made: dict[int, Adapted] = {}
    for name in names:
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear)
        if id(base) not in made:
            made[id(base)] = Adapted(base, rank, alpha, dropout, generator)
        put(model, name, made[id(base)])
    model.lora = Lora(rank, alpha, dropout, wanted, tuple(also))  # type: ignore[assignment]
    return names


def freeze(model: nn.Module, also: Sequence[str] = ()) -> None:
    """Let nothing learn but the parts named.

    Raises:
        UserError: the model has no such part.
    """
    for part in also:
        if not any(name == part or name.startswith(f"{part}.") for name, _ in model.named_parameters()):
            raise UserError(f"{WHERE} also", f"the model has no {part!r} that could learn", "name a part, as head")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(name == part or name.startswith(f"{part}.") for part in also))


def put(model: nn.Module, name: str, part: nn.Module) -> None:
    """A module in the place that a name says."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, leaf, part)


def adapted(model: nn.Module) -> Iterator[tuple[str, Adapted]]:
    """The adapted layers and their names."""
    for name, part in model.named_modules():
        if isinstance(part, Adapted):
            yield name, part


def merge(model: nn.Module) -> None:
    """Add every low-rank matrix to its weight, for inference; `unmerge` undoes it."""
    for _, part in adapted(model):
        part.merge()


def unmerge(model: nn.Module) -> None:
    """Take them out again; weights are what they were but for rounding."""
    for _, part in adapted(model):
        part.unmerge()


def fold(model: nn.Module) -> None:
    """Merge for good: plain linear layers take their old places, and the model is saved and opened like any other."""
    for name, part in list(model.named_modules(remove_duplicate=False)):
        if isinstance(part, Adapted):
            part.merge()
            plain = nn.Linear(part.in_features, part.out_features, part.bias is not None, device="meta")
            plain.weight, plain.bias = part.weight, part.bias
            plain.train(part.training)
            put(model, name, plain)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.lora = None  # type: ignore[assignment]
