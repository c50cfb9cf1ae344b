"""Where each sequence of a batch ends: padding is stripped once and restored once.

A padded batch ``(B, L, ...)`` becomes a packed one ``(T, ...)`` that holds the real tokens only, sequence after
sequence, the longest sequence first. Sequences of equal length then lie side by side, so that attention runs on
each such group as a plain dense batch, and a recurrent network can read the batch step by step with no padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Segments:
    """The layout of a packed batch of T real tokens from a padded batch (B, L).

    Args:
        lengths: tokens of each sequence, in packed order: longest first.
        order: (B,) the row of the padded batch that each packed sequence came from.
        source: (T,) the place of each packed token in the flattened padded batch (B * L).
        length: L, the padded length.
    """

    lengths: tuple[int, ...]
    order: Tensor
    source: Tensor
    length: int

    @classmethod
    def of(cls, lengths: Tensor, length: int) -> Segments | None:
        """The layout for sequences of ``lengths`` (B,) padded to ``length``; None when nothing is padded.

        Raises:
            ValueError: a length is below 1 or above ``length``.
        """
        counts = check_lengths(lengths, length)
        if min(counts) == length:
            return None
        order = sorted(range(len(counts)), key=lambda row: -counts[row])
        rows = torch.tensor(order, device=lengths.device)
        sorted_lengths = tuple(counts[row] for row in order)
        real = torch.arange(length, device=lengths.device) < lengths.to(torch.long)[rows, None]
        source = (rows[:, None] * length + torch.arange(length, device=lengths.device))[real]
        return cls(sorted_lengths, rows, source, length)

    @property
    def batch(self) -> int:
        """B, the number of sequences."""
        return len(self.lengths)

    @cached_property
    def index(self) -> Tensor:
        """(T,) the position of each token within its own sequence, from 0."""
        return self.source % self.length

    @cached_property
    def groups(self) -> tuple[tuple[int, int, int], ...]:
        """Runs of sequences of equal length, as (first token, sequences, length)."""
        found: list[tuple[int, int, int]] = []
        start = 0
        for size in sorted(set(self.lengths), reverse=True):
            count = self.lengths.count(size)
            found.append((start, count, size))
            start += count * size
        return tuple(found)

    @cached_property
    def padded_lengths(self) -> Tensor:
        """(B,) the length of each row of the padded batch, in its own order."""
        lengths = torch.tensor(self.lengths, device=self.order.device)
        return torch.empty_like(lengths).index_copy_(0, self.order, lengths)

    @cached_property
    def ends(self) -> Tensor:
        """(B,) the last token of each packed sequence."""
        return torch.tensor(self.lengths, device=self.order.device).cumsum(0) - 1

    @cached_property
    def begins(self) -> Tensor:
        """(B,) the first token of each packed sequence."""
        return self.ends + 1 - torch.tensor(self.lengths, device=self.order.device)

    @cached_property
    def time_major(self) -> Tensor:
        """(T,) the packed tokens in the order of torch's PackedSequence: all first tokens, all second ones, ..."""
        starts = torch.tensor([0, *self.lengths[:-1]], device=self.source.device).cumsum(0)
        lengths = torch.tensor(self.lengths, device=self.source.device)
        steps = torch.arange(self.lengths[0], device=self.source.device)
        return (starts + steps[:, None])[steps[:, None] < lengths]

    @cached_property
    def steps(self) -> Tensor:
        """(longest,) how many sequences still run at each step; on the CPU, as PackedSequence wants it."""
        lengths = torch.tensor(self.lengths)
        return (lengths > torch.arange(self.lengths[0])[:, None]).sum(1)

    def strip(self, x: Tensor) -> Tensor:
        """(B, L, ...) to (T, ...): drop the padding."""
        return x.flatten(0, 1).index_select(0, self.source)

    @cached_property
    def starts(self) -> Tensor:
        """(B,) the column in which each row begins when all of them end in the last one."""
        return self.length - self.padded_lengths

    def restore(self, x: Tensor, at_end: bool = False) -> Tensor:
        """(T, ...) to (B, L, ...): put the tokens back, zeros where padding was.

        Args:
            x: packed.
            at_end: rows end in the last column instead of beginning in the first.
        """
        place = self.source + self.starts[self.source // self.length] if at_end else self.source
        flat = x.new_zeros((self.batch * self.length, *x.shape[1:]))
        return flat.index_copy(0, place, x).unflatten(0, (self.batch, self.length))


def check_lengths(lengths: Tensor, length: int) -> list[int]:
    """The lengths (B,) as numbers.

    Raises:
        ValueError: not one whole number a sequence, or one below 1 or above ``length``.
    """
    if lengths.dim() != 1 or lengths.is_floating_point():
        raise ValueError(f"lengths must be whole numbers of shape (B,), not {lengths.dtype} {tuple(lengths.shape)}")
    counts = [int(count) for count in lengths.tolist()]
    if min(counts) < 1 or max(counts) > length:
        raise ValueError(f"lengths must lie in 1..{length}, found {min(counts)} to {max(counts)}")
    return counts


def real_tokens(lengths: Tensor, length: int) -> Tensor:
    """(B, length, 1), True at the real tokens of sequences of ``lengths`` (B,)."""
    return (torch.arange(length, device=lengths.device) < lengths[:, None])[..., None]
