"""Train, val and test of texts: as the source gives them, or made."""

from __future__ import annotations

from collections.abc import Iterable

from dougong.data.splitting import DEFAULT, parse_split, split_samples
from dougong.data.texts.rows import TextRow
from dougong.errors import UserError

SPLITS = ("train", "val", "test")
HELD_OUT = 0.1


def divided(
    rows: list[tuple[TextRow, str | None]],
    split: str | None,
    seed: int,
    notes: list[str],
    source: str,
    unit: str = "text",
) -> tuple[dict[str, list[TextRow]], str]:
    """Train, val and test: as given, without texts that a later split holds; what is missing taken from train.

    Args:
        rows: each with its split, None where the source names none.
        split: "80/10/10", where the source has no splits.
        seed: of the split.
        notes: what is decided here is added to them.
        source: as the user gave it.
        unit: what a row is called.

    Returns:
        Rows by split, and how they were made, in words.

    Raises:
        UserError: ``split`` for data that has splits, or too few rows to fill one.
    """
    if not rows:
        raise UserError(source, "has no rows with a text", "give texts with their labels, a row each")
    given = [name for name in SPLITS if any(part == name for _, part in rows)]
    if given and split is not None:
        raise UserError(f"--split {split}", f"the data has its own splits ({', '.join(given)})", "leave --split out")
    labelled = any(row.labels for row, _ in rows)
    by = ", stratified by class" if labelled else ""
    if not given:
        how = f"{split or DEFAULT} per cent train/val/test{by}, seed {seed}"
        notes.append(f"The data has no splits: divided {how}.")
        parted = split_samples(
            [_class(row) for row, _ in rows], [row.key for row, _ in rows], parse_split(split or DEFAULT), seed
        )
        parts = {name: [rows[i][0] for i in part] for name, part in zip(SPLITS, parted, strict=True)}
        _all_filled(parts, source, unit)
        return parts, how
    last: dict[str, int] = {}
    for row, part in rows:
        last[row.key] = max(last.get(row.key, 0), SPLITS.index(part or "train"))
    kept = [(row, part) for row, part in rows if SPLITS.index(part or "train") == last[row.key]]
    if len(kept) < len(rows):
        notes.append(left_out(len(rows) - len(kept), unit))
    parts = {name: [row for row, part in kept if part == name] for name in SPLITS}
    how = f"as given ({', '.join(given)})"
    for number, name in enumerate(name for name in ("val", "test") if name not in given):
        share = HELD_OUT / (1 - HELD_OUT) if number else HELD_OUT
        train = parts["train"]
        rest, held = split_samples([_class(row) for row in train], [row.key for row in train], (1 - share, share), seed)
        parts[name], parts["train"] = [train[i] for i in held], [train[i] for i in rest]
        said = f"{name} is {HELD_OUT:.0%} of train{by}, seed {seed}"
        notes.append(f"The data has no {name}: {said}.")
        how += f"; {said}"
    _all_filled(parts, source, unit)
    return parts, how


def left_out(count: int, unit: str) -> str:
    """A line about rows that a later split holds, too."""
    return f"{count} {unit}{'s' * (count > 1)} left out, because val or test holds the same."


def contradicted(rows: Iterable[TextRow]) -> list[str]:
    """A line about texts that stand under several labels, which nothing can learn; none where there are none."""
    seen: dict[str, TextRow] = {}
    odd: dict[str, str] = {}
    for row in rows:
        first = seen.setdefault(row.key, row)
        if first.labels != row.labels:
            odd.setdefault(row.key, f"{first.where} and {row.where}")
    if not odd:
        return []
    texts = "1 text stands" if len(odd) == 1 else f"{len(odd)} texts stand"
    return [f"{texts} under other labels again, as {next(iter(odd.values()))}; dougong check names all."]


def _class(row: TextRow) -> int:
    return row.labels[0] if row.labels else 0


def _all_filled(parts: dict[str, list[TextRow]], source: str, unit: str = "text") -> None:
    rows = [row for several in parts.values() for row in several]
    for name, several in parts.items():
        if several:
            continue
        if len(rows) > 2 and len({row.labels for row in rows}) == len(rows):
            what = f"has {len(rows)} texts and as many labels, each but once: that is no label to learn"
            raise UserError(source, what, "name another column by --label")
        remedy = "give more, or other shares with --split"
        raise UserError(source, f"has too few {unit}s to fill {name}: {len(rows)}", remedy)
