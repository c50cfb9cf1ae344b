"""What a decoder remembers between steps, held in buffers that are allocated once."""

from __future__ import annotations

from torch import Tensor, nn


class Cache:
    """Keys and values of every attention layer, and the state of every recurrence, for one batch of sequences.

    A layer finds its own entry by itself, so nobody counts layers. A buffer of ``max_length`` tokens is made when a
    layer first writes, with that layer's heads, type and device; from then on its shape never changes.

    Args:
        max_length: tokens that fit.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._buffers: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._states: dict[nn.Module, tuple[Tensor, ...]] = {}

    def extend(self, layer: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, G, L, K) and give all that the layer has so far, (B, G, S, K).

        Raises:
            ValueError: more than ``max_length`` tokens.
        """
        end = self.length + key.shape[2]
        if end > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} tokens and {end} are needed; make it longer")
        if layer not in self._buffers:
            shape = (*key.shape[:2], self.max_length, key.shape[3])
            self._buffers[layer] = (key.new_zeros(shape), value.new_zeros((*shape[:3], value.shape[3])))
        keys, values = self._buffers[layer]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def state(self, layer: nn.Module) -> tuple[Tensor, ...] | None:
        """The state that a recurrence left."""
        return self._states.get(layer)

    def leave(self, layer: nn.Module, state: tuple[Tensor, ...]) -> None:
        """Keep a recurrence's state."""
        self._states[layer] = state

    def advance(self, tokens: int) -> None:
        """Every layer has now read ``tokens`` more; called once a pass by the stack."""
        self.length += tokens

    def reorder(self, rows: Tensor) -> None:
        """Go on with these rows (B',) of the batch, in this order; a row may be left out or come twice."""
        self._buffers = {layer: (keys[rows], values[rows]) for layer, (keys, values) in self._buffers.items()}
        self._states = {layer: tuple(part[:, rows] for part in state) for layer, state in self._states.items()}

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        held: list[tuple[Tensor, ...]] = [*self._buffers.values(), *self._states.values()]
        return sum(tensor.numel() * tensor.element_size() for entry in held for tensor in entry)
