"""Masks: small frozen values that say which keys a query MAY attend to, and that compose with ``&``.

A mask holds no (L, S) table. Attention asks it for kernel arguments when the lengths are known, so that the fused
causal path is taken whenever nothing else restricts the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """Every query may attend to every key. The kinds below restrict this; ``a & b`` allows what both allow.

    Queries are the ``length`` last of the ``offset + length`` tokens seen so far: with a cache, ``offset`` tokens came
    before them.
    """

    def __and__(self, other: Mask) -> Mask:
        parts = tuple(dict.fromkeys(self.parts() + other.parts()))  # said twice is said once
        return parts[0] if len(parts) == 1 else Both(parts) if parts else OPEN

    def parts(self) -> tuple[Mask, ...]:
        """The restrictions that this mask is made of."""
        return () if type(self) is Mask else (self,)

    def is_open(self, length: int, keys: int, offset: int) -> bool:
        """Whether it restricts nothing for these lengths, known without looking at a tensor."""
        return type(self) is Mask

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        """True where query position (L, 1) may attend to key position (1, S): (L, S), or (B, 1, L, S)."""
        return torch.ones(torch.broadcast_shapes(query.shape, key.shape), dtype=torch.bool, device=query.device)

    def dense(self, length: int, keys: int, offset: int = 0, device: torch.device | str | None = None) -> Tensor:
        """The whole table, (L, S) or (B, 1, L, S), True where a query may attend."""
        query = torch.arange(offset, offset + length, device=device)[:, None]
        return self.allowed(query, torch.arange(keys, device=device)[None, :])


@dataclass(frozen=True)
class Causal(Mask):
    """A query attends to itself and to what came before it (Vaswani et al. 2017, section 3.2.3)."""

    def is_open(self, length: int, keys: int, offset: int) -> bool:
        return length == 1 and keys == offset + 1  # the newest token may see all that is there

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        return key <= query


@dataclass(frozen=True)
class Window(Mask):
    """A query attends to at most ``before`` tokens before it and ``after`` tokens after it, and to itself.

    Local attention of Longformer (Beltagy et al. 2020, section 3.1); with ``Causal()`` the sliding window of Mistral.
    """

    before: int
    after: int

    def is_open(self, length: int, keys: int, offset: int) -> bool:
        if torch.compiler.is_exporting():  # the program will read longer sequences than the one it is made with
            return False
        return offset + length - 1 <= self.before and keys - 1 - offset <= self.after

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        return (query - key <= self.before) & (key - query <= self.after)


@dataclass(frozen=True, eq=False)
class Given(Mask):
    """A restriction that a tensor holds: equal to another of its kind that holds the very same tensor.

    So layers that each make their own of one tensor share one table, and two tensors are never taken for one another.
    """

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(a is b for a, b in zip(self._held(), other._held(), strict=True))

    def __hash__(self) -> int:
        return hash((type(self), *map(id, self._held())))

    def _held(self) -> tuple[object, ...]:
        return tuple(vars(self).values())


@dataclass(frozen=True, eq=False)
class Padding(Given):
    """Keys from ``lengths[b]`` on are padding. Args: lengths: (B,)."""

    lengths: Tensor

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        return (key < self.lengths.to(key.device)[:, None, None, None]).expand(-1, 1, query.shape[-2], -1)


@dataclass(frozen=True, eq=False)
class Begun(Given):
    """Row b has no keys before column ``starts[b]``. Args: starts: (B,)."""

    starts: Tensor

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        return (key >= self.starts[:, None, None, None]).expand(-1, 1, query.shape[-2], -1)


@dataclass(frozen=True, eq=False)
class SameSegment(Given):
    """Several documents share a row and may not see each other. Args: ids: (B, S), one number a document."""

    ids: Tensor

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        return (self.ids[:, query] == self.ids[:, key])[:, None]


@dataclass(frozen=True, eq=False)
class Explicit(Given):
    """A given table, True where a query may attend.

    Args:
        table: bool (L, S), (B, L, S) or (B, 1 or H, L, S); an L of 1 holds for every query.
    """

    table: Tensor

    def __post_init__(self) -> None:
        if self.table.dtype != torch.bool or self.table.dim() not in (2, 3, 4):
            raise ValueError(
                f"a mask must be bool of shape (L, S), (B, L, S) or (B, H, L, S), True where a query may attend; "
                f"got {self.table.dtype} {tuple(self.table.shape)}"
            )

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        table = self.table[:, None] if self.table.dim() == 3 else self.table
        return table[..., query if table.shape[-2] > 1 else torch.zeros_like(query), key]


@dataclass(frozen=True)
class Both(Mask):
    """What all of several masks allow; made by ``&``."""

    masks: tuple[Mask, ...]

    def parts(self) -> tuple[Mask, ...]:
        return self.masks

    def is_open(self, length: int, keys: int, offset: int) -> bool:
        return all(mask.is_open(length, keys, offset) for mask in self.masks)

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        table = self.masks[0].allowed(query, key)
        for mask in self.masks[1:]:
            table = table & mask.allowed(query, key)
        return table


OPEN = Mask()


def has_table(mask: Mask) -> bool:
    """Whether the mask depends on a given tensor, so that tokens must stay where they are."""
    return any(isinstance(part, Given) for part in mask.parts())


def reach(mask: Mask) -> int | None:
    """How many tokens before itself a query sees at most; None when nothing bounds that."""
    if has_table(mask):
        return None  # a table counts keys from the first one, so none may be forgotten
    return min((part.before for part in mask.parts() if isinstance(part, Window)), default=None)


def looks_ahead(mask: Mask) -> bool:
    """Whether the mask lets queries see keys after them; a given table is taken at its word."""
    kinds = (part.after == 0 if isinstance(part, Window) else isinstance(part, Causal | Given) for part in mask.parts())
    return not any(kinds)
