"""Documents side by side in rows of one length, with what keeps them apart: segments, positions, targets."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dougong.data.tagging import IGNORED

Piece = tuple[int, int, int]
"""Document, its first token, the one after the last."""

PADDING = -1
"""The segment of places that hold nothing."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Documents in R rows of L places.

    Args:
        tokens: (R, L) int64.
        targets: (R, L) the token that follows in the same document; `IGNORED` after its last one and on padding.
        segments: (R, L) the number of the piece within its row, from 0; `PADDING` where nothing is. No token may see
            one of another segment: `dougong.parts.masks.SameSegment`.
        positions: (R, L) from 0 within each piece.
        pieces: of each row, in its order.
    """

    tokens: Tensor
    targets: Tensor
    segments: Tensor
    positions: Tensor
    pieces: tuple[tuple[Piece, ...], ...]

    @property
    def filled(self) -> float:
        """The share of places that hold a token."""
        return float((self.segments != PADDING).double().mean()) if self.segments.numel() else 1.0

    def __len__(self) -> int:
        return len(self.tokens)


def arrange(lengths: Iterable[int], length: int) -> list[list[Piece]]:
    """Which documents share a row: a pure function of their lengths.

    A document longer than a row is cut into whole rows and a rest. Pieces are then placed, longest first, where the
    least room is left that takes them (best fit decreasing), so that none is cut again.

    Args:
        lengths: tokens of each document; empty ones take no place.
        length: places of a row.

    Raises:
        ValueError: a length below 1 for rows, below 0 for documents.
    """
    if length < 1:
        raise ValueError(f"rows of {length} tokens")
    pieces: list[Piece] = []
    for document, size in enumerate(lengths):
        if size < 0:
            raise ValueError(f"document {document} has {size} tokens")
        pieces += [(document, start, min(start + length, size)) for start in range(0, size, length)]
    pieces.sort(key=lambda piece: (piece[1] - piece[2], piece))
    rows: list[list[Piece]] = []
    room: list[tuple[int, int]] = []  # (places left, row), sorted
    for piece in pieces:
        size = piece[2] - piece[1]
        at = bisect.bisect_left(room, (size, -1))
        left, row = room.pop(at) if at < len(room) else (length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(piece)
        if left > size:
            bisect.insort(room, (left - size, row))
    return rows


def pack(documents: Sequence[Sequence[int] | Tensor], length: int, fill: int = 0) -> Packed:
    """Documents in rows; see `arrange`.

    Every token but the first of its document is the target of exactly one place, also where a document was cut; none
    is the target of a place in another document.

    Args:
        documents: ids of each.
        length: places of a row, L.
        fill: the id of padding.

    Raises:
        ValueError: rows of no length.
    """
    ids = [torch.as_tensor(document, dtype=torch.long) for document in documents]
    rows = arrange([len(one) for one in ids], length)
    shape = (len(rows), length)
    tokens, targets = torch.full(shape, fill), torch.full(shape, IGNORED)
    segments, positions = torch.full(shape, PADDING), torch.zeros(shape, dtype=torch.long)
    for row, pieces in enumerate(rows):
        at = 0
        for number, (document, start, stop) in enumerate(pieces):
            size = stop - start
            tokens[row, at : at + size] = ids[document][start:stop]
            following = ids[document][start + 1 : stop + 1]
            targets[row, at : at + len(following)] = following
            segments[row, at : at + size] = number
            positions[row, at : at + size] = torch.arange(size)
            at += size
    return Packed(tokens, targets, segments, positions, tuple(map(tuple, rows)))


def pack_stream(
    documents: Iterable[Sequence[int] | Tensor], length: int, fill: int = 0, hold: int = 1000
) -> Iterator[Packed]:
    """The same for documents that do not fit in memory: ``hold`` of them are packed together, and then the next."""
    source = iter(documents)
    while some := list(itertools.islice(source, hold)):
        packed = pack(some, length, fill)
        if len(packed):
            yield packed
