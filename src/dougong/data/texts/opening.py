"""Which files of a source hold texts, and reading them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dougong.data.names import LABEL_COLUMNS, PATH_COLUMNS, clean, shown
from dougong.data.texts.rows import TextData
from dougong.data.texts.tables import ENDINGS, read_tables
from dougong.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SAMPLE = 65536
"""Bytes that are looked at to tell what a table holds."""


def text_files(source: str | Path) -> list[tuple[Path, str | None]]:
    """The files of a source that hold texts, with their splits; none when it is something else.

    A table that names pictures in a column is not one of texts.
    """
    from dougong.data.sources import given_path, split_files, there, unwrapped

    path = given_path(source)
    if not there(path):
        return []
    if path.is_dir():
        inner = unwrapped(path)
        files = split_files(inner, ENDINGS)
    else:
        files = [(path, None)] if path.suffix.lower() in ENDINGS else []
    return files if files and path.stat().st_size and _holds_texts(files[0][0]) else []


def read_texts(
    source: str | Path, *, split: str | None = None, seed: int = 0, text: str | Sequence[str] | None = None,
    label: str | None = None,
) -> TextData:  # fmt: skip
    """Open texts for training: train, val and test are made where they are missing.

    Args:
        source: a CSV, TSV, JSON Lines or Parquet file with a text and a label in each row, or a folder of such files
            named after splits, as train.csv, dev.csv and test.csv.
        split: "80/10/10", per cent for train/val/test, where the source has no splits.
        seed: of the split.
        text: the column of the text, or two columns; guessed when None.
        label: the column of the label; guessed when None.

    Raises:
        UserError: no such source, nothing in it that holds texts, or a row that cannot be used.
    """
    files = text_files(source)
    if not files:
        raise UserError(str(source), "holds no texts that are read", f"give {shown(list(ENDINGS))} files")
    path = Path(source).expanduser().resolve()
    name = path.name if path.is_dir() else path.stem
    return read_tables(files, name, str(source), split=split, seed=seed, text=text, label=label)


def _holds_texts(file: Path) -> bool:
    """Whether a table names a text and no picture: neither by its columns nor by what stands in its first rows."""
    ending = file.suffix.lower()
    if ending == ".jsonl":
        return True
    if ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            schema = pq.read_schema(file)
        except (OSError, pa.ArrowException):
            return False
        words = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        return "image" not in schema.names and any(clean(name).lower() not in LABEL_COLUMNS for name in words)
    try:
        with file.open("rb") as opened:
            lines = opened.read(SAMPLE).decode("utf-8-sig", "replace").splitlines()[:20]
    except OSError:
        return False
    if not lines:
        return False
    mark = "\t" if ending == ".tsv" else max(",;\t", key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=mark))
    names = [clean(cell).lower() for cell in rows[0]]
    pictures = any(Path(cell.strip()).suffix.lower() in PICTURES for row in rows for cell in row if len(cell) < 300)
    return len(names) > 1 and not any(name in PATH_COLUMNS for name in names) and not pictures
