"""A decoder's step as a program: the operations of its parts in one table, which step.cpp runs in one go."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn

from dougong.parts.cache import Cache
from dougong.runtime.native.compiling import TYPES, Native
from dougong.runtime.native.operations import Buffer, Operations

# As in step.cpp.
OP = np.dtype(
    [(name, np.int32) for name in ("kind", "type", "width", "inner", "choice", "flag", "heads", "groups")]
    + [(name, np.float32) for name in ("eps", "factor", "cap", "rest")]
    + [(name, np.int64) for name in ("weight", "scale", "bias", "more", "source", "in2", "in3", "out")]
    + [(name, np.int64) for name in ("query_norm", "key_norm", "layer", "reach")]
    + [(name, np.int32) for name in ("rotary", "interleaved", "copies", "wait")],
    align=True,
)
LAYERS = np.dtype([(name, np.int64) for name in ("keys", "values", "room", "place", "begun", "type")])
MEMORIES = np.dtype([(name, np.int64) for name in ("keys", "values", "length", "type", "lengths")])
STATE = np.dtype(
    [(name, np.int64) for name in ("batch", "length", "past", "tokens", "starts", "layers", "memories")]
    + [(name, np.int64) for name in ("scores", "n_scores")]
)
LONGEST = 32
"""New tokens of a row that one step may hold."""


class Captured:
    """A decoder's step, captured.

    Args:
        model: on the CPU, with weights of float32, bfloat16 or whole numbers.
        native: the kernels.
        end: tokens that a text may hold.

    Raises:
        NotCaptured: it has a part that cannot be.
    """

    def __init__(self, model: nn.Module, native: Native, end: int) -> None:
        found = Operations(model, end)
        self.native, self.end, self.ops, self.scores = native, end, found.ops, found.scores
        self.layers, self.readers, self.recurrences = found.layers, found.readers, found.recurrences
        self._held, self._buffers = found.held, found.buffers  # the program points to what is held
        self.program = np.zeros(len(self.ops), OP)
        assert self.program.itemsize == native.sizes(0) and LAYERS.itemsize == native.sizes(1)
        assert MEMORIES.itemsize == native.sizes(2) and STATE.itemsize == native.sizes(3)
        for number, op in enumerate(self.ops):
            for name, value in op.items():
                self.program[name][number] = value.number if isinstance(value, Buffer) else value
        self.spaces: list[Tensor] = []
        self.capacity = 0
        self.table = np.zeros(len(self.layers), LAYERS)
        self.memories = np.zeros(len(self.readers), MEMORIES)
        self.state = np.zeros(1, STATE)

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """New tokens (B, L) after those that the cache holds: scores (B, L, V), float32.

        Args:
            tokens: of each row.
            cache: which has read the prompts; it grows by L.
        """
        return self._step(tokens, cache, len(self.program))[0]

    def timed(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, list[float]]:
        """As `step`, one operation after another, and the seconds of each of ``ops``: what a step is made of."""
        return self._step(tokens, cache, 1)

    def _step(self, tokens: Tensor, cache: Cache, at_once: int) -> tuple[Tensor, list[float]]:
        """The scores, and the seconds of each run of so many operations."""
        batch, length = tokens.shape
        threads = torch.get_num_threads()
        self._fit(batch * length)
        tokens = tokens.to(torch.int64).contiguous()
        starts = None if cache.starts is None else cache.starts.contiguous()
        longest = 0
        for number, layer in enumerate(self.layers):
            kept = cache.known(layer)
            assert kept is not None
            place = kept.make_room(length)
            self.table[number] = (
                kept.keys.data_ptr(), kept.values.data_ptr(), kept.room, place, cache.length - place,
                TYPES[kept.keys.dtype],
            )  # fmt: skip
            kept.used += length
            longest = max(longest, kept.used)
        lengths = None if cache.memory_lengths is None else cache.memory_lengths.contiguous()
        memories = [cache.recall(reader) for reader in self.readers]
        for number, memory in enumerate(memories):
            assert memory is not None
            keys, values = memory
            self.memories[number] = (
                keys.data_ptr(), values.data_ptr(), keys.shape[1], TYPES[keys.dtype],
                0 if lengths is None else lengths.data_ptr(),
            )  # fmt: skip
            longest = max(longest, keys.shape[1])
        for part, buffer in self.recurrences:
            for space, state in zip(self._states(buffer, batch), cache.state(part) or (), strict=False):
                space.copy_(state[0])
        scratch = torch.empty(threads * longest)
        self.state[0] = (
            batch, length, cache.length, tokens.data_ptr(), 0 if starts is None else starts.data_ptr(),
            self.table.ctypes.data, self.memories.ctypes.data, scratch.data_ptr(), longest,
        )  # fmt: skip
        seconds = []
        for first in range(0, len(self.program), at_once):
            begun = time.perf_counter()
            some = self.program[first : first + at_once]
            self.native.run(some.ctypes.data, len(some), self.state.ctypes.data, threads)
            seconds.append(time.perf_counter() - begun)
        for part, buffer in self.recurrences:
            both = zip(self._states(buffer, batch), cache.state(part) or (), strict=False)
            cache.leave(part, tuple(torch.empty_like(state).copy_(space[None]) for space, state in both))
        cache.advance(length)
        found = self.spaces[self.scores.number][: batch * length * self.scores.width]
        return found.view(batch, length, self.scores.width).clone(), seconds

    def takes(self, cache: Cache, length: int) -> bool:
        """Whether a step of ``length`` new tokens can go on from the cache."""
        return (
            length <= LONGEST
            and all(
                (kept := cache.known(layer)) is not None
                and kept.keys.dtype in TYPES
                and (kept.reach is None or length <= kept.reach + 1)
                for layer in self.layers
            )
            and all(
                (memory := cache.recall(reader)) is not None
                and all(side.dtype in TYPES and side.is_contiguous() for side in memory)
                for reader in self.readers
            )
            and (length == 1 or not self.recurrences)
            and all(cache.state(part) is not None for part, _ in self.recurrences)
        )

    def _states(self, buffer: Buffer, batch: int) -> tuple[Tensor, Tensor]:
        """Both states (B, H) of a recurrent layer in their buffer; only an LSTM has the second."""
        first, second = self.spaces[buffer.number][: batch * buffer.width].view(2, batch, -1)
        return first, second

    def _fit(self, rows: int) -> None:
        """Make the buffers large enough for so many tokens, and point the program to them."""
        if rows <= self.capacity:
            return
        self.capacity = rows
        self.spaces = [torch.empty(rows * buffer.width + buffer.more) for buffer in self._buffers]
        places = [space.data_ptr() for space in self.spaces]
        for number, op in enumerate(self.ops):
            for name in ("source", "in2", "in3", "out"):
                if name in op:
                    self.program[name][number] = places[op[name].number]
