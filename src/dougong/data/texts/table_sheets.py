"""Tables as rows, however damaged: CSV, TSV, JSON Lines, Parquet; see `dougong.data.texts.sheets`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dougong.data.listing import Fault
from dougong.data.names import clean
from dougong.data.texts.decoding import Encoded, lines
from dougong.data.texts.features import class_names, features_of
from dougong.data.texts.quoting import joined, mended
from dougong.data.texts.sheets import Row, Sheet, not_utf8, nul, said, type_of
from dougong.errors import UserError


class CsvSheet(Sheet):
    """A CSV or TSV file."""

    def __init__(self, path: Path, part: str | None, codec: str | None = None) -> None:
        super().__init__(path, part, codec)
        assert self.encoded is not None
        first = next(self._lines(), (1, ""))[1]
        self.mark = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
        header = next(joined(self._lines(), self.mark), None)
        self.raw = (header.cells if header else None) or [""]
        if header and header.trouble:
            self.raw, _ = mended(first, self.mark, first.count(self.mark) + 1)
            self._fault("quoting", "the header has a quote that does not end", "take the quote out", "change")
        self.begins = header.line if header else 0
        if not any(clean(cell) for cell in self.raw):
            self.raw = []
            raise UserError(path.name, "has no header, its first line is empty", "give a line of columns' names first")
        self._name(self.raw)

    def _lines(self, seen: Callable[[int], object] | None = None) -> Iterator[tuple[int, str]]:
        """Its lines; a carriage return alone ends one too, as Excel wrote them on old systems."""
        assert self.encoded is not None
        for number, line in lines(self.path, self.encoded, seen):
            for piece in line.split("\r") if "\r" in line else (line,):
                yield number, piece

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All rows but the header; empty lines are none."""
        wide = len(self.names)
        records = joined(self._lines(seen), self.mark, wide)
        next((record for record in records if record.cells != [""]), None)  # the header
        for record in records:
            cells, faults, place = record.cells, [], self.where(record.line)
            if cells == [""] and wide > 1:
                continue
            if record.trouble:
                cells, sure = mended(record.text, self.mark, wide)
                told = {"open": "a quote begins that nothing ends", "stray": "text follows a closing quote"}
                faults.append(
                    Fault(
                        place, f"{told[record.trouble]}: {said(record.text)}",
                        'write a quote inside quotes twice, "", or take it out', kind="quoting",
                        fix="change" if sure else "drop",
                    )
                )  # fmt: skip
            elif cells == self.raw:
                faults.append(Fault(place, "is the header again", "take the row out", kind="header again", fix="drop"))
            elif len(cells) != wide:
                faults.append(
                    Fault(
                        place, f"has {len(cells)} cells, the header {wide}: {said(record.text)}",
                        f"quote cells that hold {self._mark_name()}, or add what is missing", kind="cells", fix="drop",
                    )
                )  # fmt: skip
            row = Row(record.line, dict(zip(self.names, cells, strict=False)), faults)
            if record.text.count("\0"):
                row.cells = {name: cell.replace("\0", "") for name, cell in row.cells.items()}
                faults.append(nul(place))
            if self.encoded and self.encoded.mixed and _any_wrong(self.encoded, record.line, record.last):
                faults.append(not_utf8(place, self.encoded))
            yield row

    def _mark_name(self) -> str:
        return {",": "a comma", ";": "a semicolon", "\t": "a tab"}[self.mark]


