"""What a decoder remembers between steps, held in buffers that are allocated once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dougong.parts.kept import Kept, aligned


class Cache:
    """Keys and values of every attention layer, and the state of every recurrence, for one batch of sequences.

    A layer finds its own entry by itself, so nobody counts layers. A buffer is made when a layer first writes, with
    that layer's heads, type and device; from then on its shape never changes. A layer that looks back over a window
    only has a buffer of twice that window, however long the text grows.

    Sequences of different lengths end in the same column: ``starts`` says in which column each one begins.

    Args:
        max_length: tokens that fit.
        whole: layers that look back over a window keep everything all the same, so that a beginning of the text can be
            taken from it (`first`), and any number of tokens taken back (`rewind`).
        spare: columns beside those, in which nothing stands any more when rows come and go: the more, the more seldom
            all are moved to the front.
    """

    def __init__(self, max_length: int, whole: bool = False, spare: int = 0) -> None:
        self.max_length, self.whole, self.spare = max_length, whole, spare
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
        if end > self.max_length + self.spare:
            raise ValueError(f"the cache holds {self.max_length} tokens and {end} are needed; make it longer")
        if layer not in self._layers:
            self._layers[layer] = Kept(key, value, self._room(reach), reach)
        return self._layers[layer].append(key, value)

    def _room(self, reach: int | None) -> int:
        """Columns of a layer's buffer."""
        columns = self.max_length + self.spare
        return columns if reach is None or self.whole else min(columns, 2 * (reach + 1))

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
        self._pick(rows)

    def settle(self, rows: Sequence[int]) -> None:
        """Go on with these rows, none twice, in this order, as `reorder`; only those that change places are copied.

        What is left of others stays in the buffers: `join` uses their places again, and columns in which nothing stands
        any more are given up when room is needed (`reserve`).

        Args:
            rows: of B' rows each stands in its old place, or comes from behind the first B'.

        Raises:
            ValueError: another order.
        """
        count, moves = len(rows), [(place, row) for place, row in enumerate(rows) if place != row]
        if any(row < count for _, row in moves):
            raise ValueError(f"rows {list(rows)} do not keep their places")
        for kept in self._layers.values():
            kept.settle(moves, count)
        index = torch.tensor(list(rows))
        self.starts = None if self.starts is None else self.starts[index]
        self._pick(index)

    def reserve(self, tokens: int) -> None:
        """Make room for so many more columns: those in which no row has a token are given up."""
        if self.starts is not None and self.length + tokens > self.max_length + self.spare:
            held = [len(kept.keys) for kept in self._layers.values()]
            if held:
                self.reorder(torch.arange(held[0], device=self.starts.device))

    def _pick(self, rows: Tensor) -> None:
        """Of what is not kept column by column, these rows."""
        if self.memory_lengths is not None:
            self.memory_lengths = self.memory_lengths[rows]
        self._memory = {layer: (key[rows], value[rows]) for layer, (key, value) in self._memory.items()}
        self._states = {layer: tuple(part[:, rows] for part in state) for layer, state in self._states.items()}

    @property
    def recurs(self) -> bool:
        """Whether a layer keeps a state, out of which no token can be taken again."""
        return bool(self._states)

    def rewind(self, tokens: int) -> None:
        """Forget the newest ``tokens`` columns of every row, as if they had not been read.

        Raises:
            ValueError: a layer keeps a state, or a window has left behind what is needed again.
        """
        if tokens and self.recurs:
            raise ValueError("a recurrence cannot take back what it has read")
        for kept in self._layers.values():
            kept.rewind(tokens, self.length - tokens)
        self.length -= tokens

    def first(self, tokens: Sequence[int], max_length: int, whole: bool = False) -> Cache:
        """A new cache whose row b holds the first ``tokens[b]`` tokens of this one's only row; they end together.

        Args:
            tokens: of each row; 0 for a row that holds nothing yet.
            max_length: tokens that fit into the new one.
            whole: as for the new one.

        Raises:
            ValueError: more than there are; or fewer, and a layer keeps a state.
        """
        length = max(tokens)
        forgot = any(kept.used < self.length for kept in self._layers.values())
        if length > self.length or forgot or (self.recurs and min(tokens) < self.length):
            raise ValueError(f"a cache of {self.length} tokens does not hold {list(tokens)}")
        found = Cache(max_length, whole)
        found.length = length
        for layer, kept in self._layers.items():
            rows = [kept.first(count, length) for count in tokens]
            keys, values = (torch.stack(sides) for sides in zip(*rows, strict=True))
            found._layers[layer] = Kept.of(keys, values, found._room(kept.reach), kept.reach)
        found._states = {
            layer: tuple(part.repeat_interleave(len(tokens), 1) for part in state)
            for layer, state in self._states.items()
        }
        if min(tokens) < length:
            device = next(iter(self._layers.values())).keys.device
            found.starts = length - torch.tensor(list(tokens), device=device)
        return found

    def join(self, other: Cache) -> None:
        """The rows of another cache of the same model come after this one's; all end in the same column.

        They take the places of rows that left (`settle`), where there are enough and the columns reach; else every
        buffer is made anew, as long as the longer one of the two.
        """
        length = max(self.length, other.length)
        starts = torch.cat([side._begun(length) for side in (self, other)])
        self.max_length = max(self.max_length, other.max_length)
        fits = length == self.length and all(
            kept.has_place(other._layers[layer], self._room(kept.reach)) for layer, kept in self._layers.items()
        )
        for layer, kept in self._layers.items():
            if fits:
                kept.admit(other._layers[layer])
                continue
            sides = (kept, other._layers[layer])
            used = length if kept.reach is None else min(kept.reach, length)
            keys = torch.cat([aligned(side.keys[:, :, : side.used], used) for side in sides])
            values = torch.cat([aligned(side.values[:, :, : side.used], used) for side in sides])
            self._layers[layer] = Kept.of(keys, values, self._room(kept.reach), kept.reach)
        for layer, state in self._states.items():
            self._states[layer] = tuple(torch.cat(both, 1) for both in zip(state, other._states[layer], strict=True))
        self._join_memory(other)
        self.length, self.starts = length, starts if bool(starts.any()) else None

    def _begun(self, length: int) -> Tensor:
        """(B,) columns in which the rows begin, when they end in column ``length``."""
        if self.starts is not None:
            return self.starts + (length - self.length)
        held = [kept.keys for kept in self._layers.values()] + [state[0][0] for state in self._states.values()]
        return torch.full((len(held[0]),), length - self.length, device=held[0].device)

    def _join_memory(self, other: Cache) -> None:
        """What cross-attention reads begins in the first column of every row, and is padded behind."""
        lengths = []
        for side in (self, other):
            if side._memory:
                key = next(iter(side._memory.values()))[0]
                whole = torch.full((len(key),), key.shape[1], device=key.device)
                lengths.append(whole if side.memory_lengths is None else side.memory_lengths)
        for layer, pair in self._memory.items():
            size = max(pair[0].shape[1], other._memory[layer][0].shape[1])
            key, value = (
                torch.cat([nn.functional.pad(one, (0, 0, 0, 0, 0, size - one.shape[1])) for one in both])
                for both in zip(pair, other._memory[layer], strict=True)
            )
            self._memory[layer] = key, value
        if lengths:
            joined = torch.cat(lengths)
            size = next(iter(self._memory.values()))[0].shape[1]
            self.memory_lengths = joined if int(joined.min()) < size else None

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        held: list[tuple[Tensor, ...]] = [*self._memory.values(), *self._states.values()]
        held += [(kept.keys, kept.values) for kept in self._layers.values()]
        return sum(tensor.numel() * tensor.element_size() for entry in held for tensor in entry)
