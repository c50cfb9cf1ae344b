"""What a decoder remembers between steps, held in buffers that are allocated once."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Cache:
    """Keys and values of every attention layer, and the state of every recurrence, for one batch of sequences.

    A layer finds its own entry by itself, so nobody counts layers. A buffer is made when a layer first writes, with
    that layer's heads, type and device; from then on its shape never changes. A layer that looks back over a window
    only has a buffer of twice that window, however long the text grows.

    Sequences of different lengths end in the same column: ``starts`` says in which column each one begins.

    Args:
        max_length: tokens that fit.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self.starts: Tensor | None = None  # (B,), None when all begin in column 0
        self.memory_lengths: Tensor | None = None  # (B,) real tokens of what cross-attention reads, None when all are
        self._layers: dict[nn.Module, Kept] = {}
        self._memory: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._states: dict[nn.Module, tuple[Tensor, ...]] = {}

    def extend(self, layer: nn.Module, key: Tensor, value: Tensor, reach: int | None = None) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, G, L, K), and give those that the new tokens may look back to, (B, G, S, K).

        Args:
            layer: whose they are.
            key: of the new tokens.
            value: of the new tokens.
            reach: how many tokens before itself a token sees; None for all.

        Raises:
            ValueError: more than ``max_length`` tokens.
        """
        end = self.length + key.shape[2]
        if end > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} tokens and {end} are needed; make it longer")
        if layer not in self._layers:
            room = self.max_length if reach is None else min(self.max_length, 2 * (reach + 1))
            self._layers[layer] = Kept(key, value, room, reach)
        return self._layers[layer].append(key, value)

    def known(self, layer: nn.Module) -> Kept | None:
        """What a layer has kept so far; None before it first wrote."""
        return self._layers.get(layer)

    def remember(self, layer: nn.Module, key: Tensor, value: Tensor, lengths: Tensor | None) -> None:
        """Keep what cross-attention made of the memory, (B, S, G, K), whose rows have ``lengths`` (B,) real tokens."""
        self._memory[layer] = key, value
        self.memory_lengths = lengths

    def recall(self, layer: nn.Module) -> tuple[Tensor, Tensor] | None:
        """What `remember` kept for a layer."""
        return self._memory.get(layer)

    def state(self, layer: nn.Module) -> tuple[Tensor, ...] | None:
        """The state that a recurrence left."""
        return self._states.get(layer)

    def leave(self, layer: nn.Module, state: tuple[Tensor, ...]) -> None:
        """Keep a recurrence's state, whose parts have the batch on their second axis."""
        self._states[layer] = state

    def advance(self, tokens: int, starts: Tensor | None = None) -> None:
        """Every layer has now read ``tokens`` more; called once a pass by the stack.

        Args:
            tokens: columns that are new.
            starts: (B,) the column in which each sequence begins, after a first pass over unequal ones.
        """
        self.length += tokens
        self.starts = starts if starts is not None else self.starts

    def reorder(self, rows: Tensor) -> None:
        """Go on with these rows (B',) of the batch, in this order; a row may be left out or come twice."""
        trim = 0
        if self.starts is not None:
            self.starts = self.starts[rows]
            trim = int(self.starts.min())  # columns in which no row that is left has a token
            self.starts = self.starts - trim if int(self.starts.max()) > trim else None
        for kept in self._layers.values():
            kept.reorder(rows, max(0, trim - (self.length - kept.used)))
        self.length -= trim
        if self.memory_lengths is not None:
            self.memory_lengths = self.memory_lengths[rows]
        self._memory = {layer: (key[rows], value[rows]) for layer, (key, value) in self._memory.items()}
        self._states = {layer: tuple(part[:, rows] for part in state) for layer, state in self._states.items()}

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        held: list[tuple[Tensor, ...]] = [*self._memory.values(), *self._states.values()]
        held += [(kept.keys, kept.values) for kept in self._layers.values()]
        return sum(tensor.numel() * tensor.element_size() for entry in held for tensor in entry)


class Kept:
    """One layer's keys and values: the columns ``0 .. used`` of a buffer of ``room`` columns hold the newest tokens.

    Where a layer sees ``reach`` tokens back, older ones are dropped whenever the buffer is full: the last ``reach``
    move to its front. That is one column moved for each one written, and keys stay in their order.
    """

    def __init__(self, key: Tensor, value: Tensor, room: int, reach: int | None) -> None:
        shape = (*key.shape[:2], room)
        self.keys, self.values = key.new_zeros((*shape, key.shape[3])), value.new_zeros((*shape, value.shape[3]))
        self.room, self.reach, self.used = room, reach, 0

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
        self.used -= drop
        self._write(0, keys, values)
