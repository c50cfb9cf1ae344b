"""Train, val and test of texts: as the source gives them, or made."""

from __future__ import annotations

from dougong.data.splitting import DEFAULT, parse_split, split_samples
from dougong.data.texts.rows import TextRow
from dougong.errors import UserError

SPLITS = ("train", "val", "test")
HELD_OUT = 0.1


def divided(
    rows: list[tuple[TextRow, str | None]], split: str | None, seed: int, notes: list[str], source: str
) -> tuple[dict[str, list[TextRow]], str]:
    """Train, val and test: as given, without texts that a later split holds; what is missing taken from train.

    Args:
        rows: each with its split, None where the source names none.
        split: "80/10/10", where the source has no splits.
        seed: of the split.
        notes: what is decided here is added to them.
        source: as the user gave it.

    Returns:
        Rows by split, and how they were made, in words.

    Raises:
        UserError: ``split`` for data that has splits, or too few rows to fill one.
    """
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
        _all_filled(parts, source)
        return parts, how
    last: dict[str, int] = {}
    for row, part in rows:
        last[row.key] = max(last.get(row.key, 0), SPLITS.index(part or "train"))
    kept = [(row, part) for row, part in rows if SPLITS.index(part or "train") == last[row.key]]
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} texts left out, because val or test holds the same.")
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
    _all_filled(parts, source)
    return parts, how


def _class(row: TextRow) -> int:
    return row.labels[0] if row.labels else 0


def _all_filled(parts: dict[str, list[TextRow]], source: str) -> None:
    for name, several in parts.items():
        if not several:
            raise UserError(source, f"has too few texts to fill {name}", "give more, or other shares with --split")
