"""What is wrong with rows of interactions that can all be read: copies, order, leaks, and who has too few."""

from __future__ import annotations

import numpy as np

from dougong.data.interactions.reading import SPLITS, Rows
from dougong.data.interactions.sequences import starts_of
from dougong.data.listing import Fault
from dougong.figures import many

FEWEST = 3
"""Interactions that a user needs to have one in each of train, val and test."""


def leaked(rows: Rows) -> np.ndarray:
    """Which interactions of train or val a later split holds too: the same user, item and time. bool (n,)."""
    found = np.zeros(len(rows), bool)
    if rows.split is None:
        return found
    order, first = _alike(rows)
    split = rows.split[order]
    last = np.maximum.reduceat(split, first) if len(first) else split
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(order))))
    found[order] = split < last[group]
    return found & ~rows.bad


def copied(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Interactions that are there before in the same split: their numbers, and those of the first ones, (k,) each.

    Without times nobody can tell a copy from a second meeting: there are none.
    """
    if rows.time is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order, first = _alike(rows)
    begins = np.zeros(len(order), bool)
    begins[first] = True
    if rows.split is not None:  # a copy in another split is a leak
        split = rows.split[order]
        begins[1:] |= split[1:] != split[:-1]
    heads = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    again = ~begins & ~rows.bad[order]
    return order[again], order[heads][group[again]]


def _alike(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """An order in which the same interactions lie side by side, earlier splits first; and where each begins in it."""
    keys = [np.arange(len(rows))] if rows.split is None else [np.arange(len(rows)), rows.split]
    told = [key for key in (rows.time, rows.item, rows.user) if key is not None]
    order = np.lexsort([*keys, *told])
    differs = np.zeros(max(0, len(order) - 1), bool)
    for key in told:
        differs |= key[order][1:] != key[order][:-1]
    return order, np.flatnonzero(np.concatenate(([True], differs))) if len(order) else np.zeros(0, np.int64)


def look(rows: Rows) -> dict[str, int]:
    """Add a fault for all that is odd about rows that can be used; counts of what is told as a whole.

    Args:
        rows: of a source; bad ones are passed over.
    """
    again, firsts = copied(rows)
    at = np.argsort(again)
    again, firsts = again[at], firsts[at]
    earlier = dict(zip(again.tolist(), firsts.tolist(), strict=True))
    rows.report(
        again,
        lambda number: f"is the same interaction as {rows.where(earlier[number])}",
        "take one out",
        "copy",
        "warning",
    )
    counts = {"copies": len(again)}
    counts["leaks"] = _leaks(rows)
    good = ~rows.bad
    good[again] = False
    kept = np.flatnonzero(good)
    user, item = rows.user[kept], rows.item[kept]
    counts |= _order(rows, kept)
    pairs = np.sort(user.astype(np.int64) * (int(item.max(initial=0)) + 1) + item)
    counts["met again"] = int((pairs[1:] == pairs[:-1]).sum())
    if counts["met again"]:
        what = f"holds {many(counts['met again'], 'interaction')} of a user with an item met before"
        remedy = "leave them, and set seen=include, where users come back to items; else take them out"
        _whole(rows, "met again", what, remedy)
    counts["users with few"] = _few(rows, user)
    once = int((np.bincount(item, minlength=len(rows.items)) == 1).sum())
    counts["items met once"] = once
    if once:
        _whole(
            rows, "items met once", f"holds {many(once, 'item')} in one interaction only", "set k_core=5, or leave them"
        )
    return counts


def _leaks(rows: Rows) -> int:
    if rows.split is None:
        return 0
    splits = rows.split
    same = np.flatnonzero(leaked(rows))
    rows.report(
        same, lambda number: f"is in {SPLITS[splits[number]]}, and the same interaction is in a later split",
        f"take it out of {SPLITS[0]}, as training does", "leak", "warning",
    )  # fmt: skip
    found = len(same)
    if rows.time is not None:
        good = np.flatnonzero(~rows.bad)
        for level in (1, 2):
            held = good[rows.split[good] == level]
            soonest = np.full(len(rows.users), np.inf)
            np.minimum.at(soonest, rows.user[held], rows.time[held])
            late = good[(rows.split[good] == 0) & (rows.time[good] > soonest[rows.user[good]])]
            rows.report(
                late, f"is in train, and comes after an interaction of the same user in {SPLITS[level]}",
                "divide by time: a model would learn from the future", "future", "warning", "",
            )  # fmt: skip
            found += len(late)
    return found


def _order(rows: Rows, kept: np.ndarray) -> dict[str, int]:
    """Times that go back in the file, and those that are the same for a user."""
    if rows.time is None:
        _whole(
            rows,
            "no times",
            "has no column of times: the order of the rows is taken for theirs",
            "give one, if it is not",
        )
        return {"out of order": 0, "equal times": 0}
    order = kept[np.argsort(rows.user[kept], kind="stable")]
    user, time = rows.user[order], rows.time[order]
    one = user[1:] == user[:-1]
    if rows.split is not None:
        one &= rows.split[order][1:] == rows.split[order][:-1]
    back = int((one & (time[1:] < time[:-1])).sum())
    if back:
        rest = (
            "is earlier than the row of the same user before it",
            "are earlier than the row of the same user before them",
        )
        what = f"holds {many(back, 'row')} that {rest[back > 1]}"
        _whole(rows, "out of order", what, "nothing: they are sorted by time when they are read")
    order = np.lexsort((np.arange(len(kept)), rows.time[kept], rows.user[kept]))
    user, time = rows.user[kept][order], rows.time[kept][order]
    alike = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    same = int(alike.sum())
    if same:
        place = rows.where(int(kept[order[1 + int(np.flatnonzero(alike)[0])]]))
        what = f"holds {many(same, 'interaction')} at the same time as another of the user, the first in {place}"
        _whole(rows, "equal times", what, "give finer times, if there are; the order of the rows is taken for theirs")
    starts = starts_of(user, len(rows.users))[:-1]
    if len(user) and np.array_equal(time, np.arange(len(user)) - starts[user] + 1):
        what = "has times that only count the rows of each user: they say nothing between users"
        _whole(rows, "running order", what, "divide by leave-one-out, not by time")
    return {"out of order": back, "equal times": same}


def _few(rows: Rows, user: np.ndarray) -> int:
    sizes = np.bincount(user, minlength=len(rows.users))
    few = np.flatnonzero((sizes > 0) & (sizes < FEWEST))
    if len(few) and rows.split is None:
        some = ", ".join(str(rows.users[int(each)]) for each in few[:3])
        users = f"{int((sizes > 0).sum()):,} users {'has' if len(few) == 1 else 'have'}"
        what = f"{len(few):,} of {users} fewer than {FEWEST} interactions, as {some}"
        _whole(rows, "few", what, "nothing: they are learnt from, and not judged by; k_core=5 takes them out")
    return len(few)


def _whole(rows: Rows, kind: str, what: str, remedy: str) -> None:
    rows.faults.append(Fault(rows.files[0] if len(rows.files) == 1 else "the data", what, remedy, "warning", kind))
