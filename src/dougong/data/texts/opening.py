"""Which files of a source hold texts, and reading them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dougong.data.names import LABEL_COLUMNS, PATH_COLUMNS, clean, shown
from dougong.data.texts import corpus, pairs, tagged
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


def kind_of(source: str | Path, kind: str | None = None) -> str | None:
    """What texts a source holds: "texts" (labelled), "tags", "pairs" or "corpus"; None when it holds something else.

    Args:
        source: file or folder.
        kind: that is asked for; a table can be any but tags.
    """
    path = _inner(source)
    if path is None:
        return None
    if _files(path, tagged.ENDINGS):
        return "tags"
    if pairs.parallel_files(path):
        return "pairs"
    if text_files(source) or (kind in ("corpus", "pairs") and _files(path, ENDINGS)):
        return kind if kind in ("corpus", "pairs") else "texts"
    return "corpus" if _files(path, corpus.ENDINGS) or _documents(path) else None


def read_texts(
    source: str | Path, *, split: str | None = None, seed: int = 0, text: str | Sequence[str] | None = None,
    label: str | None = None, kind: str | None = None,
) -> TextData:  # fmt: skip
    """Open texts for training: train, val and test are made where they are missing.

    Args:
        source: a CSV, TSV, JSON Lines or Parquet file with a text and a label in each row; CoNLL columns; a text file;
            or a folder of such files named after splits, as train.csv, dev.csv and test.csv, of parallel files, as
            train.de and train.en, or of text files.
        split: "80/10/10", per cent for train/val/test, where the source has no splits.
        seed: of the split.
        text: the column of the text, or two columns; of pairs, what is read; guessed when None.
        label: the column of the label; of pairs, what is written; guessed when None.
        kind: "texts", "tags", "corpus" or "pairs"; told by the files when None.

    Raises:
        UserError: no such source, nothing in it that holds texts, or a row that cannot be used.
    """
    path = _inner(source)
    found = kind_of(source, kind)
    if path is None or found is None:
        raise UserError(
            str(source), "holds no texts that are read",
            f"give {shown([*ENDINGS, *corpus.ENDINGS, *tagged.ENDINGS[:2]], 8)} files",
        )  # fmt: skip
    own = Path(source).expanduser().resolve()
    name, said = own.name if own.is_dir() else own.stem, str(source)
    one = text if text is None or isinstance(text, str) else text[0]
    if found == "tags":
        return tagged.read_tagged(_files(path, tagged.ENDINGS), name, said, split=split, seed=seed)
    if found == "pairs" and path.is_dir() and pairs.parallel_files(path):
        return pairs.read_parallel(path, name, said, split=split, seed=seed, text=one, label=label)
    if found == "pairs":
        return pairs.read_pairs(_files(path, ENDINGS), name, said, split=split, seed=seed, text=one, label=label)
    if found == "corpus":
        files = _files(path, ENDINGS) if kind == "corpus" else []
        files = files or _files(path, corpus.ENDINGS) or _documents(path)
        return corpus.read_corpus(files, name, said, split=split, seed=seed, text=one)
    return read_tables(text_files(source), name, said, split=split, seed=seed, text=text, label=label)


def _inner(source: str | Path) -> Path | None:
    """The file or folder that a source is; None when there is none."""
    from dougong.data.sources import given_path, there, unwrapped

    path = given_path(source)
    if not there(path):
        return None
    return unwrapped(path) if path.is_dir() else path


def _files(path: Path, endings: tuple[str, ...]) -> list[tuple[Path, str | None]]:
    """The file, or those of a folder that are named after splits."""
    from dougong.data.sources import split_files

    if path.is_dir():
        return split_files(path, endings)
    return [(path, None)] if path.suffix.lower() in endings and path.stat().st_size else []


def _documents(path: Path) -> list[tuple[Path, str | None]]:
    """The text files of a folder that holds nothing else, those that begin with a point left out."""
    if not path.is_dir():
        return []
    held = [each for each in sorted(path.iterdir()) if not each.name.startswith(".")]
    if not held or any(not each.is_file() or each.suffix.lower() not in corpus.ENDINGS for each in held):
        return []
    return [(each, None) for each in held]


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
