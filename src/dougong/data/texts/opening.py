"""Which files of a source hold texts, and reading them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dougong.data.hub import hub_name, is_hub, is_saved, left_out, saved_files
from dougong.data.names import PATH_COLUMNS, clean, shown
from dougong.data.texts import corpus, pairs, sentences, tagged
from dougong.data.texts.features import told_by
from dougong.data.texts.rows import TextData
from dougong.data.texts.tables import ENDINGS, read_tables, schema_of
from dougong.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SAMPLE = 65536
"""Bytes that are looked at to tell what a table holds."""


def text_files(source: str | Path) -> list[tuple[Path, str | None]]:
    """The tables of a source that hold texts, with their splits; none when it is something else.

    A table that names pictures in a column is not one of texts.

    Raises:
        UserError: a zip file, or a data set of the hub, that cannot be opened.
    """
    path = _inner(source)
    files = [] if path is None else _files(path, ENDINGS)
    return files if files and _told(files[0][0]) else []


def kind_of(source: str | Path, kind: str | None = None) -> str | None:
    """What texts a source holds: "texts" (labelled), "tags", "pairs" or "corpus"; None when it holds something else.

    Args:
        source: file or folder, zip file, or data set of the hub.
        kind: that is asked for; a table can be any but tags. Pairs, tables and text files can all be "sentences".

    Raises:
        UserError: a data set of the hub that cannot be fetched.
    """
    try:
        path = _inner(source)
    except UserError:
        if not str(source).lower().endswith(".zip"):
            raise
        return None  # whoever opens it next says what is wrong with it
    if path is None:
        return None
    if kind == "sentences" and (pairs.parallel_files(path) or _sentences(path)):
        return kind
    if _files(path, tagged.ENDINGS):
        return "tags"
    if pairs.parallel_files(path):
        return "pairs"
    tables = _files(path, ENDINGS)
    told = _told(tables[0][0]) if tables else None
    if told or (kind in ("corpus", "pairs") and tables):
        return kind if kind in ("corpus", "pairs") else told
    return "corpus" if _files(path, corpus.ENDINGS) or _documents(path) else None


def read_texts(
    source: str | Path, *, split: str | None = None, seed: int = 0, text: str | Sequence[str] | None = None,
    label: str | Sequence[str] | None = None, kind: str | None = None, labels_split: str | None = None,
) -> TextData:  # fmt: skip
    """Open texts for training: train, val and test are made where they are missing.

    Args:
        source: a CSV, TSV, JSON Lines or Parquet file with a text and a label in each row; CoNLL columns; a text file;
            a folder of such files named after splits, as train.csv, dev.csv and test.csv, of parallel files, as
            train.de and train.en, or of text files; a zip of any of these; a folder that `datasets` saved; or a data
            set of the hub, as hf:org/name@revision:config.
        split: "80/10/10", per cent for train/val/test, where the source has no splits.
        seed: of the split.
        text: the column of the text, or two columns; of pairs, what is read; guessed when None.
        label: the column of the label, or columns of 0 and 1, each named after a label; of pairs, what is written;
            guessed when None.
        kind: "texts", "tags", "corpus" or "pairs", told by the files when None; or "sentences", see
            `dougong.data.texts.sentences.read_sentences`.
        labels_split: the sign between the labels of a cell, where a text may have several.

    Raises:
        UserError: no such source, nothing in it that holds texts, or a row that cannot be used.
    """
    path = _inner(source)
    found = kind_of(source, kind)
    if path is None or found is None:
        if str(source).lower().endswith(".zip") and Path(source).is_file():
            from dougong.data.archives import members_of

            members_of(Path(source))  # which says so where it is no whole zip
        raise UserError(
            str(source), "holds no texts that are read",
            f"give {shown([*ENDINGS, *corpus.ENDINGS, *tagged.ENDINGS[:2]], 8)} files",
        )  # fmt: skip
    try:
        data = _read(path, found, source, split, seed, text, label, kind, labels_split)
    except UserError as error:
        if not str(source).lower().endswith(".zip"):
            raise
        # said of the archive; the folder it was unpacked into is nobody's concern
        place = error.where.removeprefix(str(path)).strip("/")
        name = Path(source).name
        raise UserError(place if place == str(source) else f"{name}:{place}", error.what, error.remedy) from None
    data.notes[:0] = left_out(path)
    return data


def _read(
    path: Path, found: str, source: str | Path, split: str | None, seed: int, text: str | Sequence[str] | None,
    label: str | Sequence[str] | None, kind: str | None, labels_split: str | None,
) -> TextData:  # fmt: skip
    name, said = _name(source), str(source)
    one = text if text is None or isinstance(text, str) else text[0]
    if found != "texts" and (labels_split is not None or not isinstance(label, str | None)):
        raise UserError("label", f"{said} is read as {found}, which have no labels in columns", "leave it out")
    mark = label if isinstance(label, str) else None
    if found == "sentences":
        return sentences.read_sentences(
            path, _sentences(path), name, said, split=split, seed=seed, text=text, label=mark
        )
    if found == "tags":
        files = _files(path, tagged.ENDINGS) or _files(path, ENDINGS)
        return tagged.read_tagged(files, name, said, split=split, seed=seed)
    if found == "pairs" and path.is_dir() and pairs.parallel_files(path):
        return pairs.read_parallel(path, name, said, split=split, seed=seed, text=one, label=mark)
    if found == "pairs":
        return pairs.read_pairs(_files(path, ENDINGS), name, said, split=split, seed=seed, text=one, label=mark)
    tables = _files(path, ENDINGS)
    if found == "corpus" and not (label and tables):
        files = tables if kind == "corpus" or (tables and _told(tables[0][0])) else []
        files = files or _files(path, corpus.ENDINGS) or _documents(path)
        return corpus.read_corpus(files, name, said, split=split, seed=seed, text=one)
    return read_tables(tables, name, said, split=split, seed=seed, text=text, label=label, labels_split=labels_split)


def _name(source: str | Path) -> str:
    """What data are called in titles."""
    if is_hub(source):
        return hub_name(source)
    own = Path(source).expanduser().resolve()
    return own.name if own.is_dir() else own.stem


def _inner(source: str | Path) -> Path | None:
    """The file or folder that a source is; None when there is none, or it is a zip without texts.

    Raises:
        UserError: a zip file that holds texts and cannot be unpacked safely.
    """
    from dougong.data.archives import holds, unpack
    from dougong.data.sources import given_path, only_member, there, unwrapped

    path = given_path(source)
    if not there(path):
        return None
    if path.is_file() and path.suffix.lower() == ".zip":
        return only_member(_innermost(unwrapped(unpack(path))), ENDINGS_OF_TEXTS) if holds(path, _is_text) else None
    return _innermost(unwrapped(path)) if path.is_dir() else path


def _innermost(folder: Path) -> Path:
    """The folder inside, while a folder holds nothing but one that holds texts."""
    from dougong.data.folders import files_in, subfolders

    inner = subfolders(folder)
    if len(inner) != 1 or files_in(folder) or not any(_is_text(path.name) for path in files_in(inner[0])):
        return folder
    return _innermost(inner[0])


ENDINGS_OF_TEXTS = (*ENDINGS, *corpus.ENDINGS, *tagged.ENDINGS)


def _is_text(name: str) -> bool:
    """Whether a file's name is one of texts, or of parallel files."""
    path = Path(name)
    return path.suffix.lower() in ENDINGS_OF_TEXTS or pairs.side_of(path) is not None


