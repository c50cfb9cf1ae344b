"""Texts in splits, whatever kind of file they came in; the twin of `dougong.data.images` for text."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class TextRow:
    """One sample.

    Args:
        texts: one text or two; source and target of a pair; the words of a tagged sentence.
        labels: numbers of its classes: one, or any number where texts have several.
        tags: of a tagged sentence, one a word, in BIO; of a scored pair its score, as Python writes a float.
        where: its file and row.
        key: hash of its texts.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    where: str = ""
    key: str = ""


class TextSplit(Sequence[TextRow]):
    """Samples in a fixed order, in an Arrow table, so that a large file is not turned into Python's objects.

    Args:
        table: columns ``texts`` (list of string), ``labels`` (list of int32), ``tags`` (list of string), ``where`` and
            ``key`` (string).
    """

    listed = 200_000
    """Samples up to which data.json lists each; of more it holds their number and the hash of all."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, rows: Iterable[TextRow]) -> TextSplit:
        """The split that holds these rows; a row without a key gets that of its texts."""
        import pyarrow as pa

        held = [row if row.key else replace(row, key=key_of(row.texts)) for row in rows]
        columns = {
            "texts": pa.array([list(row.texts) for row in held], pa.list_(pa.string())),
            "labels": pa.array([list(row.labels) for row in held], pa.list_(pa.int32())),
            "tags": pa.array([list(row.tags) for row in held], pa.list_(pa.string())),
            "where": pa.array([row.where for row in held], pa.string()),
            "key": pa.array([row.key for row in held], pa.string()),
        }
        return cls(pa.table(columns))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> TextRow: ...

    @overload
    def __getitem__(self, index: slice) -> TextSplit: ...

    def __getitem__(self, index: int | slice) -> TextRow | TextSplit:
        if isinstance(index, slice):
            return self.take(list(range(len(self)))[index])
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        texts, labels, tags, where, key = (self.table[name][place].as_py() for name in COLUMNS)
        return TextRow(tuple(texts), tuple(labels or ()), tuple(tags or ()), where, key)

    def take(self, indices: Sequence[int]) -> TextSplit:
        """Some samples, in this order."""
        return TextSplit(self.table.take(list(indices)))

    def lengths(self) -> np.ndarray:
        """Characters of each sample, (N,): for batches of like length before any token is made."""
        import numpy as np
        import pyarrow.compute as pc

        texts = self.table["texts"].combine_chunks()
        sizes = np.asarray(pc.utf8_length(texts.flatten()))
        ends = np.asarray(texts.offsets) - int(texts.offsets[0].as_py() if len(texts.offsets) else 0)
        sums = np.concatenate(([0], np.cumsum(sizes)))
        return sums[ends[1:]] - sums[ends[:-1]]

    def column(self, name: str) -> list[Any]:
        """A whole column as Python's objects."""
        return self.table[name].to_pylist()

    def samples(self) -> Iterator[tuple[str, list[int], list[str], str]]:
        """Key, labels, tags and place of each sample, its texts left alone."""
        yield from zip(*(self.column(name) for name in ("key", "labels", "tags", "where")), strict=True)

    def renumbered(self, numbers: Mapping[int, int]) -> TextSplit:
        """The same samples, their labels under other numbers."""
        return TextSplit.of(replace(row, labels=tuple(numbers[label] for label in row.labels)) for row in self)

    def texts(self) -> Collection[str]:
        """Texts to train a tokenizer on: all of them."""
        return [text for row in self for text in row.texts]


COLUMNS = ("texts", "labels", "tags", "where", "key")


@dataclass(eq=False)
class TextData:
    """A data set of texts.

    Args:
        name: short, for titles.
        source: as the user gave it.
        kind: "texts" (labelled), "tags" (sentences with a tag a word), "corpus" (plain documents), "pairs" (to write
            the second from the first) or "sentences" (to be compared by vectors: single ones, or pairs).
        classes: names of the labels, or of the tags; none for the other kinds.
        several: a text may have several labels.
        splits: "train", "val" and "test".
        columns: what was taken as what, as {"text": "review", "label": "stars"}.
        how: how the splits were made, in words.
        seed: of the splits.
        notes: what was decided for the user, to be said aloud.
        duplicates: a line for each text that occurs more than once.
    """

    name: str
    source: str
    kind: str
    classes: tuple[str, ...]
    several: bool
    splits: dict[str, TextSplit]
    columns: dict[str, str]
    how: str
    seed: int
    notes: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over every sample's key, labels, tags and split, in order."""
        digest = hashlib.sha256(repr((self.kind, self.classes, self.several)).encode())
        for name, split in self.splits.items():
            for key, labels, tags, _ in split.samples():
                digest.update(f"{name} {labels} {tags} {key}\n".encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Samples of each class in each split; of tags, entities' words; without classes, samples."""
        found: dict[str, dict[str, int]] = {}
        for name, split in self.splits.items():
            if not self.classes:
                found[name] = {"samples": len(split)}
                continue
            row = dict.fromkeys(self.classes, 0)
            for _, labels, tags, _ in split.samples():
                for each in [*(self.classes[label] for label in labels), *tags]:
                    row[each] = row.get(each, 0) + 1
            found[name] = row
        return found

    def relabelled(self, classes: Sequence[str]) -> TextData:
        """The same texts with their labels numbered as in another list of classes, which holds all of them."""
        number = {old: list(classes).index(name) for old, name in enumerate(self.classes)}
        splits = {name: split.renumbered(number) for name, split in self.splits.items()}
        return replace(self, classes=tuple(classes), splits=splits)

    def describe(self) -> dict[str, Any]:
        """Everything that data.json holds: enough to know each sample and its split again."""
        return {
            "name": self.name,
            "source": self.source,
            "kind": self.kind,
            "classes": list(self.classes),
            "several": self.several,
            "columns": dict(self.columns),
            "fingerprint": self.fingerprint,
            "split": self.how,
            "seed": self.seed,
            "counts": self.counts(),
            "notes": list(self.notes),
            "duplicates": list(self.duplicates),
            "samples": {name: self._listed(split) for name, split in self.splits.items()},
        }

    def _listed(self, split: TextSplit) -> list[dict[str, str]] | dict[str, Any]:
        """Each sample of a split; of very many, how many and the hash of all."""
        if len(split) > split.listed:
            digest = hashlib.sha256()
            for key, labels, tags, where in split.samples():
                digest.update(f"{labels} {tags} {key} {where}\n".encode())
            return {"rows": len(split), "sha256": digest.hexdigest()}
        return [
            {"key": key, "label": ", ".join(self.classes[label] for label in labels), "where": where}
            for key, labels, _, where in split.samples()
        ]


def key_of(texts: Sequence[str]) -> str:
    """The hash of a sample's texts: equal exactly when they are."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
