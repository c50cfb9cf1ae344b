"""The catalogue of items, and histories as people write them."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dougong.errors import UserError
from dougong.figures import are, many

if TYPE_CHECKING:
    from dougong.data.interactions import InteractionData


@dataclass(frozen=True, eq=False)
class Asked:
    """What is known of a user whose next item is asked for.

    Args:
        seen: the items of his history, oldest first.
        some: items among which the true one is ranked; None for all.
        cold: none of his items is known.
        unknown: his items that are not in the catalogue.
        said: the history, for a table.
    """

    seen: np.ndarray
    some: np.ndarray | None = None
    cold: bool = False
    unknown: tuple[str, ...] = ()
    said: str = ""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items that a model scores.

    Args:
        names: by number.
        counts: (V,) how often each was met in training.
    """

    names: list[str]
    counts: np.ndarray
    FILE: ClassVar[str] = "items.json"

    @functools.cached_property
    def number(self) -> dict[str, int]:
        """Of each name."""
        return {name: number for number, name in enumerate(self.names)}

    def write(self, folder: Path) -> None:
        """Beside a model."""
        held = {"items": self.names, "counts": np.asarray(self.counts).tolist()}
        (folder / self.FILE).write_text(json.dumps(held, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Catalogue:
        """From beside a model.

        Raises:
            UserError: there is none, or it holds something else.
        """
        file = folder / cls.FILE
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            names, counts = held["items"], np.asarray(held["counts"], np.int64)
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(str(file), "holds no items", "give the folder of a trained model, whole") from None
        if not names or len(names) != len(counts) or not all(isinstance(name, str) for name in names):
            raise UserError(str(file), "holds no names of items with a count each", "restore the file")
        return cls(names, counts)

    def numbered(self, data: InteractionData) -> tuple[InteractionData, list[str]]:
        """Data with these items' numbers, without interactions with other items; and a line that says how many.

        Raises:
            UserError: none is left.
        """
        import pyarrow as pa

        number = np.array([self.number.get(name, -1) for name in data.names], np.int32)
        item = number[data.item]
        kept = item >= 0
        if not kept.any():
            raise UserError(data.source, "holds none of the items that the model knows", "give data of the same items")
        gone = int((~kept).sum())
        notes = (
            [f"{many(gone, 'interaction')} with items that the model does not know {are(gone)} left out"]
            if gone
            else []
        )
        fields = {key: getattr(data, key)[kept] for key in ("user", "code", "file", "line")}
        time = None if data.time is None else data.time[kept]
        same = replace(data, items=pa.array(self.names), item=item[kept], time=time, **fields)
        same.fingerprint = data.fingerprint  # it is the same data, read by other numbers
        return same, notes


def histories_of(raw: Any, catalogue: Catalogue) -> list[Asked]:
    """Histories as numbers.

    Args:
        raw: a text of names with commas between, a tuple of names, or a list of these.
        catalogue: of the items.

    Raises:
        UserError: something else, or nothing at all.
    """
    many = list(raw) if isinstance(raw, list) else [raw]
    if not many:
        raise UserError("inputs", "no history is given", "give items, as in: 12,7,31")
    return [_asked(each, number, catalogue) for number, each in enumerate(many, 1)]


def names_in(text: str, catalogue: Catalogue) -> list[str]:
    """The names in a text: one that is an item's own, else what stands between commas, or between blanks."""
    if text.strip() in catalogue.number:
        return [text.strip()]
    parts = text.split(",") if "," in text else text.split()
    return [part.strip() for part in parts if part.strip()]


def _asked(raw: Any, number: int, catalogue: Catalogue) -> Asked:
    names: Sequence[Any] = names_in(raw, catalogue) if isinstance(raw, str) else raw
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | int) for name in names):
        raise UserError(f"input {number}", "is no history", "give names of items, oldest first")
    known = [catalogue.number[str(name)] for name in names if str(name) in catalogue.number]
    unknown = tuple(dict.fromkeys(str(name) for name in names if str(name) not in catalogue.number))
    said = ", ".join(map(str, names))
    said = said if len(said) <= 60 else "..." + said[-57:]
    return Asked(np.array(known, np.int32), None, not known, unknown, said or "(no item)")
