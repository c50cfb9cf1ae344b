"""Files of interactions as columns of numbers, with the file and row of each; millions of rows in seconds."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dougong.data.interactions.naming import columns_of, header_of, mark_of, name_of
from dougong.data.listing import Fault
from dougong.data.names import SPLIT_NAMES
from dougong.data.texts.tables import unread
from dougong.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "val", "test")
NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
LISTED = 1000
"""Faults of one kind that are listed; all are counted."""


@dataclass(eq=False)
class Rows:
    """All rows of some files.

    Args:
        files: their names.
        users, items: names, by number.
        user, item: (n,) int32, -1 where there is none.
        time: (n,) int64 or float64; NaN, or the least number of all, where there is none; None for files without times.
        split: (n,) int8, numbers of `SPLITS`; None for files without splits of their own.
        file: (n,) int16.
        line: (n,) int64, of the file.
        columns: what was taken as what, of the first file.
        faults: what was wrong already.
        bad: (n,) whether a row cannot be used.
    """

    files: list[str]
    users: pa.Array
    items: pa.Array
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None
    split: np.ndarray | None
    file: np.ndarray
    line: np.ndarray
    columns: dict[str, str]
    faults: list[Fault] = field(default_factory=list)
    bad: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.user)

    def where(self, number: int) -> str:
        """File and row."""
        return f"{self.files[self.file[number]]}:{self.line[number]}"

    def report(
        self, rows: np.ndarray, what: Any, remedy: str, kind: str, severity: str = "error", fix: str = "drop"
    ) -> None:
        """Add a fault for each of some rows; of very many the first, and one that says how many more there are.

        Args:
            rows: (k,) their numbers.
            what: is wrong: words, or a function of a row's number that gives them.
            remedy, kind, severity, fix: see `Fault`.
        """
        for number in rows[:LISTED].tolist():
            said = what(number) if callable(what) else what
            self.faults.append(Fault(self.where(number), said, remedy, severity, kind, fix))
        if len(rows) > LISTED:
            said = f"and {len(rows) - LISTED:,} more of this kind"
            self.faults.append(Fault(self.files[0], said, remedy, severity, kind, fix))


def read_rows(files: Sequence[tuple[Path, str | None]], asked: Mapping[str, str | None]) -> Rows:
    """All rows of some files; rows that cannot be used are marked, and each is a fault.

    Args:
        files: with their splits.
        asked: the columns of user, item and time that the user names.

    Raises:
        UserError: a file that cannot be read, or a column that is not there.
    """
    import pyarrow as pa

    parts: list[Any] = []
    columns: dict[str, str] = {}
    for path, split in files:
        table, chosen, lines, faults = _table(path, asked)
        columns = columns or chosen
        parts.append((path, split, table, chosen, lines, faults))
    texts: dict[str, Any] = {}
    for role in ("user", "item"):
        whole = pa.chunked_array([_ids(table[chosen[role]]) for _, _, table, chosen, _, _ in parts], pa.string())
        texts[role] = _coded(whole)
    sizes = [table.num_rows for _, _, table, *_ in parts]
    rows = Rows(
        files=[path.name for path, *_ in parts],
        users=texts["user"][0], items=texts["item"][0], user=texts["user"][1], item=texts["item"][1],
        time=None, split=None,
        file=np.repeat(np.arange(len(parts), dtype=np.int16), sizes),
        line=np.concatenate([lines for *_, lines, _ in parts]) if parts else np.zeros(0, np.int64),
        columns=columns, faults=[fault for *_, faults in parts for fault in faults],
        bad=np.zeros(sum(sizes), bool),
    )  # fmt: skip
    for role, codes in (("user", rows.user), ("item", rows.item)):
        missing = np.flatnonzero(codes < 0)
        rows.report(missing, f"names no {role}", "fill it in, or take the row out", f"no {role}")
        rows.bad[missing] = True
        for name in texts[role][2][:LISTED]:
            what = f"the {role} {name!r} has blanks at its ends; it is read without them"
            rows.faults.append(Fault(rows.files[0], what, f"write {name.strip()!r}", "warning", "blanks"))
    _add_times(rows, [(table, chosen) for _, _, table, chosen, _, _ in parts])
    _add_splits(rows, [(split, table, chosen) for _, split, table, chosen, _, _ in parts])
    return rows


def _table(path: Path, asked: Mapping[str, str | None]) -> tuple[pa.Table, dict[str, str], np.ndarray, list[Fault]]:
    """The columns that matter, which is which, the line of each row, and rows that are none."""
    import pyarrow as pa

    names = header_of(path)
    if not names:
        raise UserError(path.name, "has no header", "give a first line with the names of the columns")
    chosen = columns_of(names, path.name, asked)
    try:
        ending = path.suffix.lower()
        if ending == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(path, columns=list(chosen.values()))
            return table, chosen, np.arange(table.num_rows, dtype=np.int64), []
        if ending == ".jsonl":
            import pyarrow.json as pj

            block = max(1, min(path.stat().st_size, 1 << 28))
            table = pj.read_json(path, pj.ReadOptions(block_size=block)).select(list(chosen.values()))
            return table, chosen, np.arange(1, table.num_rows + 1, dtype=np.int64), []
        table, lines, faults = _csv(path, names, list(chosen.values()))
        return table, chosen, lines, faults
    except (pa.ArrowException, OSError, KeyError) as error:
        raise unread(path, error if isinstance(error, Exception) else OSError()) from None


def _csv(path: Path, names: list[str], wanted: list[str]) -> tuple[pa.Table, np.ndarray, list[Fault]]:
    """A file with a header, every cell as text. Rows of another number of cells are faults; empty ones are none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    with path.open("rb") as opened:
        mark = mark_of(path, opened.readline().decode("utf-8-sig", "replace"))
    skipped: list[Any] = []

    def odd(row: Any) -> str:
        skipped.append(row)
        return "skip"

    def read(threads: bool) -> pa.Table:
        skipped.clear()
        quote: Any = False if path.suffix.lower() == ".inter" else '"'
        return csv.read_csv(
            path, csv.ReadOptions(use_threads=threads, column_names=names, skip_rows=1),
            csv.ParseOptions(delimiter=mark, quote_char=quote, ignore_empty_lines=False, invalid_row_handler=odd),
            csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False,
            ),
        )  # fmt: skip

    table = read(True)
    if skipped:  # only one thread knows their numbers
        table = read(False)
    faults = []
    lines = np.arange(2, table.num_rows + len(skipped) + 2, dtype=np.int64)
    gone = []
    for row in skipped:
        number = int(row.number)
        gone.append(number)
        said = f"has {row.actual_columns} cells, the header {row.expected_columns}"
        faults.append(
            Fault(f"{path.name}:{number}", said, "quote cells that hold the separator", kind="cells", fix="drop")
        )
    if gone:
        lines = np.setdiff1d(lines, np.array(gone), assume_unique=True)
    empty = functools.reduce(pc.and_, [pc.equal(table[name], "") for name in wanted])
    if pc.any(empty).as_py():
        kept = pc.invert(empty)
        table, lines = table.filter(kept), lines[kept.to_numpy()]
    return table, lines, faults