def _files(path: Path, endings: tuple[str, ...]) -> list[tuple[Path, str | None]]:
    """The file, or those of a folder that are named after splits."""
    from dougong.data.sources import split_files

    if path.is_dir():
        if is_saved(path):
            return saved_files(path) if ".arrow" in endings else []
        return split_files(path, endings) or split_files(path / "data", endings)
    return [(path, None)] if path.suffix.lower() in endings and path.stat().st_size else []


def _sentences(path: Path) -> list[tuple[Path, str | None]]:
    """The tables, or text files, of a source."""
    return _files(path, ENDINGS) or _files(path, corpus.ENDINGS) or _documents(path)


def _documents(path: Path) -> list[tuple[Path, str | None]]:
    """The text files of a folder that holds nothing else, those that begin with a point left out."""
    if not path.is_dir():
        return []
    held = [each for each in sorted(path.iterdir()) if not each.name.startswith(".")]
    if not held or any(not each.is_file() or each.suffix.lower() not in corpus.ENDINGS for each in held):
        return []
    return [(each, None) for each in held]


def _told(file: Path) -> str | None:
    """What texts a table holds; None when it holds none, or names pictures in a column or in its first rows."""
    ending = file.suffix.lower()
    if ending == ".jsonl":
        return "texts"
    if ending in (".parquet", ".arrow"):
        try:
            return told_by(schema_of(file))
        except UserError:
            return None
    try:
        with file.open("rb") as opened:
            lines = opened.read(SAMPLE).decode("utf-8-sig", "replace").splitlines()[:20]
    except OSError:
        return None
    if not lines:
        return None
    mark = "\t" if ending == ".tsv" else max(",;\t", key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=mark))
    names = [clean(cell).lower() for cell in rows[0]]
    pictures = any(Path(cell.strip()).suffix.lower() in PICTURES for row in rows for cell in row if len(cell) < 300)
    if pictures or any(name in PATH_COLUMNS for name in names):
        return None
    return "texts"
