"""Sentences to be compared by vectors: pairs that mean the same, pairs with a score, or single ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.names import LABEL_COLUMNS, SPLIT_COLUMNS, named_split, shown
from dougong.data.texts.dividing import divided
from dougong.data.texts.pairs import parallel_files, read_parallel
from dougong.data.texts.plain import lines_of
from dougong.data.texts.rows import TextData, TextRow, TextSplit, key_of
from dougong.data.texts.tables import known_column, place_of, read_table
from dougong.errors import UserError
from dougong.figures import are, many

if TYPE_CHECKING:
    import pyarrow as pa

SCORES = ("score", "similarity", "similarity_score", "relatedness", "relatedness_score")
"""Columns that say how alike two texts are."""
COUPLES = (
    ("anchor", "positive"), ("query", "positive"), ("query", "passage"), ("query", "document"), ("query", "answer"),
    ("question", "answer"), ("question1", "question2"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2"),
    ("text1", "text2"), ("text_a", "text_b"), ("title", "body"), ("title", "abstract"), ("source", "target"),
)  # fmt: skip
"""Columns that are known to go together."""
LOOKED_AT = 200
"""Rows by which a column is told to hold texts."""

Rows = list[tuple[TextRow, str | None]]


def read_sentences(
    source: Path, files: Sequence[tuple[Path, str | None]], name: str, said: str, *, split: str | None = None,
    seed: int = 0, text: str | Sequence[str] | None = None, label: str | None = None,
) -> TextData:  # fmt: skip
    """Pairs of texts, of parallel files or of two columns of tables; or single texts, of one column or a line each.

    A row's ``tags`` hold its score, where a column has one. Of the roles of columns, "text" is the first text, "other"
    the second.

    Args:
        source: file or folder.
        files: tables, or text files, with their splits; not looked at for parallel files.
        name: of the data.
        said: the source as the user gave it.
        split: "80/10/10", where the source has no splits.
        seed: of the split.
        text: of tables one column, or two; guessed by their names and contents when None. Of parallel files the ending
            of the first.
        label: the second column, or ending, where ``text`` names one.

    Raises:
        UserError: a file that cannot be read, a column that is not there, a score that is no number, or no text at all.
    """
    named = [] if text is None else [text] if isinstance(text, str) else list(text)
    named += [label] if label is not None else []
    if len(named) > 2:
        raise UserError("--text and --label", f"name {len(named)} columns", "name one, or two")
    if parallel_files(source):
        first, second = (*named, None, None)[:2]
        data = read_parallel(source, name, said, split=split, seed=seed, text=first, label=second)
        columns = {"text": data.columns["text"], "other": data.columns["label"]}
        notes = [f"Read as pairs: .{columns['text']} and .{columns['other']}.", *data.notes[1:]]
        return replace(data, kind="sentences", columns=columns, notes=notes)
    rows: Rows = []
    empty: list[str] = []
    columns = {}
    for path, part in files:
        if path.suffix.lower() in (".txt", ".md"):
            for number, line in enumerate(lines_of(path), 1):
                _add(rows, empty, (line,), "", f"{path.name}:{number}", part)
        else:
            columns = _read_table(path, part, named, rows, empty)
    if not rows:
        raise UserError(said, "holds no text", "give a text, or a pair of texts, in each row")
    if len({len(row.texts) for row, _ in rows}) > 1 or len({bool(row.tags) for row, _ in rows}) > 1:
        raise UserError(said, "has files with other columns than the others", "give all of them the same columns")
    what = "Read as single texts" if len(rows[0][0].texts) == 1 else "Read as pairs"
    where = ", ".join(f"{key}: column {value!r}" for key, value in columns.items()) or "a line each"
    notes = [f"{what}, {where}."]
    if empty:
        lost = many(len(empty), "row")
        notes.append(f"{lost} without a text, or with an empty side, {are(len(empty))} left out: {shown(empty, 3)}.")
    parts, how = divided(rows, split, seed, notes, said, "text" if len(rows[0][0].texts) == 1 else "pair")
    splits = {key: TextSplit.of(part) for key, part in parts.items()}
    return TextData(name, said, "sentences", (), False, splits, columns, how, seed, notes)


def _read_table(path: Path, part: str | None, named: Sequence[str], rows: Rows, empty: list[str]) -> dict[str, str]:
    """Add the rows of a table; which column is what."""
    table = read_table(path)
    found = columns_of(table, path.name, named)
    texts = [table[found[key]].to_pylist() for key in ("text", "other") if key in found]
    scores = table[found["score"]].to_pylist() if "score" in found else [None] * len(table)
    splits = table[found["split"]].to_pylist() if "split" in found else [part] * len(table)
    for number, (score, own, *said) in enumerate(zip(scores, splits, *texts, strict=True)):
        place = place_of(path, number)
        here = part if "split" not in found else named_split(str(own or ""))
        if "split" in found and here is None:
            raise UserError(place, f"the split {own!r} is none of train, val, test", "write one of these")
        held = tuple(_text(value, place) for value in said)
        _add(rows, empty, held, _score(score, place) if "score" in found else "", place, here)
    return found


def columns_of(table: pa.Table, where: str, named: Sequence[str] = ()) -> dict[str, str]:
    """Which columns are the text, the second text, the score and the split.

    Args:
        table: whose columns are meant.
        where: its file.
        named: by the user, one column or two; with one, texts stand alone.

    Raises:
        UserError: a column that is not there, or several that could be meant.
    """
    lower = {column.lower(): column for column in table.column_names}
    split = next((lower[each] for each in SPLIT_COLUMNS if each in lower), None)
    score = next((lower[each] for each in SCORES if each in lower), None)
    texts = [known_column(table, where, each) for each in named]
    texts = texts or next(([lower[a], lower[b]] for a, b in COUPLES if a in lower and b in lower), [])
    if not texts:
        texts = [each for each in table.column_names if each not in (split, score) and _holds_texts(table, each)]
        if not texts or len(texts) > 2:
            what = f"which of its columns are meant is not clear: {shown(texts)}" if texts else "has no column of texts"
            raise UserError(where, what, "name one by --text COLUMN, or two: --text COLUMN --text COLUMN")
    found = dict(zip(("text", "other"), texts, strict=False))
    if score is not None and score not in texts and len(texts) == 2:
        found["score"] = score
    if split is not None and split not in texts:
        found["split"] = split
    return found


def _holds_texts(table: pa.Table, name: str) -> bool:
    """Whether a column holds words, not numbers or names of classes."""
    some = [value for value in table[name].slice(0, LOOKED_AT).to_pylist() if value not in (None, "")]
    if name.lower() in LABEL_COLUMNS or name.lower() in ("id", "idx", "index"):
        return False
    return bool(some) and all(isinstance(value, str) for value in some) and not all(map(_is_number, some))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _text(value: Any, place: str) -> str:
    if isinstance(value, list | dict):
        raise UserError(place, f"holds a {type(value).__name__}, not a text", "write one text in each cell")
    return "" if value is None else str(value)


def _score(value: Any, place: str) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(place, f"the score {value!r} is no number", "write a number, or take the row out")
    return repr(number)


def _add(rows: Rows, empty: list[str], texts: tuple[str, ...], score: str, where: str, part: str | None) -> None:
    if not all(text.strip() for text in texts):
        empty.append(where)
    else:
        rows.append((TextRow(texts, (), (score,) if score else (), where, key_of(texts)), part))
