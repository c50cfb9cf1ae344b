"""What a model gives back, and what it says of its features."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dougong.parts.cache import Cache


@dataclass(frozen=True, eq=False)
class Output:
    """A model's answer; what a model does not have is None.

    Args:
        hidden: the last hidden states, (B, L, D), or the last feature map, (B, C, h, w).
        logits: (B, C) for classes, (B, L, V) for tokens, (B, N, C or C + 1) for boxes, the last one for no object,
            (B, B) for pairs of pictures and texts.
        features: the maps of a pyramid, finest first, each (B, C, h, w).
        boxes: (B, N, 4), centre x, centre y, width, height, as shares of the picture.
        masks: (B, C, h, w) scores of classes by pixel, or by patch of several pixels.
        cache: what to hand in at the next step.
        memory: the encoder's hidden states, (B, S, D).
        images: (B, P) unit vectors of pictures.
        texts: (B, P) unit vectors of texts, to be compared with those of pictures.
        auxiliary: what earlier layers of a decoder answer, the first layer first, each with logits and boxes.
        denoised: what each layer makes of noisy copies of the true boxes, which it was given to learn from.
        many: whether an object is the answer of several queries here, as of an encoder's places.
    """

    hidden: Tensor | None = None
    logits: Tensor | None = None
    features: tuple[Tensor, ...] | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    cache: Cache | None = None
    memory: Tensor | None = None
    images: Tensor | None = None
    texts: Tensor | None = None
    auxiliary: tuple[Output, ...] = ()
    denoised: tuple[Output, ...] = ()
    many: bool = False


class Pending(Output):
    """An answer whose logits are not computed before somebody reads them; one who needs less of them never does.

    Reading ``logits`` gives what the head would have given at once, under the autocast that held then.

    Args:
        head: module with ``(hidden, lengths)`` that gives logits.
        hidden: the last hidden states, (B, L, D).
        lengths: (B,) real tokens of each row, for the head.
        others: fields of `Output`.

    Raises:
        RuntimeError: from ``logits``, if the head's weights were changed before they were read.
    """

    def __init__(self, head: nn.Module, hidden: Tensor, lengths: Tensor | None = None, **others: Any) -> None:
        kind = _kind(hidden)
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        own = {"hidden": hidden, "head": head, "lengths": lengths, "autocast": autocast, "changes": _changes(head)}
        for name, value in {**others, **own}.items():
            object.__setattr__(self, name, value)

    head: nn.Module
    lengths: Tensor | None
    autocast: torch.dtype | None
    """The precision of products where the answer was made; None for that of the weights."""
    changes: int
    """How often the head's weights had been written to."""

    @cached_property
    def logits(self) -> Tensor | None:  # type: ignore[override]
        """(B, L, V)."""
        assert self.hidden is not None
        self.check()
        with torch.autocast(_kind(self.hidden), self.autocast, enabled=self.autocast is not None):
            return self.head(self.hidden, self.lengths)

    def check(self) -> None:
        """Make sure that the head is as it was.

        Raises:
            RuntimeError: it is not.
        """
        if _changes(self.head) != self.changes:
            raise RuntimeError("the weights were changed since this answer was made: read logits before, or ask again")


class _Switch(threading.local):
    on = False
    alone = False


_SWITCH = _Switch()


@contextlib.contextmanager
def deferring(alone: bool = False) -> Iterator[None]:
    """While it is entered, by this thread, models whose head allows it leave their logits `Pending`.

    For a loss or a measure that goes over the tokens in chunks, as those of `dougong.heads.losses`, and so never holds
    the scores of a whole vocabulary at all of them.

    Args:
        alone: nobody reads hidden states either: where the head looks at one token alone, they are not made of others.
    """
    before = _SWITCH.on, _SWITCH.alone
    _SWITCH.on, _SWITCH.alone = True, alone
    try:
        yield
    finally:
        _SWITCH.on, _SWITCH.alone = before


def place_of(head: nn.Module | None) -> int | None:
    """The one token that a head looks at, where the caller wants its logits alone: 0 the first, -1 the last."""
    return getattr(head, "place", None) if _SWITCH.alone else None


def answer(head: nn.Module | None, hidden: Tensor, lengths: Tensor | None = None, **others: Any) -> Output:
    """The `Output` of a backbone's hidden states and a head.

    A head that says ``answers = "masks"`` fills that field, and reads every map of a pyramid rather than the last.

    Args:
        head: module with ``(hidden, lengths)`` that gives logits, or what it says; None for none.
        hidden: the last hidden states, (B, L, D).
        lengths: (B,) real tokens of each row.
        others: fields of `Output`.
    """
    if head is None:
        return Output(hidden=hidden, **others)
    if _SWITCH.on and getattr(head, "may_wait", False):
        return Pending(head, hidden, lengths, **others)
    if getattr(head, "answers", "logits") == "masks":
        maps = others.get("features")
        return Output(hidden=hidden, masks=head(hidden if maps is None else maps, lengths), **others)
    return Output(hidden=hidden, logits=head(hidden, lengths), **others)


def _kind(tensor: Tensor) -> str:
    """The kind of its device, for autocast, which knows nothing of tensors that are shapes alone."""
    return "cpu" if tensor.is_meta else tensor.device.type


def _changes(head: nn.Module) -> int:
    """How often the weights of a head were written to; not known where they do not count it, or in a compiled pass."""
    if torch.compiler.is_compiling():
        return 0
    return sum(weight._version for weight in head.parameters() if not weight.is_inference())


@dataclass(frozen=True)
class Feature:
    """One kind of feature that a backbone gives.

    Args:
        name: of the stage, or "hidden".
        channels: C or D.
        stride: input pixels a feature, (vertical, horizontal); (1, 1) for sequences.
    """

    name: str
    channels: int
    stride: tuple[int, int] = (1, 1)
