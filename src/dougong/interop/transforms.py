"""What happens to tensors between a foreign checkpoint and ours. Each kind owns its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dougong.architectures.filling import copy, placed


class Transform:
    """Tensors of theirs to tensors of ours, and back. This one leaves them alone."""

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """Theirs to ours.

        Args:
            theirs: in the order of the key's names.
            shapes: that ours must have; a kind that splits needs them.
        """
        return theirs

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """Ours to theirs: the inverse of ``read``."""
        return ours


def _copied(theirs: Sequence[Tensor], made: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Tensors copied to their places in one.

    Raises:
        ValueError: one has another shape than its place.
    """
    for tensor, place in zip(theirs, places, strict=True):
        if tensor.shape != place.shape:
            raise ValueError(f"is beside one of shape {tuple(tensor.shape)}")
        copy(tensor, place)
    return made


@dataclass(frozen=True)
class Transpose(Transform):
    """A matrix that is stored (in, out) there and (out, in) here."""

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """(in, out) to (out, in), copied: a product of two bfloat16 matrices takes many times longer with a view."""
        return [placed(tensor.transpose(-1, -2), tensor.device, tensor.dtype) for tensor in theirs]

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """(out, in) to (in, out)."""
        return [tensor.transpose(-1, -2) for tensor in ours]


@dataclass(frozen=True)
class Split(Transform):
    """One tensor there, several here, side by side along ``dim`` (a fused projection)."""

    dim: int = 0

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """One to several, as wide as ours are.

        Raises:
            ValueError: it is not as wide as ours are together.
        """
        (tensor,) = theirs
        widths = [shape[self.dim] for shape in shapes]
        if tensor.shape[self.dim] != sum(widths):
            raise ValueError(f"has {tensor.shape[self.dim]} rows, not {sum(widths)}")
        return list(tensor.split(widths, self.dim))

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """Several to one."""
        return [torch.cat(ours, self.dim)]


@dataclass(frozen=True)
class Join(Transform):
    """Several tensors there, one here, side by side along ``dim``. Args: sizes: of theirs along it."""

    sizes: tuple[int, ...]
    dim: int = 0

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """Several to one."""
        widths = [tensor.shape[self.dim] for tensor in theirs]
        shape = list(theirs[0].shape)
        shape[self.dim] = sum(widths)
        made = torch.empty(shape, dtype=theirs[0].dtype)
        return [_copied(theirs, made, made.split(widths, self.dim))]

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """One to several."""
        return list(ours[0].split(list(self.sizes), self.dim))


@dataclass(frozen=True)
class Pile(Transform):
    """Several tensors there, one here with a new first axis (experts)."""

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """n tensors (...) to one (n, ...)."""
        made = torch.empty((len(theirs), *theirs[0].shape), dtype=theirs[0].dtype)
        return [_copied(theirs, made, made.unbind(0))]

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """One (n, ...) to n tensors (...)."""
        return list(ours[0].unbind(0))


@dataclass(frozen=True)
class Lead(Transform):
    """``n`` leading axes of length one there that we do not have (class tokens, position tables)."""

    n: int = 1

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """(1, ..., a, b) to (a, b).

        Raises:
            ValueError: a leading axis is longer than one.
        """
        if any(set(tensor.shape[: self.n]) != {1} for tensor in theirs):
            raise ValueError(f"does not start with {self.n} axes of length 1")
        return [tensor.reshape(tensor.shape[self.n :]) for tensor in theirs]

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """(a, b) to (1, ..., a, b)."""
        return [tensor.reshape((1,) * self.n + tuple(tensor.shape)) for tensor in ours]


@dataclass(frozen=True)
class Then(Transform):
    """Two transforms one after the other, in the direction theirs to ours; both between equally many tensors, or the
    second one splits. Args: first, second."""

    first: Transform
    second: Transform

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """First, then second."""
        return self.second.read(self.first.read(theirs, shapes), shapes)

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """Second backwards, then first."""
        return self.first.write(self.second.write(ours))


@dataclass(frozen=True)
class Row(Transform):
    """A first axis of length one here that they do not have (CLIP's class token)."""

    def read(self, theirs: list[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
        """(...) to (1, ...)."""
        return [tensor[None] for tensor in theirs]

    def write(self, ours: list[Tensor]) -> list[Tensor]:
        """(1, ...) to (...)."""
        return [tensor[0] for tensor in ours]
