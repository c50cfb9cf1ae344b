"""Every row of a data set in a few bytes, so that copies are found among millions: across files, splits and labels."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Place:
    """Where a row stands.

    Args:
        file: its number.
        order: of the row in its file, from 0, whatever became of those before it.
        line: of the file.
        split: "train", "val" or "test"; "" where the source has none.
        label: its label, or all its labels or tags in one text.
    """

    file: int
    order: int
    line: int
    split: str
    label: str


class Ledger:
    """Rows by what they say: 8 bytes of a hash, and 17 for the place.

    Two texts count as the same when they differ in nothing but blanks at their ends, the number of blanks between
    words, and the form in which Unicode writes letters with accents.
    """

    def __init__(self) -> None:
        self._keys = array("Q")
        self._files, self._splits = array("H"), array("B")
        self._orders, self._lines, self._labels = array("I"), array("I"), array("I")
        self._names: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, texts: Sequence[str], place: Place) -> None:
        """Note a row."""
        said = "\0".join(same(text) for text in texts).encode("utf-8", "surrogatepass")
        self._keys.append(int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little"))
        self._files.append(place.file)
        self._orders.append(place.order)
        self._lines.append(place.line)
        self._splits.append(SPLITS.index(place.split) if place.split in SPLITS else len(SPLITS))
        self._labels.append(self._names.setdefault(place.label, len(self._names)))

    def groups(self) -> Iterator[list[Place]]:
        """The places of each text that occurs more than once, in the order in which they were noted."""
        import numpy as np

        keys = np.frombuffer(self._keys, dtype=np.uint64) if len(self) else np.zeros(0, np.uint64)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        begins = (
            np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(keys) else np.zeros(0, int)
        )
        ends = np.concatenate((begins[1:], [len(keys)]))
        several = np.flatnonzero(ends - begins > 1)
        found = [order[begins[each] : ends[each]].tolist() for each in several]
        labels = list(self._names)
        for group in sorted(found):
            yield [
                Place(
                    self._files[i], self._orders[i], self._lines[i], (*SPLITS, "")[self._splits[i]],
                    labels[self._labels[i]],
                )
                for i in group
            ]  # fmt: skip


def same(text: str) -> str:
    """What two texts have in common that count as the same."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return re.sub(r"\s+", " ", text.strip())
