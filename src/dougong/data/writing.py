"""Rows written to JSON Lines or CSV as they come, and a file that is there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dougong.errors import UserError

ENDINGS = (".jsonl", ".csv")


def checked_table(file: str | Path, option: str = "--out") -> Path:
    """The file that rows are going to be written to; it is not made yet.

    Args:
        file: as the user gave it.
        option: by which it was given.

    Raises:
        UserError: its ending is neither .jsonl nor .csv, or it is a folder, or lies in none.
    """
    path = Path(file)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{option} {file}", "is no kind of table", "end it in .csv or .jsonl")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{option} {file}", "lies in no folder that exists", "make the folder first")
    if path.is_dir():
        raise UserError(f"{option} {file}", "is a folder", "name a file")
    return path


class RowWriter:
    """Writes rows beside the file, to FILE.part, a whole line at a time; at the end it takes the file's name.

    In JSON Lines a row is an object. In CSV the first row's keys are the header, None is an empty cell, and what is
    neither text nor number (lists of labels, tags) stands as JSON.

    Args:
        file: that ends in .jsonl or .csv.
        option: by which the user gave it.
        keep: whether FILE.part stays where the work ends early and lines are in it; it is taken away else.
    """

    def __init__(self, file: str | Path, option: str = "--out", keep: bool = False) -> None:
        self.file, self.option, self.keep = checked_table(file, option), option, keep
        self.half = self.file.with_name(self.file.name + ".part")
        self.count = 0
        self._header: list[str] | None = None
        self._number = -1

    def __enter__(self) -> RowWriter:
        try:
            self._number = os.open(self.half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise self._refusal(error) from None
        return self

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, each with the keys of the first.

        Raises:
            UserError: the disk is full, or gone.
            ValueError: a row of a CSV with other keys.
        """
        for row in rows:
            line = self._csv(row) if self.file.suffix.lower() == ".csv" else _json(row)
            try:
                while line:  # a line is one call, so a kill finds whole lines
                    line = line[os.write(self._number, line) :]
            except OSError as error:
                raise self._refusal(error) from None
            self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._number)
        if kind is None:
            try:
                os.replace(self.half, self.file)
            except OSError as error:
                raise self._refusal(error) from None
        elif not (self.keep and self.count):
            self.half.unlink(missing_ok=True)

    def _csv(self, row: Mapping[str, Any]) -> bytes:
        rows = []
        if self._header is None:
            self._header = list(row)
            rows.append(self._header)
        if list(row) != self._header:
            raise ValueError(f"a row of {list(row)} under {self._header}")
        rows.append([_cell(value) for value in row.values()])
        into = io.StringIO()
        csv.writer(into, lineterminator="\n").writerows(rows)
        try:
            return into.getvalue().encode("utf-8", "surrogateescape")  # names of files may be no text
        except UnicodeEncodeError:
            return into.getvalue().encode("utf-8", "backslashreplace")

    def _refusal(self, error: OSError) -> UserError:
        said = f"cannot be written ({error.strerror or error})"
        return UserError(f"{self.option} {self.file}", said, "name a file in a folder that exists and has room")


def _cell(value: Any) -> Any:
    """A value in CSV: text and numbers as they are, true and false in small letters, the rest as JSON."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False)


def _json(row: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can hold
        return (json.dumps(row) + "\n").encode()
