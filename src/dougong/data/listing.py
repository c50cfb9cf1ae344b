"""What a reader finds in a source, before any picture is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dougong.data.names import plain
from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Fault:
    """Something wrong with a data set.

    Args:
        where: the file, with its row where there is one.
        what: what is wrong.
        remedy: what to do about it.
        severity: "error", which training refuses, or "warning".
        kind: one or two words for all faults of this kind; "" where the reader has no kinds.
        fix: what `dougong check --fix` does about it: "drop" the row, "change" it, or "" where a person must decide.
    """

    where: str
    what: str
    remedy: str
    severity: str = "error"
    kind: str = ""
    fix: str = ""

    def __post_init__(self) -> None:
        for key in ("where", "what", "remedy"):
            object.__setattr__(self, key, plain(getattr(self, key)))

    def as_error(self, more: str = "") -> UserError:
        """The fault as the exception that training raises."""
        return UserError(self.where, self.what + more, self.remedy)


def warning(where: str, what: str, remedy: str) -> Fault:
    """A fault that training can live with."""
    return Fault(where, what, remedy, "warning")


@dataclass(frozen=True)
class Sample:
    """A picture that a source names.

    Args:
        where: its file and row.
        label: its class's name; None where it has none.
        read: gives the encoded file, or its pixels, uint8 (h, w, 3).
        split: "train", "val" or "test"; None where the source does not say.
        name: its file's name, for the check of its extension; "" without one.
    """

    where: str
    label: str | None
    read: Callable[[], bytes | np.ndarray]
    split: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", plain(self.where))


@dataclass
class Listing:
    """All samples of a source in a fixed order.

    Args:
        name: short, for titles.
        samples: as found.
        classes: their names in order, when the source declares them; else they are the labels, sorted.
        faults: what was wrong already.
        partial: whether a file or a split could not be listed, so that nothing can be said of the whole.
    """

    name: str
    samples: list[Sample]
    classes: list[str] | None = None
    faults: list[Fault] = field(default_factory=list)
    partial: bool = False

    def give_up(self, error: UserError) -> None:
        """Note a file that cannot be listed, and go on with the others."""
        self.faults.append(Fault(error.where, error.what, error.remedy))
        self.partial = True

    def class_names(self) -> list[str]:
        """The classes in order."""
        if self.classes is not None:
            return list(self.classes)
        labels = {sample.label for sample in self.samples if sample.label is not None}
        numbers = all(label.isascii() and label.isdecimal() for label in labels)
        return sorted(labels, key=lambda label: (int(label) if numbers else 0, label))
