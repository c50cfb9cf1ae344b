"""A cleaned copy of a source of texts: what the doctor found and nobody has to decide is mended, row by row.

The source is never touched. What a person must decide stays as it is: which of two labels is right, where files that
should be parallel part, whether a long or a foreign text belongs there.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dougong import console
from dougong.data.listing import Fault
from dougong.data.texts import opening
from dougong.data.texts.case import Case, Looked
from dougong.data.texts.doctor import LISTED, TextExamination
from dougong.data.texts.lined import PairSheet, TaggedSheet, TextSheet
from dougong.data.texts.opened import OpenedSheet
from dougong.data.texts.sheets import Sheet
from dougong.data.texts.table_sheets import CsvSheet, JsonSheet, ParquetSheet
from dougong.errors import UserError

Write = Callable[[Looked], None]


@dataclass
class CleanedFile:
    """What became of one file.

    Args:
        file: its name, in the source and in the copy.
        rows: it had.
        kept: rows in the copy.
        dropped: how many rows were left out, by kind of fault.
        mended: how many faults were put right, by kind.
        actions: "dropped" or "mended", and the fault; the first thousand of each kind.
    """

    file: str
    rows: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    actions: list[tuple[str, Fault]] = field(default_factory=list)

    def note(self, done: str, fault: Fault) -> None:
        """Count what was done about a fault."""
        counts = self.dropped if done == "dropped" else self.mended
        counts[fault.kind] += 1
        if counts[fault.kind] <= LISTED:
            self.actions.append((done, fault))


def free_folder(source: str | Path, folder: str | Path) -> Path:
    """The folder for a copy, once it is sure that nothing is there to be lost.

    Raises:
        UserError: it holds something, is a file, or lies in the source.
    """
    path = Path(folder).expanduser()
    said = f"--fix {folder}"
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(said, "exists and is not empty", "name a new folder")
    inner = Path(source).expanduser().resolve()
    if inner.is_dir() and (path.resolve() == inner or inner in path.resolve().parents):
        raise UserError(said, "lies in the data itself, which stays as it is", "name a folder elsewhere")
    return path


def where_copied(source: str | Path, folder: str | Path) -> Path:
    """What to open of a copy: the folder, or the file in it where the source is one file."""
    root = opening._inner(source)
    return Path(folder).expanduser() / root.name if root is not None and root.is_file() else Path(folder).expanduser()


def write_cleaned(source: str | Path, folder: str | Path, found: TextExamination) -> list[CleanedFile]:
    """Write a cleaned copy of a source.

    Args:
        source: file or folder.
        folder: that the copy is written to; new or empty.
        found: what `dougong.data.texts.doctor.examine_texts` saw of it.

    Returns:
        What became of each file.

    Raises:
        UserError: the folder holds something, or a file of the source cannot be read at all.
    """
    path = free_folder(source, folder)
    case = found.case
    assert case is not None
    if any(isinstance(sheet, OpenedSheet) for sheet in case.sheets):
        raise UserError(
            f"--fix {folder}", f"{source} holds tables of tags or Arrow files, of which no copy is written",
            "save it as CSV, JSON Lines or CoNLL columns",
        )  # fmt: skip
    stops = ("unreadable", "columns", "binary", *(() if case.sheets else ("refused",)))
    barred = [fault for fault in found.faults if fault.kind in stops and fault.severity == "error" and not fault.fix]
    if barred:
        raise UserError(barred[0].where, f"{barred[0].what}; so no copy is written", barred[0].remedy)
    root = opening._inner(source)
    assert root is not None
    path.mkdir(parents=True, exist_ok=True)
    total = sum(sheet.path.stat().st_size for sheet in case.sheets) / 1e6
    with console.progress(total, f"writing {path.name}", unit="MB") as bar:
        return [
            _copy(case, number, found, root, path, lambda n: bar.advance(n / 1e6)) for number in range(len(case.sheets))
        ]


def _copy(
    case: Case, number: int, found: TextExamination, root: Path, folder: Path, seen: Callable[[int], object]
) -> CleanedFile:
    sheet = case.sheets[number]
    done = CleanedFile(sheet.path.name)
    unequal = any(fault.kind == "unequal files" and fault.where == sheet.path.name for fault in found.faults)
    with ExitStack() as stack:
        write: Write | None = None
        if not (case.documents and _document_goes(case, number, found, done)):
            write = stack.enter_context(_writer(sheet, lambda path: _place(path, root, folder)))
            for fault in sheet.faults:
                if fault.fix == "change":
                    done.note("mended", fault)
        for looked in case.rows(sheet, seen) if write else ():
            done.rows += 1
            why = looked.row.lost or found.drops.get((number, looked.order))
            if why is not None and not unequal and not case.documents:
                done.note("dropped", why)
                continue
            for fault in looked.row.faults:
                if fault.fix == "change":
                    done.note("mended", fault)
            if write:
                write(looked)
            done.kept += 1
    return done


def _document_goes(case: Case, number: int, found: TextExamination, done: CleanedFile) -> bool:
    """Whether a whole file is left out: it is empty, or another holds the same."""
    sheet = case.sheets[number]
    empty = next((f for f in found.faults if f.where == sheet.path.name and f.fix == "drop"), None)
    why = found.drops.get((number, 0)) or empty
    if why is None:
        return False
    done.note("dropped", why)
    return True


def _place(path: Path, root: Path, folder: Path) -> Path:
    """Where a file of the source stands in the copy."""
    place = folder / (path.relative_to(root) if root.is_dir() and path.is_relative_to(root) else path.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _writer(sheet: Sheet, place: Callable[[Path], Path]) -> AbstractContextManager[Write]:
    if isinstance(sheet, PairSheet):
        return _pairs(sheet, place(sheet.path), place(sheet.other))
    if isinstance(sheet, ParquetSheet):
        return _parquet(sheet, place(sheet.path))
    kinds: dict[type[Sheet], Callable[[Any, IO[str]], Write]] = {
        CsvSheet: _csv, JsonSheet: _json, TaggedSheet: _tagged, TextSheet: _text,
    }  # fmt: skip
    return _lines(sheet, place(sheet.path), kinds[type(sheet)])


def _opened(path: Path) -> IO[str]:
    return path.open("w", encoding="utf-8", newline="\n")


@contextmanager
def _lines(sheet: Any, path: Path, kind: Callable[[Any, IO[str]], Write]) -> Iterator[Write]:
    with _opened(path) as file:
        yield kind(sheet, file)


def _csv(sheet: CsvSheet, file: IO[str]) -> Write:
    rows = csv.writer(file, delimiter=sheet.mark, lineterminator="\n")
    rows.writerow(sheet.names)
    return lambda looked: rows.writerow([looked.row.cells.get(name, "") for name in sheet.names])


def _json(sheet: JsonSheet, file: IO[str]) -> Write:
    return lambda looked: _put(file, json.dumps(looked.row.cells, ensure_ascii=False, allow_nan=False))


def _text(sheet: TextSheet, file: IO[str]) -> Write:
    return lambda looked: _put(file, looked.row.cells["text"])


def _tagged(sheet: TaggedSheet, file: IO[str]) -> Write:
    def write(looked: Looked) -> None:
        cells = looked.row.cells
        for line in cells["before"]:
            _put(file, f"{line}\n")
        for columns in cells["columns"]:
            _put(file, sheet.mark.join(cell.strip() for cell in columns))
        if cells["columns"]:
            _put(file, "")

    return write


def _put(file: IO[str], line: str) -> None:
    file.write(line + "\n")


@contextmanager
def _pairs(sheet: PairSheet, first: Path, second: Path) -> Iterator[Write]:
    with _opened(first) as one, _opened(second) as two:

        def write(looked: Looked) -> None:
            for file, key in ((one, "source"), (two, "target")):
                if looked.row.cells[key] is not None:
                    _put(file, looked.row.cells[key])

        yield write


@contextmanager
def _parquet(sheet: ParquetSheet, path: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([field.with_name(name) for field, name in zip(sheet.schema, sheet.names, strict=True)])
    schema = schema.with_metadata(sheet.schema.metadata)
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as file:

        def flush() -> None:
            if waiting:
                file.write_table(pa.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        def write(looked: Looked) -> None:
            waiting.append(looked.row.cells)
            if len(waiting) >= 1024:
                flush()

        yield write
        flush()
