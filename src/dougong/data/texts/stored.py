"""Rows that lie on disk in Arrow's format and are read one by one, so that memory does not grow with their number."""

from __future__ import annotations

import functools
import hashlib
import itertools
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dougong.data.texts.rows import TextRow, TextSplit

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

OPEN = 64
"""Batches of rows that are kept at hand. They lie in the file's pages, so this costs next to nothing."""
BETWEEN = "\x1f"
"""Between the labels of a row that has several; no label holds it."""
LEARNT = 32 * 2**20
"""Characters at most that a tokenizer is trained on; rows are drawn evenly."""


def schema() -> pa.Schema:
    """Columns of a file of rows: ``texts``, ``label`` (null where there is none), ``part`` (0 train, 1 val, 2
    test, -1 not said), ``where`` and ``key`` (16 bytes, see `dougong.data.texts.rows.key_of`).
    """
    import pyarrow as pa

    return pa.schema(
        {"texts": pa.list_(pa.string()), "label": pa.string(), "part": pa.int8(), "where": pa.string(),
         "key": pa.binary(16)}
    )  # fmt: skip


class RowStore:
    """A file of rows, mapped into memory.

    Args:
        path: Arrow's file format, columns of `schema`.
        key: of the file's content.
    """

    def __init__(self, path: Path, key: str) -> None:
        import numpy as np
        import pyarrow as pa

        self.key = key
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._lock = threading.Lock()  # batches are made ahead by a thread of their own
        sizes = [self._reader.get_batch(number).num_rows for number in range(self._reader.num_record_batches)]
        self.starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        self.batch = functools.lru_cache(OPEN)(self._batch)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _batch(self, number: int) -> pa.RecordBatch:
        with self._lock:
            return self._reader.get_batch(number)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All batches, in their order."""
        for number in range(len(self.starts) - 1):
            yield self._batch(number)

    def place(self, index: int) -> tuple[int, int]:
        """The batch of a row, and its number in it."""
        import numpy as np

        number = int(np.searchsorted(self.starts, index, "right")) - 1
        return number, index - int(self.starts[number])


class StoredSplit(TextSplit):
    """Some rows of a file, in its order.

    Args:
        store: the file.
        indices: of the rows, (n,) int64, ascending; of all rows a mapped file.
        numbers: of the classes, by their names.
        learnt: every how manieth row a tokenizer is trained on.
    """

    listed = 2**13

    def __init__(self, store: RowStore, indices: np.ndarray, numbers: Mapping[str, int], learnt: int = 1) -> None:
        self.store, self.indices, self.numbers, self.learnt = store, indices, dict(numbers), learnt

    @property
    def table(self) -> pa.Table:  # type: ignore[override]
        """All rows as one table in memory."""
        return TextSplit.of(self).table

    @functools.cached_property
    def ident(self) -> str:
        """What tells the texts of this split, in their order, from any others."""
        import numpy as np

        digest = hashlib.sha256(self.store.key.encode())
        digest.update(np.ascontiguousarray(self.indices).data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> TextRow: ...

    @overload
    def __getitem__(self, index: slice) -> TextSplit: ...

    def __getitem__(self, index: int | slice) -> TextRow | TextSplit:
        if isinstance(index, slice):
            if (index.step or 1) < 0:
                return self.take(range(len(self))[index])
            return StoredSplit(self.store, self.indices[index], self.numbers, self.learnt)
        number, row = self.store.place(int(self.indices[index]))  # raises IndexError beyond the end
        batch = self.store.batch(number)
        return self._row(*(batch.column(place)[row].as_py() for place in (0, 1, 3, 4)))

    def where(self, index: int) -> str:
        """The place of a sample, its texts left alone."""
        number, row = self.store.place(int(self.indices[index]))
        return str(self.store.batch(number).column(3)[row].as_py())

    def _row(self, texts: list[str], label: str | None, where: str, key: bytes) -> TextRow:
        return TextRow(tuple(texts), tuple(self._labels(label)), (), where, key.hex())

    def _labels(self, label: str | None) -> list[int]:
        return [] if label is None else sorted(self.numbers[each] for each in label.split(BETWEEN))

    def __iter__(self) -> Iterator[TextRow]:
        for _, texts, labels, places, keys in self._parts(0, 1, 3, 4):
            for row in zip(texts, labels, places, keys, strict=True):
                yield self._row(*row)

    def _parts(self, *columns: int) -> Iterator[tuple[Any, ...]]:
        """The rows batch by batch: their numbers in the batch, and each column as Python's objects."""
        import numpy as np
        import pyarrow as pa

        bounds = np.searchsorted(self.indices, self.store.starts)
        for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
            if stop > start:
                rows = self.indices[start:stop] - self.store.starts[number]
                batch, wanted = self.store.batch(number), pa.array(rows)
                yield rows, *(batch.column(place).take(wanted).to_pylist() for place in columns)

    def take(self, indices: Sequence[int]) -> TextSplit:
        """Some samples, in this order, in memory."""
        return TextSplit.of(self[int(index)] for index in indices)

    def lengths(self) -> np.ndarray:
        """Characters of each sample, (N,)."""
        import numpy as np

        each = (sum(map(len, texts)) for _, several in self._parts(0) for texts in several)
        return np.fromiter(each, np.int64, len(self))

    def column(self, name: str) -> list[Any]:
        """A whole column as Python's objects, in memory."""
        return [list(value) if isinstance(value, tuple) else value for value in (getattr(row, name) for row in self)]

    def samples(self) -> Iterator[tuple[str, list[int], list[str], str]]:
        """Key, labels, tags and place of each sample, its texts left alone."""
        for _, labels, places, keys in self._parts(1, 3, 4):
            for label, where, key in zip(labels, places, keys, strict=True):
                yield key.hex(), self._labels(label), [], where

    def renumbered(self, numbers: Mapping[int, int]) -> TextSplit:
        """The same samples, their labels under other numbers."""
        named = {name: numbers[old] for name, old in self.numbers.items() if old in numbers}
        return StoredSplit(self.store, self.indices, named, self.learnt)

    def texts(self) -> Collection[str]:
        """Texts to train a tokenizer on: of rows drawn evenly, `LEARNT` characters or so of the whole file."""
        return Texts(StoredSplit(self.store, self.indices[:: self.learnt], self.numbers))


class Texts(Collection[str]):
    """The texts of a split, read again each time that they are gone through."""

    def __init__(self, split: StoredSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split) * (len(self.split[0].texts) if len(self.split) else 1)

    def __iter__(self) -> Iterator[str]:
        for _, several in self.split._parts(0):
            for texts in several:
                yield from texts

    def __contains__(self, text: object) -> bool:
        return any(each == text for each in self)
