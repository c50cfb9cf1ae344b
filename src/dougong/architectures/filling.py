"""Weights from a file into a model that was made without any: checked, placed where they lie, copied where they must.

Tensors are read in chunks so short that torch does not divide them among its threads: reading is bound by memory, and
waiting for threads costs more than they save, ten times the whole where other programs keep the cores busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dougong.architectures.weights import HUGE, Weights, advise
from dougong.errors import UserError

CHUNK = 2**15 - 64  # elements; from 2**15 on torch divides them among threads
PATTERNS = {
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float8_e5m2: (torch.int8, 0x7C),
    torch.float8_e4m3fn: (torch.int8, 0x7F),
}
"""For types that cannot be summed well: integers of their size, and the lowest pattern that is no finite number."""
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


class Look:
    """A look at every tensor of a checkpoint for NaN and infinite values, begun while the model is still being made.

    A thread goes through the files in long stretches, without holding up Python. That a whole file is then mapped
    takes no memory beside the weights: they lie in it, or leave it one by one as they are copied.

    Args:
        weights: open.
        ahead: False where all weights are turned into another type or go elsewhere, so that a file mapped early would
            count beside them; each is then looked at when it is needed.
    """

    def __init__(self, weights: Weights, ahead: bool = True) -> None:
        self._weights, self._over = weights, False
        self._good: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True) if ahead else None

    def __enter__(self) -> Look:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._thread is not None:
            self._thread.join()

    def finite(self, name: str) -> bool:
        """Whether a tensor holds neither NaN nor infinite values."""
        if self._thread is not None:
            self._thread.join()
        if name in self._good:
            return True
        tensor = self._weights.get(name)
        self._weights.prepare(name, tensor)
        return finite(tensor)

    def _run(self) -> None:
        for names, stretch in self._weights.stretches():
            if self._over:
                return
            self._weights.prepare(names[0], stretch)
            if finite(stretch):
                self._good.update(names)


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
    model: nn.Module, weights: Weights, pieces: Sequence[Piece], look: Look,
    *, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
) -> None:  # fmt: skip
    """Give a model made on the meta device its weights.

    A tensor that needs no change stays in the mapped file and takes no memory of its own; one that is copied leaves
    the file's memory at once. So the peak is that of the weights.

    Args:
        model: on the meta device.
        weights: open.
        pieces: that hold every tensor of the model once.
        look: at the weights.
        device: where they go; the CPU by default.
        dtype: what they are turned into; as saved by default.

    Raises:
        UserError: a tensor cannot be read, is of another shape or kind, or holds NaN or infinite values.
    """
    kinds = {name: tensor.is_floating_point() for name, tensor in model.state_dict().items()}
    names = shared_names(model)
    target = torch.device(device or "cpu")
    owners = dict(model.named_modules(remove_duplicate=False))
    for piece in pieces:
        for name, tensor in zip(piece.ours, _ready(weights, piece, look, kinds, target, dtype), strict=True):
            put(owners, names[name], tensor)


def _ready(
    weights: Weights, piece: Piece, look: Look, kinds: dict[str, bool], device: torch.device, dtype: torch.dtype | None
) -> list[Tensor]:
    """The tensors of a piece as the model takes them."""
    given = [weights.get(name) for name in piece.theirs]
    where = weights.where(piece.theirs[0])
    for name, tensor in zip(piece.theirs, given, strict=True):
        if tensor.is_floating_point() != kinds[piece.ours[0]] or tensor.is_complex():
            raise UserError(where, f"{name} holds {tensor.dtype}", "give the file as it was saved")
    for name in piece.theirs:
        if not look.finite(name):
            raise UserError(where, f"{name} holds NaN or infinite values", "train or fetch it again")
    try:
        found = piece.read(given)
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(where, f"{piece.theirs[0]} {error}", REMEDY) from None
    for tensor, shape in zip(found, piece.shapes, strict=True):
        if tuple(tensor.shape) != tuple(shape):
            raise UserError(where, f"{piece.theirs[0]} gives {tuple(tensor.shape)}, not {tuple(shape)}", REMEDY)
    made = []
    for tensor in found:
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        made.append(placed(tensor, device, wanted))
    kept = {tensor.untyped_storage().data_ptr() for tensor in made if tensor.device.type == "cpu"}
    for name, tensor in zip(piece.theirs, given, strict=True):
        if tensor.untyped_storage().data_ptr() not in kept:
            weights.forget(name, tensor)
    return made


def stays(device: torch.device | str | None, dtype: torch.dtype | None) -> bool:
    """Whether weights may stay in the mapped file."""
    return dtype is None and torch.device(device or "cpu").type == "cpu"


def finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite. One pass without memory of its own; others only where a sum overflows."""
    if not tensor.is_floating_point():
        return True
    flat = tensor.reshape(-1)
    if tensor.dtype in (torch.float32, torch.float64):
        import numpy as np

        with np.errstate(all="ignore"):
            if np.isfinite(flat.numpy().sum()):
                return True
    else:
        words, infinite = PATTERNS.get(tensor.dtype, (None, 0))
        if words is not None:
            bits = flat.view(words).numpy()
            unsigned = bits.view(f"u{bits.itemsize}")
            sign = 1 << (8 * bits.itemsize - 1)
            spans = [slice(start, start + 2**20) for start in range(0, len(bits), 2**20)]
            return all(bits[span].max() < infinite and unsigned[span].max() < sign + infinite for span in spans)
    return all(bool(chunk.double().isfinite().all()) for chunk in flat.split(CHUNK))


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
    advise(made, HUGE, outward=False)  # a table is turned around twice as fast where pages are large
    copy(tensor, made)
    return made


def copy(source: Tensor, target: Tensor) -> None:
    """Copy values into a tensor of the same shape and any type."""
    if source.is_contiguous() and target.is_contiguous():
        for there, here in zip(target.view(-1).split(CHUNK), source.view(-1).split(CHUNK), strict=True):
            there.copy_(here)
    else:
        target.copy_(source)


def put(owners: Mapping[str, nn.Module], names: list[str], tensor: Tensor) -> None:
    """Put one tensor in all the places that share it. Args: owners: the model's modules by name; names; tensor."""
    owner, _, leaf = names[0].rpartition(".")
    old = getattr(owners[owner], leaf)
    tensor = tensor.data  # tensors of one mapped file count their changes together: a norm's would spoil all gradients
    new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor
    for name in names:
        owner, _, leaf = name.rpartition(".")
        setattr(owners[owner], leaf, new)
