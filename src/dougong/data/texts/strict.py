"""What a fast reader would pass over in silence, or explain badly: asked before and after it reads a table.

Arrow reads a CSV file with a quote that never ends as one with a very long cell, a header that comes again as a row,
and a zero byte as a letter; and where it does refuse, it does not name the line.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from dougong.data.texts.table_sheets import CsvSheet, Sheet, open_sheet


def refuse_broken(path: Path) -> None:
    """Refuse a CSV or TSV file whose rows are not in order. It is read once, at about the speed of the disk.

    Raises:
        UserError: the first row that is not.
    """
    sheet = open_sheet(path, None)
    _refuse(sheet)
    if isinstance(sheet, CsvSheet) and not _all_simple(sheet):
        _refuse_rows(sheet)


def explained(path: Path) -> None:
    """Say of a table that a fast reader has refused which row is why.

    Raises:
        UserError: the first row that is not in order; none may be found.
    """
    sheet = open_sheet(path, None)
    _refuse(sheet)
    _refuse_rows(sheet)


def _refuse(sheet: Sheet) -> None:
    for fault in sheet.faults:
        if fault.severity == "error":
            raise fault.as_error()


def _refuse_rows(sheet: Sheet) -> None:
    for row in sheet.rows():
        for fault in row.faults:
            if fault.severity == "error":
                raise fault.as_error()


def _all_simple(sheet: CsvSheet) -> bool:
    """Whether each line is a row by itself, with as many cells as the header: then there is no more to ask."""
    mark = re.escape(sheet.mark.encode())
    cell = rb'(?:"(?:[^"\0\r\n]++|"")*+"(?=' + mark + rb'|\r?\n|\Z)|(?!")[^' + mark + rb"\0\r\n]*+)"
    row = re.compile(cell + (mark + cell) * (len(sheet.names) - 1) + rb"\r?\n?")
    again = _written(sheet)
    with sheet.path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not row.fullmatch(line) and line.strip(b"\r\n"):
                return False
            if number > sheet.begins and line.strip(b"\r\n") == again:
                return False
    return sheet.encoded is not None and sheet.encoded.codec == "utf-8"


def _written(sheet: CsvSheet) -> bytes:
    """The header as it stands in the file, when it comes again."""
    import io

    out = io.StringIO()
    csv.writer(out, delimiter=sheet.mark, lineterminator="").writerow(sheet.raw)
    return out.getvalue().encode("utf-8", "replace")
