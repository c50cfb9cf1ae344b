"""Weights from a file into a model that was made without any: checked, placed where they lie, copied where they must.

Tensors are read in chunks so short that torch does not divide them among its threads: reading is bound by memory, and
waiting for threads costs more than they save, ten times the whole where other programs keep the cores busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dougong.architectures.weights import Weights
from dougong.errors import UserError

CHUNK = 2**15 - 64  # elements; from 2**15 on torch divides them among threads
REMEDY = "give the weights that belong to its config.json"


@dataclass(frozen=True)
class Piece:
    """Tensors of a file that become tensors of a model.

    Args:
        theirs: names in the file.
        ours: names in the model, each the first of those it goes by.
        shapes: that ours must have.
        read: theirs as ours; a ValueError says what does not fit.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    read: Callable[[list[Tensor]], list[Tensor]] = lambda tensors: tensors


def shared_names(model: nn.Module) -> dict[str, list[str]]:
    """Each parameter and saved buffer by its first name, with all names it goes by (tied weights have several)."""
    named = model.state_dict(keep_vars=True)
    by_tensor: dict[int, list[str]] = {}
    for name, tensor in named.items():
        by_tensor.setdefault(id(tensor), []).append(name)
    return {names[0]: names for names in by_tensor.values()}


def complain(weights: Weights, what: str, names: Iterable[str]) -> None:
    """Refuse a checkpoint because of some of its tensors, or those that it lacks.

    Raises:
        UserError: unless there are no names.
    """
    if listed := sorted(names):
        some = ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
        raise UserError(str(weights.folder), f"the checkpoint {what} {some}", REMEDY)


def fill(
    model: nn.Module, weights: Weights, pieces: Sequence[Piece],
    *, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
) -> None:  # fmt: skip
    """Give a model made on the meta device its weights.

    A tensor that needs no change stays in the mapped file and takes no memory of its own; one that is copied leaves
    the file's memory at once. So the peak is that of the weights.

    Args:
        model: on the meta device.
        weights: open.
        pieces: that hold every tensor of the model once.
        device: where they go; the CPU by default.
        dtype: what they are turned into; as saved by default.

    Raises:
        UserError: a tensor cannot be read, is of another shape or kind, or holds NaN or infinite values.
    """
    kinds = {name: tensor.is_floating_point() for name, tensor in model.state_dict().items()}
    names = shared_names(model)
    target = torch.device(device or "cpu")
    for piece in pieces:
        for name, tensor in zip(piece.ours, _ready(weights, piece, kinds, target, dtype), strict=True):
            put(model, names[name], tensor)


def _ready(
    weights: Weights, piece: Piece, kinds: dict[str, bool], device: torch.device, dtype: torch.dtype | None
) -> list[Tensor]:
    """The tensors of a piece as the model takes them."""
    given = [weights.get(name) for name in piece.theirs]
    where = weights.where(piece.theirs[0])
    for name, tensor in zip(piece.theirs, given, strict=True):
        if tensor.is_floating_point() != kinds[piece.ours[0]] or tensor.is_complex():
            raise UserError(where, f"{name} holds {tensor.dtype}", "give the file as it was saved")
    try:
        found = piece.read(given)
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(where, f"{piece.theirs[0]} {error}", REMEDY) from None
    for tensor, shape in zip(found, piece.shapes, strict=True):
        if tuple(tensor.shape) != tuple(shape):
            raise UserError(where, f"{piece.theirs[0]} gives {tuple(tensor.shape)}, not {tuple(shape)}", REMEDY)
    for name, tensor in zip(piece.theirs, given, strict=True):
        if not finite(tensor):
            raise UserError(where, f"{name} holds NaN or infinite values", "train or fetch it again")
    made = []
    for tensor in found:
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        made.append(placed(tensor, device, wanted))
    kept = {tensor.untyped_storage().data_ptr() for tensor in made if tensor.device.type == "cpu"}
    for name, tensor in zip(piece.theirs, given, strict=True):
        if tensor.untyped_storage().data_ptr() not in kept:
            weights.forget(name, tensor)
    return made


def finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite. One pass without memory of its own; a second only to make sure."""
    if not tensor.is_floating_point():
        return True
    chunks: Iterable[Tensor] = tensor.reshape(-1).split(CHUNK)
    if tensor.element_size() == 1:  # eight-bit types cannot be summed
        chunks = [chunk.float() for chunk in chunks]
    sums = torch.stack([chunk.sum() for chunk in chunks])
    return bool(sums.isfinite().all()) or all(bool(chunk.isfinite().all()) for chunk in chunks)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and values."""
    if a.shape != b.shape:
        return False
    return all(map(torch.equal, a.reshape(-1).split(CHUNK), b.reshape(-1).split(CHUNK)))


def placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The tensor, contiguous, on a device and of a type: itself where it is so already."""
    if device.type != "cpu":
        return tensor.to(device, dtype).contiguous()
    if tensor.dtype == dtype and tensor.is_contiguous():
        return tensor
    made = torch.empty(tensor.shape, dtype=dtype)
    copy(tensor, made)
    return made


def copy(source: Tensor, target: Tensor) -> None:
    """Copy values into a tensor of the same shape and any type."""
    if source.is_contiguous() and target.is_contiguous():
        for there, here in zip(target.view(-1).split(CHUNK), source.view(-1).split(CHUNK), strict=True):
            there.copy_(here)
    else:
        target.copy_(source)


def put(model: nn.Module, names: list[str], tensor: Tensor) -> None:
    """Put one tensor in all the places that share it."""
    owner, _, leaf = names[0].rpartition(".")
    old = getattr(model.get_submodule(owner), leaf)
    new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor
    for name in names:
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, new)
