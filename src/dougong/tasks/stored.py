"""Tokens that lie on disk and are read sample by sample, so that memory does not grow with the data."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from dougong.data.texts.caching import entry, mapped

if TYPE_CHECKING:
    from dougong.data.texts.rows import TextRow
    from dougong.data.texts.stored import StoredSplit
    from dougong.data.tokenizing import Tokenizer

VERSION = 2
"""Of what is written; files of another version are not looked at."""
ROWS, CHARACTERS = 2048, 2**20
"""Texts that are tokenized at once, and their characters: a long one is by itself."""
AT_ONCE = 2**18
"""Documents that are cut into windows at once."""
Encode = Callable[[Sequence["TextRow"]], Sequence[Sequence[int]]]
Numbers = Sequence[int] | np.ndarray


class Flat:
    """Rows of numbers of unequal length, one after another in mapped files.

    Args:
        folder: with ``sizes`` (int32), ``starts`` (int64) and a file of int32 for each name.
        names: of the files of numbers.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.sizes = mapped(folder / "sizes", np.int32)
        self.starts = mapped(folder / "starts", np.int64)
        self.columns = {name: mapped(folder / name, np.int32) for name in names}

    def __len__(self) -> int:
        return len(self.sizes)

    def row(self, name: str, index: int) -> np.ndarray:
        """(n,) int32, a view of the file."""
        start = int(self.starts[index])
        return self.columns[name][start : start + int(self.sizes[index])]


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
        whole: StoredTokens | None = None, cut: Callable[[Any], Numbers] | None = None,
    ) -> StoredTokens:  # fmt: skip
        """The tokens that the cache holds, or that are made for it now.

        Args:
            split: the samples.
            tokenizer, max_length: what ``encode`` does depends on, beside the samples.
            encode: samples to tokens.
            whole: their tokens when nothing is cut: those that fit are taken as they are.
            cut: makes of whole tokens those that ``encode`` would give; without it, what does not fit is read again.
        """
        if whole is not None and max_length is not None and int(whole.sizes.max(initial=0)) <= max_length:
            return whole
        known_by = {
            "tokens": VERSION, "rows": split.ident, "tokenizer": tokenizer_key(tokenizer), "max_length": max_length,
        }  # fmt: skip

        def rows() -> Iterator[Sequence[Numbers]]:
            at = 0
            if whole is not None and cut is not None:
                yield from ((cut(whole.flat.row("ids", number).tolist()),) for number in range(len(whole)))
                return
            for part in some(split):
                fits = None if whole is None else whole.sizes[at : at + len(part)] <= (max_length or 0)
                if fits is None:
                    yield from ((ids,) for ids in encode(part))
                else:
                    again = iter(encode([row for row, fit in zip(part, fits, strict=True) if not fit]))
                    for number, fit in enumerate(fits, at):
                        yield (whole.flat.row("ids", number) if whole is not None and fit else next(again),)
                at += len(part)

        return cls(Flat(entry(known_by, lambda folder: write(folder, rows(), ["ids"])), ["ids"]))


class StoredDocument:
    """A document that lies on disk; see `dougong.tasks.language.Document`.

    Args:
        documents: among which it is.
        index: of it among them.
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
        return self._documents.split[int(self._documents.kept[self._index])].texts[0]

    @property
    def where(self) -> str:
        """Its file and row."""
        return self._documents.split.where(int(self._documents.kept[self._index]))


class StoredDocuments(Sequence[StoredDocument]):
    """The documents of a split that have two tokens or more.

    Args:
        split: the rows.
        flat: their tokens, and of each token the character after its last; beside them, in ``kept``, the row of each.
    """

    def __init__(self, split: StoredSplit, flat: Flat) -> None:
        self.split, self.flat = split, flat
        self.kept, self.sizes = mapped(flat.folder / "kept", np.int64), flat.sizes

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        return StoredDocument(self, range(len(self))[index])

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

        def make(folder: Path) -> None:
            with (folder / "kept").open("wb") as kept:
                write(folder, rows(kept), names)

        def rows(kept: BinaryIO) -> Iterator[Sequence[Numbers]]:
            number = itertools.count()
            for part in some(split):
                for row, one in zip(part, tokenizer.encode([row.texts[0] for row in part], special=False), strict=True):
                    ids, ends = list(one.ids), [stop for _, stop in one.offsets]
                    if end is not None:
                        ids, ends = [*ids, end], [*ends, len(row.texts[0])]
                    at = next(number)
                    if len(ids) > 1:
                        kept.write(np.int64(at).tobytes())
                        yield ids, ends

        names = ["ids", "ends"]
        return cls(split, Flat(entry(known_by, make), names))

    def windows(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """What `windows_of` gives for their tokens, in mapped files."""

        def make(folder: Path) -> None:
            at = 0
            with (folder / "firsts").open("wb") as firsts, (folder / "lengths").open("wb") as lengths:
                firsts.write(np.int64(0).tobytes())
                for start in range(0, len(self), AT_ONCE):
                    first, found = windows_of(self.sizes[start : start + AT_ONCE], length)
                    firsts.write((first[1:] + at).tobytes())
                    lengths.write(found.tobytes())
                    at += len(found)

        folder = entry({"windows": VERSION, "documents": self.flat.folder.name, "length": length}, make)
        return mapped(folder / "firsts", np.int64), mapped(folder / "lengths", np.int32)


def windows_of(sizes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents in windows of tokens that are foreseen: all but the first of each document.

    Args:
        sizes: tokens of each document, (n,), two or more.
        length: of a window.

    Returns:
        The number of each document's first window, and that of all windows, (n + 1,) int64; the tokens that are
        foreseen in each window, (windows,) int32.
    """
    last = sizes.astype(np.int64) - 1
    firsts = np.concatenate(([0], np.cumsum(-(-last // length), dtype=np.int64)))
    found = np.full(int(firsts[-1]), length, np.int32)
    found[firsts[1:] - 1] = last - (np.diff(firsts) - 1) * length
    return firsts, found