def _ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as text; whole numbers that were kept as floats are written as whole ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if pc.all(pc.or_kleene(pc.is_null(column), pc.equal(column, pc.floor(column)))).as_py() is not False:
            column = column.cast(pa.int64())
    if pa.types.is_nested(column.type):
        raise UserError("ids", f"are lists or objects ({column.type})", "write one user and one item in each row")
    return column.cast(pa.string())


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray, list[str]]:
    """Distinct names in the order in which they come, the number of each row's, -1 for none, and names with blanks
    at their ends, which are taken off."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = pa.chunked_array([column.combine_chunks()] if column.num_chunks else [pa.array([], pa.string())])
    held = encoded.chunk(0).dictionary_encode()
    plain = pc.utf8_trim_whitespace(held.dictionary)
    odd = held.dictionary.filter(pc.not_equal(plain, held.dictionary))
    again = pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain).dictionary_encode()
    number = np.append(pc.fill_null(again.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False), -1)
    codes = pc.fill_null(held.indices.cast(pa.int32()), len(number) - 1).to_numpy(zero_copy_only=False)
    return again.dictionary, number[codes].astype(np.int32, copy=False), odd.filter(pc.not_equal(odd, "")).to_pylist()


def _add_times(rows: Rows, parts: list[tuple[pa.Table, dict[str, str]]]) -> None:
    """The times of all rows, where every file has them; rows whose time cannot be read are bad."""
    if not parts or not all("time" in chosen for _, chosen in parts):
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[np.ndarray] = []
    missing: list[np.ndarray] = []
    wrong: list[np.ndarray] = []
    said: list[Any] = []
    for table, chosen in parts:
        values, none, odd = times_of(table[chosen["time"]])
        found.append(values)
        missing.append(none)
        wrong.append(odd)
        said.append(table[chosen["time"]])
    kinds = {values.dtype.kind for values in found}
    rows.time = np.concatenate([v.astype(np.float64) for v in found]) if len(kinds) > 1 else np.concatenate(found)
    none, odd = np.concatenate(missing), np.concatenate(wrong)
    rows.report(np.flatnonzero(none), "has no time", "fill it in, or take the row out", "no time")
    whole = pa.chunked_array([chunk for each in said for chunk in pc.cast(each, pa.string()).chunks], pa.string())
    rows.report(
        np.flatnonzero(odd), lambda number: f"the time {str(whole[number].as_py())[:40]!r} is none",
        "write seconds, or a date as 2024-05-31 12:00:00", "time",
    )  # fmt: skip
    rows.bad |= none | odd


def times_of(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times as numbers, (n,); and of which rows there is none, and of which it cannot be read.

    Dates become microseconds since 1970.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        none = pc.is_null(column, nan_is_null=True).to_numpy().astype(bool)
        numbers = column.cast(pa.int64() if pa.types.is_integer(column.type) else pa.float64())
        values = pc.fill_null(numbers, 0).to_numpy()
        return values, none, ~none & ~np.isfinite(values)
    column = pc.utf8_trim_whitespace(column)
    none = pc.fill_null(pc.equal(column, ""), True).to_numpy().astype(bool)
    text = pc.if_else(pa.array(none), pa.scalar(None, pa.string()), column)
    for kind in (pa.int64(), pa.float64()):
        try:
            values = pc.fill_null(pc.cast(text, kind), 0).to_numpy()
            return values, none, ~none & ~np.isfinite(values)  # text may say "nan" or "inf"
        except pa.ArrowInvalid:
            continue
    numeric = pc.fill_null(pc.match_substring_regex(text, NUMBER), False).to_numpy().astype(bool)
    if numeric.sum() * 2 >= (~none).sum():
        odd = ~numeric & ~none
        kept = pc.if_else(pa.array(numeric), text, pa.scalar(None, pa.string()))
        return pc.fill_null(pc.cast(kept, pa.float64()), 0).to_numpy(), none, odd
    try:
        dates = pc.cast(pc.replace_substring(text, "T", " "), pa.timestamp("us"))
        return pc.fill_null(dates.cast(pa.int64()), 0).to_numpy(), none, np.zeros(len(none), bool)
    except pa.ArrowInvalid:
        return _dates(text, none)


def _dates(text: pa.ChunkedArray, none: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dates of which some cannot be read: each distinct one is tried by itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = text.combine_chunks().dictionary_encode()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    known = []
    for value in encoded.dictionary.to_pylist():
        try:
            known.append(pc.cast(pa.array([value]), pa.timestamp("us")).cast(pa.int64())[0].as_py())
        except pa.ArrowInvalid:
            known.append(None)
    good = np.array([value is not None for value in known] + [False])
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), len(known)).to_numpy(zero_copy_only=False)
    values = np.array([value or 0 for value in known] + [0], np.int64)
    return values[codes], none, ~good[codes] & ~none


def _add_splits(rows: Rows, parts: list[tuple[str | None, pa.Table, dict[str, str]]]) -> None:
    """The split of each row, where files or a column say it."""
    import pyarrow as pa

    if not any(split or "split" in chosen for split, _, chosen in parts):
        return
    found = []
    for split, table, chosen in parts:
        if split is not None:
            found.append(np.full(table.num_rows, SPLITS.index(split), np.int8))
            continue
        names, codes = pa.array([], pa.string()), np.full(table.num_rows, -1)
        if "split" in chosen:
            names, codes, _ = _coded(table[chosen["split"]].cast(pa.string()))
        known = [SPLIT_NAMES.get(name_of(name)) for name in names.to_pylist()] + [None]
        numbers = np.array([SPLITS.index(name) if name else -1 for name in known], np.int8)
        found.append(numbers[codes])
    rows.split = np.concatenate(found)
    odd = np.flatnonzero(rows.split < 0)
    rows.report(odd, "has no split, or one that is none of train, val, test", "write one of these", "split")
    rows.bad[odd] = True
