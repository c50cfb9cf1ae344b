"""Plain documents, to model their language: text files, or the text column of a table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from dougong.data.names import clean
from dougong.data.splitting import parse_split
from dougong.data.texts.caching import is_large
from dougong.data.texts.dividing import SPLITS, divided
from dougong.data.texts.plain import text_of
from dougong.data.texts.rows import TextData, TextRow, TextSplit, key_of
from dougong.data.texts.tables import place_of, read_table, text_column
from dougong.errors import UserError

ENDINGS = (".txt", ".md")
DEFAULT = "90/5/5"
MANY = 20
"""Documents from which on whole ones go to val and test; of fewer, each is cut in three."""


def read_corpus(
    files: Sequence[tuple[Path, str | None]], name: str, source: str, *, split: str | None = None, seed: int = 0,
    text: str | None = None,
) -> TextData:  # fmt: skip
    """Documents: each text file is one, and each row of a table.

    Args:
        files: text files or tables, with their splits.
        name: of the data.
        source: as the user gave it.
        split: "90/5/5", where the files have no splits. A few long documents are cut, each into its beginning, middle
            and end, at ends of lines; of many, whole ones are drawn.
        seed: of that draw.
        text: the column of a table; guessed when None.

    Raises:
        UserError: a file that cannot be read, or no text at all.
    """
    if is_large([path for path, _ in files]):
        from dougong.data.texts.streaming import read_large_corpus

        return read_large_corpus(files, name, source, split=split, seed=seed, text=text)
    notes: list[str] = []
    columns: dict[str, str] = {}
    rows: list[tuple[TextRow, str | None]] = []
    for path, part in files:
        if path.suffix.lower() in ENDINGS:
            documents = [(text_of(path), path.name)]
        else:
            table = read_table(path)
            column = text_column(table, path.name, text)
            columns["text"] = column
            documents = [
                (str(value or ""), place_of(path, number)) for number, value in enumerate(table[column].to_pylist())
            ]
        rows += [(TextRow((said,), where=where, key=key_of([said])), part) for said, where in documents if clean(said)]
    if not rows:
        raise UserError(source, "holds no text", "give files with something in them")
    if columns:
        notes.append(f"Read as text: column {columns['text']!r}.")
    if any(part for _, part in rows) or len(rows) >= MANY:
        parts, how = divided(rows, split if any(part for _, part in rows) else split or DEFAULT, seed, notes, source)
    else:
        shares = parse_split(split or DEFAULT)
        parts = {key: [] for key in SPLITS}
        for row, _ in rows:
            for key, piece in zip(SPLITS, cut(row, shares), strict=True):
                parts[key].append(piece)
        how = f"the first {shares[0]:.0%} of each document is train, then {shares[1]:.0%} val and {shares[2]:.0%} test"
        notes.append(f"The data has no splits: {how}.")
    splits = {key: TextSplit.of(part) for key, part in parts.items()}
    return TextData(name, source, "corpus", (), False, splits, columns, how, seed, notes)


def cut(row: TextRow, shares: tuple[float, float, float]) -> list[TextRow]:
    """A document in three, one after another, each cut made after the nearest line end.

    Raises:
        UserError: it is too short for that.
    """
    text = row.texts[0]
    places = [0]
    for share in (shares[0], shares[0] + shares[1]):
        wanted = int(share * len(text))
        end = text.find("\n", max(wanted - 1, 0))
        places.append(end + 1 if 0 <= end < wanted + 2000 else wanted)
    places.append(len(text))
    pieces = [text[start:stop] for start, stop in itertools.pairwise(places)]
    if not all(clean(piece) for piece in pieces):
        raise UserError(row.where, f"is too short to be cut in three ({len(text)} characters)", "give more text")
    return [
        TextRow((piece,), where=f"{row.where} from character {start}", key=key_of([piece]))
        for piece, start in zip(pieces, places, strict=False)
    ]
