"""From files of interactions to sequences in splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dougong.data.interactions.faults import copied, leaked
from dougong.data.interactions.naming import ENDINGS, files_of, looks_so
from dougong.data.interactions.reading import Rows, read_rows
from dougong.data.interactions.sequences import InteractionData, by_time, core, leave_one_out
from dougong.errors import UserError
from dougong.figures import are, many

LEAVE_ONE_OUT = "leave-one-out"
REMEDY = f"write --split {LEAVE_ONE_OUT}, or per cent by time, as --split 80/10/10"


def place_of(source: str | Path) -> Path | None:
    """The file or folder that a source is; that of an archive is unpacked. None where there is none.

    Raises:
        UserError: a data set of the hub that cannot be fetched, or a zip file that cannot be unpacked safely.
    """
    from dougong.data.archives import holds, unpack
    from dougong.data.sources import given_path, there, unwrapped

    path = given_path(source)
    if not there(path):
        return None
    if path.is_file() and path.suffix.lower() == ".zip":
        if not holds(path, lambda name: name.lower().endswith(ENDINGS)):
            return None
        path = unpack(path)
    return unwrapped(path) if path.is_dir() else path


def holds_interactions(source: str | Path) -> bool:
    """Whether a file, a folder or a zip file holds interactions: tables with a user and an item in each row."""
    try:
        path = place_of(source)
    except UserError:
        return False  # whoever opens it next says what is wrong with it
    files = files_of(path) if path is not None else []
    return bool(files) and looks_so(files[0][0])


def read_interactions(
    source: str | Path, *, split: str | None = None, user: str | None = None, item: str | None = None,
    time: str | None = None, k_core: int | None = None,
) -> InteractionData:  # fmt: skip
    """Open interactions for training.

    Args:
        source: a .inter file of RecBole, or a CSV, TSV, Parquet or JSON Lines file, with a user and an item in each row
            and, best, a time; a folder of such files named after splits; a zip of one of these.
        split: "leave-one-out", the default: of each user the last item is test, the one before it val; or "80/10/10",
            per cent by time, the same moment for all users. Only where the source has no splits of its own.
        user, item, time: columns; guessed by their names when None.
        k_core: users and items with fewer interactions are taken out, again and again; none when None.

    Raises:
        UserError: no such source, a row that cannot be used, a split that cannot be, or nothing left.
    """
    from dougong.data.opening import refuse

    rows, name = rows_of(source, {"user": user, "item": item, "time": time})
    refuse(rows.faults, source)
    return divided(rows, name, str(source), split, k_core)


def rows_of(source: str | Path, asked: Mapping[str, str | None]) -> tuple[Rows, str]:
    """All rows of a source, and what it is called.

    Raises:
        UserError: no such source, or one that holds no interactions.
    """
    from dougong.data.hub import hub_name, is_hub
    from dougong.data.sources import KINDS

    path = place_of(source)
    if path is None:
        raise UserError(str(source), "there is no such data", f"give {KINDS}")
    files = files_of(path)
    if not files:
        raise UserError(str(source), "holds no interactions that are read", f"give {', '.join(ENDINGS)} files")
    own = Path(source).expanduser().resolve()
    return read_rows(files, asked), hub_name(source) if is_hub(source) else own.name if own.is_dir() else own.stem


def divided(rows: Rows, name: str, source: str, split: str | None, k_core: int | None) -> InteractionData:
    """Rows as sequences in splits; rows that cannot be used are left out.

    Raises:
        UserError: a split that cannot be, or nothing left.
    """
    if not len(rows):
        raise UserError(source, "holds no interaction", "give some")
    notes = ["Read as " + ", ".join(f"{role}: column {column!r}" for role, column in rows.columns.items()) + "."]
    leaks = leaked(rows)
    if leaks.any():
        some = ", ".join(map(rows.where, np.flatnonzero(leaks)[:3].tolist()))
        notes.append(f"{many(int(leaks.sum()), 'interaction')} left out, because a later split holds the same: {some}.")
    again = np.zeros(len(rows), bool)
    again[copied(rows)[0]] = True
    if again.any():
        copies = int(again.sum())
        what = "which is a copy of another" if copies == 1 else "which are copies of others"
        notes.append(f"{many(copies, 'interaction')} left out, {what}.")
    kept = np.flatnonzero(~(rows.bad | leaks | again))
    if k_core:
        inside = core(rows.user[kept], rows.item[kept], k_core)
        gone = int((~inside).sum())
        kept = kept[inside]
        notes.append(f"{k_core}-core: {gone:,} of {gone + len(kept):,} interactions {are(gone)} taken out.")
        if not len(kept):
            raise UserError(f"k_core={k_core}", "leaves nothing of the data", "set it lower")
    users, user = _renumbered(rows.users, rows.user[kept])
    items, item = _renumbered(rows.items, rows.item[kept])
    time = None if rows.time is None else rows.time[kept]
    code, how = None, ""
    if rows.split is not None:
        if split is not None:
            raise UserError(f"--split {split}", "the data has its own splits", "leave --split out")
        code, how = rows.split[kept], "as given"
    elif split not in (None, LEAVE_ONE_OUT):
        code, how = _timed(time, str(split), rows)
    keys = [each for each in (code if rows.split is not None else None, time, user) if each is not None]
    order = np.lexsort(keys)  # stable: of equal times the order of the file holds
    user, item, kept = user[order], item[order], kept[order]
    if code is None:
        code, how = (
            leave_one_out(user, len(users)),
            "leave-one-out: of each user the last is test, the one before it val",
        )
        notes.append(f"The data has no splits: {how}.")
    else:
        code = code[order]
    if time is None:
        notes.append("No column of times: each user's rows are taken in the order of the file.")
    data = InteractionData(
        name, source, users, items, user, item, None if time is None else time[order], code, rows.files,
        rows.file[kept], rows.line[kept], rows.columns, how, len(user) - _distinct_pairs(user, item, len(items)),
    )  # fmt: skip
    data.notes = notes + _told(data)
    return data


def _timed(time: np.ndarray | None, split: str, rows: Rows) -> tuple[np.ndarray, str]:
    from dougong.data.splitting import parse_split

    if "/" not in split:
        raise UserError(f"--split {split}", "is no way to divide interactions", REMEDY)
    shares = parse_split(split)
    if time is None:
        raise UserError(f"--split {split}", "needs a column of times, and there is none", "name it by --time")
    code, moments = by_time(time, shares)
    if len(np.unique(code)) < 3:
        raise UserError(f"--split {split}", "leaves a split empty: too many times are the same", REMEDY)
    return code, f"{split} per cent train/val/test by time, cut at {moments[0]} and {moments[1]}"


def _told(data: InteractionData) -> list[str]:
    """What is to be known of the splits."""
    notes = []
    sizes = np.bincount(data.user, minlength=len(data.users))
    few = int((sizes < 3).sum())
    if few and data.how.startswith("leave"):
        notes.append(
            f"{few:,} of {len(data.users):,} users {'has' if few == 1 else 'have'} fewer than 3 interactions: all of "
            "these are train."
        )
    for split in ("val", "test"):
        found = data.context(split)
        if found.lone:
            none = "has none before it, and is" if found.lone == 1 else "have none before them, and are"
            notes.append(f"{many(found.lone, 'interaction')} of {split} {none} not asked about.")
        if not len(found.places):
            raise UserError(data.source, f"has no user with an item in {split} after another", "give longer histories")
    new = int((data.popularity[data.item[data.code == 2]] == 0).sum())
    if new:
        notes.append(f"{new:,} of {int((data.code == 2).sum()):,} test items {are(new)} in no training interaction.")
    if not (data.code == 0).any():
        raise UserError(data.source, "has nothing to train on", "give longer histories, or another split")
    if np.bincount(data.user[data.code == 0]).max() < 2:
        raise UserError(data.source, "has no user with two items to learn from", "give longer histories")
    return notes


def _distinct_pairs(user: np.ndarray, item: np.ndarray, items: int) -> int:
    pairs = np.sort(user.astype(np.int64) * max(1, items) + item)
    return int((pairs[1:] != pairs[:-1]).sum()) + min(1, len(pairs))


def _renumbered(names: Any, numbers: np.ndarray) -> tuple[Any, np.ndarray]:
    """Names that are still there, and numbers among them; order of first appearance stays."""
    import pyarrow as pa

    used = np.bincount(numbers, minlength=len(names)) > 0
    if used.all():
        return names, numbers
    place = np.cumsum(used) - 1
    return names.filter(pa.array(used)), place[numbers].astype(np.int32)
