"""Histories of users whose next items are asked for: of a file, and of the data that a model learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dougong.data.interactions.opening import rows_of
from dougong.data.interactions.sequences import InteractionData, starts_of
from dougong.data.texts.asked import Input


def histories_in(file: Path, columns: Mapping[str, str | None]) -> Iterator[Input]:
    """Of each user of a file his items, oldest first; rows that cannot be used are faults.

    Args:
        file: as `read_interactions` takes it; splits of its own are not looked at.
        columns: of user, item and time.

    Raises:
        UserError: it cannot be read.
    """
    rows, _ = rows_of(file, columns)
    for fault in rows.faults:
        if fault.severity == "error":
            yield Input(None, fault.where, fault.as_error())
    kept = np.flatnonzero(~rows.bad)
    keys = [rows.user[kept]] if rows.time is None else [rows.time[kept], rows.user[kept]]
    kept = kept[np.lexsort(keys)]
    item = rows.item[kept]
    starts = starts_of(rows.user[kept], len(rows.users))
    for user in np.flatnonzero(np.diff(starts)).tolist():
        names = rows.items.take(item[starts[user] : starts[user + 1]]).to_pylist()
        yield Input(tuple(names), f"user {rows.users[user].as_py()}")


def known_histories(data: InteractionData, users: Sequence[str]) -> Iterator[Input]:
    """All items of some users, oldest first; of one who is not known, none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    context = data.context("test")
    numbers = pc.index_in(pa.array(list(users), pa.string()), data.users).to_pylist()
    for name, number in zip(users, numbers, strict=True):
        items = () if number is None else tuple(data.names[item] for item in context.of_user(number))
        yield Input(items, f"user {name}" if number is not None else f"user {name} (not known)")
