"""What is alive in memory while a traced model runs, and how much that is at most."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import Tensor


class Ledger:
    """Bytes of the storages that a run makes, from their making to their freeing.

    A tensor lives as long as anything refers to it: the model's code, or the graph that keeps it for the backward pass.
    So tracing on the meta device, where tensors have a size and nothing else, sees the same lives as a real run.

    Args:
        known: tensors that were there before, counted elsewhere: weights, buffers, inputs.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        self.live = 0  # activations
        self.gradients = 0  # of parameters, a part of their own
        self.peak = 0  # of both together
        self.peak_live = 0  # of the activations alone
        self.window = 0  # of both, since the last `open_window`
        self.window_live = 0
        self.peak_gradients = 0  # gradients when the peak was reached
        self.kept: dict[int, tuple[int, str]] = {}
        self._references: dict[int, Any] = {}
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def see(self, tensor: Tensor, path: str) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.kept or key in self._known:
            return
        n_bytes = storage.nbytes()
        self.kept[key] = (n_bytes, path)
        self._references[key] = weakref.ref(storage, lambda _: self._free(key))
        self.live += n_bytes
        self.bump()

    def _free(self, key: int) -> None:
        n_bytes, path = self.kept.pop(key)
        del self._references[key]
        if path == GRADIENT:
            self.gradients -= n_bytes
        else:
            self.live -= n_bytes

    def holds(self, tensor: Tensor) -> bool:
        """Whether the tensor's storage is counted here."""
        return tensor.untyped_storage()._cdata in self.kept

    def is_gradient(self, tensor: Tensor) -> None:
        """Move a tensor from the activations to the gradients."""
        key = tensor.untyped_storage()._cdata
        n_bytes, path = self.kept.get(key, (0, GRADIENT))
        if path != GRADIENT:
            self.kept[key] = (n_bytes, GRADIENT)
            self.live -= n_bytes
            self.gradients += n_bytes

    def bump(self, above: int = 0, above_live: int = 0) -> None:
        """Note that ``above`` bytes more than now, of activations ``above_live``, are alive for a moment."""
        now, live = self.live + self.gradients + above, self.live + above_live
        if live > self.window_live:
            self.window_live = live
            self.peak_live = max(self.peak_live, live)
        if now > self.window:
            self.window = now
        if now >= self.peak:
            self._top(now, self.gradients)

    def was(self, live: int, gradients: int, above: int, above_live: int) -> None:
        """Note that once, when so much was alive, ``above`` bytes more were for a moment."""
        self.peak_live = max(self.peak_live, live + above_live)
        if live + gradients + above >= self.peak:
            self._top(live + gradients + above, gradients)

    def _top(self, peak: int, gradients: int) -> None:
        """The peak was reached, or reached again: of several such moments, the one with most gradients counts."""
        self.peak_gradients = max(gradients, self.peak_gradients) if peak == self.peak else gradients
        self.peak = peak

    def open_window(self) -> tuple[int, int, int, int]:
        """Begin to watch for the peak of a part; to be given to `close_window`."""
        outer = (self.window, self.window_live)
        self.window, self.window_live = self.live + self.gradients, self.live
        return (*outer, self.window, self.window_live)

    def close_window(self, opened: tuple[int, int, int, int]) -> tuple[int, int]:
        """How far the part went above where it began: (of both, of the activations alone)."""
        outer, outer_live, start, start_live = opened
        above = (self.window - start, self.window_live - start_live)
        self.window, self.window_live = max(outer, self.window), max(outer_live, self.window_live)
        return above

    def by_path(self) -> Counter[str]:
        """Bytes of the activations alive now, by the module that made them."""
        found: Counter[str] = Counter()
        for n_bytes, path in self.kept.values():
            if path != GRADIENT:
                found[path] += n_bytes
        return found


GRADIENT = "\0gradient"
