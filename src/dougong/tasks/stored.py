"""Tokens that lie on disk and are read sample by sample, so that memory does not grow with the data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dougong.data.texts.caching import entry

if TYPE_CHECKING:
    from dougong.data.texts.rows import TextRow
    from dougong.data.texts.stored import StoredSplit
    from dougong.data.tokenizing import Tokenizer

VERSION = 1
"""Of what is written; files of another version are not looked at."""
ROWS, CHARACTERS = 2048, 2**20
"""Texts that are tokenized at once, and their characters: a long one is by itself."""
Encode = Callable[[Sequence["TextRow"]], Sequence[Sequence[int]]]
Numbers = Sequence[int] | np.ndarray


class Flat:
    """Rows of numbers of unequal length, one after another in mapped files; 4 bytes of memory a row.

    Args:
        folder: with ``sizes`` (int32), ``starts`` (int64) and a file of int32 for each name.
        names: of the files of numbers.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.sizes = np.fromfile(folder / "sizes", np.int32)
        self.starts = _mapped(folder / "starts", np.int64)
        self.columns = {name: _mapped(folder / name, np.int32) for name in names}

    def __len__(self) -> int:
        return len(self.sizes)

    def row(self, name: str, index: int) -> np.ndarray:
        """(n,) int32, a view of the file."""
        start = int(self.starts[index])
        return self.columns[name][start : start + int(self.sizes[index])]


def _mapped(path: Path, kind: Any) -> np.ndarray:
    """A file of numbers; copied on writing, so that torch takes it, though nobody writes."""
    return np.memmap(path, kind, "c") if path.stat().st_size else np.empty(0, kind)


def write(folder: Path, rows: Iterator[Sequence[Numbers]], names: Sequence[str]) -> None:
    """Write the files of `Flat`.

    Args:
        folder: that exists.
        rows: of each row as many sequences of one length as there are names.
        names: of the files of numbers.
    """
    at = 0
    files = [(folder / name).open("wb") for name in (*names, "sizes", "starts")]
    try:
        for several in rows:
            for values, file in zip(several, files, strict=False):
                file.write(np.asarray(values, np.int32).tobytes())
            files[-2].write(np.int32(len(several[0])).tobytes())
            files[-1].write(np.int64(at).tobytes())
            at += len(several[0])
    finally:
        for file in files:
            file.close()


def tokenizer_key(tokenizer: Tokenizer) -> str:
    """What tells a tokenizer's work from any other's."""
    opened = tokenizer.opened
    digest = hashlib.sha256(opened.core.to_str().encode("utf-8", "surrogatepass"))
    carried = [hashlib.sha256(path.read_bytes()).hexdigest() for path in opened.carried]
    digest.update(repr((carried, opened.settings.side("truncation_side", "right"))).encode())
    digest.update(repr(opened.core.encode_special_tokens).encode())
    return digest.hexdigest()


def some(split: StoredSplit) -> Iterator[list[TextRow]]:
    """Rows to be tokenized together."""
    held: list[TextRow] = []
    size = 0
    for row in split:
        held.append(row)
        size += sum(map(len, row.texts))
        if len(held) == ROWS or size > CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held


class StoredTokens(Sequence[list[int]]):
    """The tokens of each sample of a split.

    Args:
        flat: where they lie.
    """

    def __init__(self, flat: Flat) -> None:
        self.flat, self.sizes = flat, flat.sizes

    def __len__(self) -> int:
        return len(self.flat)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.flat.row("ids", index % len(self)).tolist()

    @classmethod
    def of(
        cls, split: StoredSplit, tokenizer: Tokenizer, max_length: int | None, encode: Encode,
        whole: StoredTokens | None = None,
    ) -> StoredTokens:  # fmt: skip
        """The tokens that the cache holds, or that are made for it now.

        Args:
            split: the samples.
            tokenizer, max_length: what ``encode`` does depends on, beside the samples.
            encode: samples to tokens.
            whole: their tokens when nothing is cut: those that fit are taken as they are.
        """
        if whole is not None and max_length is not None and int(whole.sizes.max(initial=0)) <= max_length:
            return whole
        known_by = {
            "tokens": VERSION, "rows": split.ident, "tokenizer": tokenizer_key(tokenizer), "max_length": max_length,
        }  # fmt: skip

        def rows() -> Iterator[Sequence[Numbers]]:
            at = 0
            for part in some(split):
                fits = None if whole is None else whole.sizes[at : at + len(part)] <= (max_length or 0)
                if fits is None:
                    yield from ((ids,) for ids in encode(part))
                else:
                    cut = iter(encode([row for row, fit in zip(part, fits, strict=True) if not fit]))
                    for number, fit in enumerate(fits, at):
                        yield (whole.flat.row("ids", number) if whole is not None and fit else next(cut),)
                at += len(part)

        return cls(Flat(entry(known_by, lambda folder: write(folder, rows(), ["ids"])), ["ids"]))


class StoredDocument:
    """A document that lies on disk; see `dougong.tasks.language.Document`.

    Args:
        documents: among which it is.
        index: of it in the split.
    """

    def __init__(self, documents: StoredDocuments, index: int) -> None:
        self._documents, self._index = documents, index

    @property
    def ids(self) -> Tensor:
        """(n,) int32."""
        return torch.from_numpy(self._documents.flat.row("ids", self._index))

    @property
    def ends(self) -> Tensor:
        """(n,) int32."""
        return torch.from_numpy(self._documents.flat.row("ends", self._index))

    @property
    def text(self) -> str:
        """Read when it is asked for."""
        return self._documents.split[self._index].texts[0]

    @property
    def where(self) -> str:
        """Its file and row."""
        return self._documents.split.where(self._index)


class StoredDocuments(Sequence[StoredDocument]):
    """The documents of a split that have two tokens or more; 8 bytes of memory each.

    Args:
        split: the rows.
        flat: their tokens, and of each token the character after its last.
    """

    def __init__(self, split: StoredSplit, flat: Flat) -> None:
        self.split, self.flat = split, flat
        self.kept = np.flatnonzero(flat.sizes > 1).astype(np.int32)
        self.sizes = flat.sizes[self.kept]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        return StoredDocument(self, int(self.kept[index]))

    @classmethod
    def of(cls, split: StoredSplit, tokenizer: Tokenizer, end: int | None = None) -> StoredDocuments:
        """The tokens that the cache holds, or that are made for it now.

        Args:
            split: the documents.
            tokenizer: text to tokens.
            end: a token that is put after each.
        """
        known_by = {
            "documents": VERSION, "rows": split.ident, "tokenizer": tokenizer_key(tokenizer), "max_length": None,
            "end": end,
        }  # fmt: skip

        def rows() -> Iterator[Sequence[Numbers]]:
            for part in some(split):
                for row, one in zip(part, tokenizer.encode([row.texts[0] for row in part], special=False), strict=True):
                    ids, ends = list(one.ids), [stop for _, stop in one.offsets]
                    yield (ids, ends) if end is None else ([*ids, end], [*ends, len(row.texts[0])])

        names = ["ids", "ends"]
        return cls(split, Flat(entry(known_by, lambda folder: write(folder, rows(), names)), names))
