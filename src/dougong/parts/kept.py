"""One layer's keys and values: a buffer that is allocated once, and forgets what a window has left behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Kept:
    """One layer's keys and values: the columns ``0 .. used`` of a buffer of ``room`` columns hold the newest tokens.

    Rows that leave may leave their places in the buffer behind (`settle`), for rows that come later (`admit`).

    Where a layer sees ``reach`` tokens back, older ones are dropped whenever the buffer is full: the last ``reach``
    move to its front. That is one column moved for each one written, and keys stay in their order.
    """

    def __init__(self, key: Tensor, value: Tensor, room: int, reach: int | None) -> None:
        shape = (*key.shape[:2], room)
        self.keys, self.values = key.new_zeros((*shape, key.shape[3])), value.new_zeros((*shape, value.shape[3]))
        self.room, self.reach, self.used = room, reach, 0
        self._places = self.keys, self.values  # of rows that are there, and behind them of rows that were

    @classmethod
    def of(cls, keys: Tensor, values: Tensor, room: int, reach: int | None) -> Kept:
        """A buffer that holds these columns (B, G, S, K), or as many of the newest as its layer looks back to."""
        used = keys.shape[2] if reach is None else min(reach, keys.shape[2])
        made = cls(keys, values, room, reach)
        made._write(0, keys[:, :, keys.shape[2] - used :], values[:, :, values.shape[2] - used :])
        made.used = used
        return made

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cache.extend`."""
        new = key.shape[2]
        if self.reach is not None and min(self.used, self.reach) + new > self.room:
            # a long first text: seen whole, remembered in part
            first = max(0, self.used - self.reach)
            keys = torch.cat((self.keys[:, :, first : self.used], key), 2)
            values = torch.cat((self.values[:, :, first : self.used], value), 2)
            self.used = min(self.reach, keys.shape[2])
            self._write(0, keys[:, :, keys.shape[2] - self.used :], values[:, :, keys.shape[2] - self.used :])
            return keys, values
        self._write(self.make_room(new), key, value)
        self.used += new
        first = 0 if self.reach is None else max(0, self.used - new - self.reach)
        return self.keys[:, :, first : self.used], self.values[:, :, first : self.used]

    def make_room(self, new: int) -> int:
        """Have room for so many more columns, and say where the first of them goes: older ones may move to the front.

        Raises:
            ValueError: there is no room, whatever is forgotten.
        """
        if self.used + new > self.room:
            kept = self.used if self.reach is None else min(self.used, self.reach)
            if kept + new > self.room:
                raise ValueError(f"{new} new tokens do not fit beside {kept} in {self.room} columns")
            first = self.used - kept
            past = self.keys[:, :, first : self.used].clone(), self.values[:, :, first : self.used].clone()
            self.used = kept
            self._write(0, *past)
        return self.used

    def _write(self, place: int, key: Tensor, value: Tensor) -> None:
        self.keys[:, :, place : place + key.shape[2]] = key
        self.values[:, :, place : place + key.shape[2]] = value

    def reorder(self, rows: Tensor, drop: int) -> None:
        """Other rows; the first ``drop`` columns are forgotten."""
        keys, values = self.keys[rows, :, drop : self.used], self.values[rows, :, drop : self.used]
        if len(rows) != len(self.keys):
            self.keys = self.keys.new_zeros((len(rows), *self.keys.shape[1:]))
            self.values = self.values.new_zeros((len(rows), *self.values.shape[1:]))
            self._places = self.keys, self.values
        self.used -= drop
        self._write(0, keys, values)

    def settle(self, moves: list[tuple[int, int]], count: int) -> None:
        """Go on with ``count`` rows, after those of ``moves`` (to, from) were moved; no other row is touched."""
        for place, row in moves:
            for side in (self.keys, self.values):
                side[place, :, : self.used] = side[row, :, : self.used]
        self.keys, self.values = self.keys[:count], self.values[:count]

    def has_place(self, other: Kept, room: int) -> bool:
        """Whether another layer's rows fit behind these, ends aligned, as the buffer is. Args: room: that it needs."""
        seen = other.used if self.reach is None else min(self.reach, other.used)
        return len(self.keys) + len(other.keys) <= len(self._places[0]) and room <= self.room and seen <= self.used

    def admit(self, other: Kept) -> None:
        """Another layer's rows take the places behind these; see `has_place`."""
        begin, end, seen = len(self.keys), len(self.keys) + len(other.keys), min(self.used, other.used)
        for place, new in zip(self._places, (other.keys, other.values), strict=True):
            place[begin:end, :, : self.used - seen] = 0
            place[begin:end, :, self.used - seen : self.used] = new[:, :, other.used - seen : other.used]
        self.keys, self.values = (place[:end] for place in self._places)

    def rewind(self, tokens: int, length: int) -> None:
        """See `Cache.rewind`. Args: tokens: newest columns to forget; length: tokens of the text that is left."""
        used = self.used - tokens
        if used < (length if self.reach is None else min(self.reach, length)):
            raise ValueError(f"{tokens} tokens cannot be taken back: what stood before them is forgotten")
        self.used = used

    def first(self, count: int, length: int) -> tuple[Tensor, Tensor]:
        """The first ``count`` columns of the first row, keys and values (G, length, K) with nothing before them."""
        return aligned(self.keys[0, :, :count], length), aligned(self.values[0, :, :count], length)


def aligned(x: Tensor, length: int) -> Tensor:
    """The last ``length`` columns of (..., S, K), zeros before them where there are fewer."""
    return nn.functional.pad(x[..., max(0, x.shape[-2] - length) :, :], (0, 0, max(0, length - x.shape[-2]), 0))
