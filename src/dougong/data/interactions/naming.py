"""Which files hold interactions, and which of their columns is the user, the item, the time and the split."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from dougong.data.names import LABEL_COLUMNS, SPLIT_COLUMNS, SPLIT_NAMES, clean, shown
from dougong.errors import UserError

ENDINGS = (".inter", ".csv", ".tsv", ".parquet", ".jsonl")
USERS = (
    "user_id", "user", "userid", "uid", "reviewerid", "reviewer_id", "customer_id", "customerid", "customer",
    "visitorid", "visitor_id", "member_id", "account_id", "session_id", "sessionid", "session",
)  # fmt: skip
ITEMS = (
    "item_id", "item", "itemid", "iid", "parent_asin", "asin", "product_id", "productid", "product", "movie_id",
    "movieid", "track_id", "trackid", "song_id", "book_id", "isbn", "article_id", "news_id", "business_id", "game_id",
    "artist_id", "artistid", "venue_id", "sku",
)  # fmt: skip
TIMES = (
    "timestamp", "time", "ts", "unixreviewtime", "unix_timestamp", "datetime", "date", "event_time", "created_at",
    "t_dat", "invoicedate", "reviewtime",
)  # fmt: skip
KNOWN = {"user": USERS, "item": ITEMS, "time": TIMES, "split": SPLIT_COLUMNS}
PROSE = ("text", "review", "content", "comment", "sentence")
"""Columns of a table that is one of texts when it has labels too, whoever wrote them."""


def name_of(column: str) -> str:
    """A column's name without RecBole's type: "user_id:token" is "user_id"."""
    return clean(column).partition(":")[0].lower()


def header_of(path: Path) -> list[str]:
    """The names of a file's columns as they stand in it; none where it cannot be read or has none."""
    import json

    import pyarrow as pa

    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        with path.open("rb") as opened:
            line = opened.readline(1 << 20).decode("utf-8-sig", "replace").rstrip("\r\n")
        if path.suffix.lower() == ".jsonl":
            row = json.loads(line)
            return list(row) if isinstance(row, dict) else []
        return next(csv.reader([line], delimiter=mark_of(path, line)), [])
    except (OSError, ValueError, csv.Error, pa.ArrowException):
        return []


def mark_of(path: Path, line: str) -> str:
    """The sign between the cells of a file whose first line is given."""
    return "\t" if path.suffix.lower() in (".tsv", ".inter") else max(",;\t|", key=line.count)


def looks_so(path: Path) -> bool:
    """Whether a file's columns are those of interactions: a user and an item, and not labelled texts."""
    names = [name_of(name) for name in header_of(path)]
    both = any(name in USERS for name in names) and any(name in ITEMS for name in names)
    texts = any(name in PROSE for name in names) and any(name in LABEL_COLUMNS for name in names)
    return both and (path.suffix.lower() == ".inter" or not texts)


def columns_of(names: Sequence[str], where: str, asked: Mapping[str, str | None]) -> dict[str, str]:
    """Which column is what: as asked, or by a usual name; time and split may be missing.

    Args:
        names: of the file's columns, as they stand in it.
        where: the file.
        asked: for "user", "item" and "time", a column's name.

    Raises:
        UserError: a column that is asked for is not there, or there is none that can be the user or the item.
    """
    plain = [name_of(name) for name in names]
    found: dict[str, str] = {}
    for role, known in KNOWN.items():
        wanted = asked.get(role)
        if wanted is not None:
            at = [place for place, name in enumerate(names) if wanted in (name, clean(name))]
            at = at or [place for place, name in enumerate(plain) if name == name_of(wanted)]
            if not at:
                raise UserError(where, f"has no column {wanted!r}", f"its columns are {shown(list(names))}")
        else:
            at = [plain.index(name) for name in known if name in plain][:1]
        if len(at) > 1 or (at and list(names).count(names[at[0]]) > 1):
            raise UserError(where, f"has two columns {names[at[0]]!r}", "give each its own name")
        if at:
            found[role] = names[at[0]]
        elif role in ("user", "item"):
            remedy = f"name it by --{role}, or call it {known[0]}"
            raise UserError(where, f"has no {role} column, only {shown(list(names)) or 'nothing'}", remedy)
    for role in ("item", "time"):
        if role in found and found[role] == found["user"]:
            raise UserError(where, f"column {found[role]!r} is to be the user and the {role}", "name two columns")
    return found


def files_of(path: Path) -> list[tuple[Path, str | None]]:
    """The files of a source that may hold interactions, each of a split or of none.

    A file by itself; of a folder, those named after splits, as train.csv or games.train.inter, or its only one, or the
    only .inter file.
    """
    if path.is_file():
        return [(path, None)] if path.suffix.lower() in ENDINGS and path.stat().st_size else []
    if not path.is_dir():
        return []
    held = [each for each in sorted(path.iterdir()) if each.is_file() and each.suffix.lower() in ENDINGS]
    for ending in ENDINGS:
        alike = [each for each in held if each.suffix.lower() == ending]
        named = [(each, _split_of(each)) for each in alike]
        if any(split == "train" for _, split in named):
            order = ("train", "val", "test")
            return sorted(
                ((each, split) for each, split in named if split), key=lambda one: (order.index(str(one[1])), one[0])
            )
        if len(alike) == 1 and (ending == ".inter" or len(held) == 1):
            return [(alike[0], None)]
    return []


def _split_of(path: Path) -> str | None:
    """The split that a file is named after: its first word, or the one before its ending."""
    words = path.stem.lower().replace("-", ".").replace("_", ".").split(".")
    return SPLIT_NAMES.get(words[0]) or SPLIT_NAMES.get(words[-1])
