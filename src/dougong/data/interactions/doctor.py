"""The data doctor for interactions: every fault with file and row, and a cleaned copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dougong.data.interactions.faults import copied, leaked, look
from dougong.data.interactions.naming import files_of
from dougong.data.interactions.opening import divided, place_of, rows_of
from dougong.data.interactions.reading import Rows
from dougong.data.listing import Fault
from dougong.errors import UserError


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found.

    Args:
        rows: all of them.
        faults: errors first.
        totals: how many of each (severity, kind, fix).
        counts: interactions, users and items of each split, as training would divide them; none where it would not.
        told: counts of what is told as a whole.
    """

    rows: Rows
    faults: list[Fault]
    totals: Counter[tuple[str, str, str]]
    counts: dict[str, dict[str, int]]
    told: dict[str, int]

    @property
    def errors(self) -> int:
        """How many."""
        return sum(count for (severity, *_), count in self.totals.items() if severity == "error")

    @property
    def warnings(self) -> int:
        """How many."""
        return self.totals.total() - self.errors


def examine_interactions(source: str | Path, asked: Mapping[str, str | None] | None = None) -> Examination:
    """Read all of a source and name every fault.

    Args:
        source: as `read_interactions` takes it.
        asked: the columns of user, item and time.

    Raises:
        UserError: there is no such source, or it holds no interactions.
    """
    rows, name = rows_of(source, asked or {})
    told = look(rows) if len(rows) else {}
    counts: dict[str, dict[str, int]] = {}
    try:
        counts = divided(rows, name, str(source), None, None).counts()
    except UserError as error:
        rows.faults.append(Fault(error.where, error.what, error.remedy, kind="too little"))
    faults = sorted(rows.faults, key=lambda fault: fault.severity != "error")
    return Examination(rows, faults, _totals(faults), counts, told)


def _totals(faults: list[Fault]) -> Counter[tuple[str, str, str]]:
    """How many faults of each kind there are, those counted in one line included."""
    found: Counter[tuple[str, str, str]] = Counter()
    for fault in faults:
        more = fault.what.removeprefix("and ").removesuffix(" more of this kind")
        several = fault.what.startswith("and ") and more.replace(",", "").isdecimal()
        found[fault.severity, fault.kind, fault.fix] += int(more.replace(",", "")) if several else 1
    return found


def write_clean(source: str | Path, folder: str | Path, found: Examination) -> list[dict[str, Any]]:
    """Write copies of the files without rows that cannot be used, copies and leaks; the rest stays letter for letter.

    Args:
        source: that was examined.
        folder: a new one, or an empty one.
        found: in it.

    Returns:
        Of each file its name, its rows, and how many were kept.

    Raises:
        UserError: the folder cannot be written to.
    """
    rows, path = found.rows, place_of(source)
    assert path is not None
    gone = rows.bad | leaked(rows)
    gone[copied(rows)[0]] = True
    out = Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"cannot be made ({error.strerror})", "give another folder by --fix") from None
    written = []
    for number, (file, _) in enumerate(files_of(path)):
        own = rows.file == number
        lines = rows.line[own & ~gone]
        if file.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(file)
            pq.write_table(table.take(lines), out / file.name)
            total = table.num_rows
        else:
            total = _copy_lines(file, out / file.name, lines, header=file.suffix.lower() != ".jsonl")
        written.append({"file": file.name, "rows": total, "kept": len(lines)})
    return written


def _copy_lines(source: Path, target: Path, kept: np.ndarray, header: bool) -> int:
    """Copy some lines of a file, numbered from 1, and the header; how many rows it has."""
    wanted, count = set(kept.tolist()), 0
    with source.open("rb") as given, target.open("wb") as taken:
        for number, line in enumerate(given, 1):
            first = header and number == 1
            count += bool(line.strip()) and not first
            if first or number in wanted:
                taken.write(line if line.endswith(b"\n") else line + b"\n")
    return count