class JsonSheet(Sheet):
    """A JSON Lines file; its columns are the keys of its first rows."""

    LOOKED_AT = 1000

    def __init__(self, path: Path, part: str | None, codec: str | None = None) -> None:
        super().__init__(path, part, codec)
        keys: dict[str, str] = {}
        types: dict[str, list[str]] = {}
        for number, row in enumerate(self._read(None), 1):
            for key, value in row.cells.items():
                keys.setdefault(clean(key), key)
                if value is not None:
                    types.setdefault(clean(key), []).append(type_of(value))
            if number >= self.LOOKED_AT:
                break
        self._name(list(keys.values()))
        self.types = {key: max(set(found), key=found.count) for key, found in types.items()}

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All rows; a value of another type than the others of its column is a fault."""
        for row in self._read(seen):
            row.cells = {clean(key): value for key, value in row.cells.items()}
            for key, value in row.cells.items():
                wanted = self.types.get(key)
                found = type_of(value)
                if value is None or wanted is None or found == wanted:
                    self.types.setdefault(key, found) if value is not None else None
                    continue
                row.faults.append(
                    Fault(
                        self.where(row.line), f"{said(key)} is {found}, {said(json.dumps(value, ensure_ascii=False))}, "
                        f"elsewhere {wanted}", f"write {wanted}", kind="type",
                        fix="change" if wanted == "text" and found in ("a number", "true or false") else "drop",
                    )
                )  # fmt: skip
                if row.faults[-1].fix == "change":
                    row.cells[key] = value if isinstance(value, str) else json.dumps(value)
            yield row

    def _read(self, seen: Callable[[int], object] | None) -> Iterator[Row]:
        assert self.encoded is not None
        for number, line in lines(self.path, self.encoded, seen):
            if not line.strip():
                continue
            place = self.where(number)
            faults: list[Fault] = []
            if "\0" in line:
                line = line.replace("\0", "")
                faults.append(nul(place))
            if self.encoded.mixed and number in self.encoded.wrong:
                faults.append(not_utf8(place, self.encoded))
            twice: list[str] = []
            value: Any = None
            try:
                value = json.loads(
                    line, object_pairs_hook=_keys_once(twice), parse_constant=_no_constant, parse_float=_finite
                )
                what = "" if isinstance(value, dict) else f"is no object, but {type_of(value)}"
                remedy = 'write {"text": ..., "label": ...} on each line'
            except (ValueError, RecursionError) as error:
                at = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
                ends = isinstance(error, json.JSONDecodeError) and error.pos >= len(line.rstrip()) - 1
                ends = ends or "Unterminated" in str(error)
                what = "the line is cut off: its object does not end" if ends else f"is no JSON{at}: {said(line)}"
                remedy = "fetch the file again, or take the row out"
            if what:
                faults.append(Fault(place, what, remedy, kind="broken JSON", fix="drop"))
                value = {}
            if twice:
                faults.append(
                    Fault(
                        place, f"has the key {said(twice[0])} twice", "take one out", kind="key twice", fix="change"
                    )
                )  # fmt: skip
            yield Row(number, value, faults)


class ParquetSheet(Sheet):
    """A Parquet file; rows are counted from 0, as `datasets` counts them."""

    def __init__(self, path: Path, part: str | None, codec: str | None = None) -> None:
        super().__init__(path, part)
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self.schema = pq.read_schema(path)
        except (OSError, pa.ArrowException) as error:
            said_so = re.sub(r"\s+", " ", str(error))[:120]
            raise UserError(path.name, f"is no whole Parquet file ({said_so})", "fetch it again") from None
        self._name(list(self.schema.names))
        told = features_of(self.schema)
        found = {name: class_names(told.get(raw)) for name, raw in zip(self.names, self.schema.names, strict=True)}
        self.classes = {name: classes for name, classes in found.items() if classes}

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All rows.

        Raises:
            UserError: a part of the file cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = 0
        each = self.path.stat().st_size / max(1, pq.read_metadata(self.path).num_rows)
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=1024):
                    columns = [column.to_pylist() for column in batch.columns]
                    if seen:
                        seen(int(each * batch.num_rows))
                    for cells in zip(*columns, strict=True):
                        yield Row(number, dict(zip(self.names, cells, strict=True)))
                        number += 1
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            said_so = re.sub(r"\s+", " ", str(error))[:120]
            raise UserError(self.where(number), f"cannot be read from here on ({said_so})", "fetch it again") from None


def open_sheet(path: Path, part: str | None, codec: str | None = None) -> Sheet:
    """A table by its ending.

    Raises:
        UserError: nothing can be read of it.
    """
    kinds: dict[str, type[Sheet]] = {".jsonl": JsonSheet, ".parquet": ParquetSheet}
    return kinds.get(path.suffix.lower(), CsvSheet)(path, part, codec)


def _any_wrong(encoded: Encoded, first: int, last: int) -> bool:
    return any(line in encoded.wrong for line in range(first, last + 1))


def _keys_once(twice: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice.extend(key for key in found if keys.count(key) > 1)
        return found

    return made


def _finite(word: str) -> float:
    if math.isinf(float(word)):
        raise ValueError(f"{word} is more than a number can be")
    return float(word)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")
