"""Which files make a case for the doctor, and what their columns are: told by the rules of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dougong.data.listing import Fault
from dougong.data.names import SPLIT_COLUMNS, SPLIT_NAMES, shown
from dougong.data.tagging import recognise
from dougong.data.texts import corpus, opening, pairs, tables, tagged
from dougong.data.texts.case import Case
from dougong.data.texts.decoding import known_codec
from dougong.data.texts.lined import PairSheet, TaggedSheet, TextSheet
from dougong.data.texts.opened import OpenedSheet
from dougong.data.texts.several import usual_column
from dougong.data.texts.sheets import Sheet, said
from dougong.data.texts.table_sheets import CsvSheet, open_sheet
from dougong.errors import UserError

GUESSED_FROM = 2000
"""Rows from which it is told which column is what."""


def open_case(
    source: str | Path, kind: str | None = None, text: str | Sequence[str] | None = None, label: str | None = None,
    codec: str | None = None, labels_split: str | None = None,
) -> Case:  # fmt: skip
    """The files of a source and what their columns are.

    Args:
        source: file or folder that holds texts.
        kind: "texts", "tags", "pairs" or "corpus"; told by the files when None.
        text: the column of the text, or two.
        label: the column of the label; of pairs, of what is written.
        codec: the encoding of all files.
        labels_split: the sign between the labels of a cell, where a text may have several.

    Raises:
        UserError: it holds no texts, or none with labels that could be parted; or there is no such encoding.
    """
    codec = codec and known_codec(codec)
    found = opening.kind_of(source, kind)
    path = opening._inner(source)
    if found is None or path is None:
        raise UserError(str(source), "holds no texts that are read", "see docs/howto/check.md for what is")
    if labels_split is not None and (found != "texts" or not labels_split):
        what = f"{source} is read as {found}, which have no labels in columns" if labels_split else "is empty"
        raise UserError("--labels-split", what, "leave it out" if labels_split else "write the sign between labels")
    case = Case(found, [], labels_split=labels_split)
    if _only_opened(path, found, kind):
        try:
            data = opening.read_texts(source, kind=kind, text=text, label=label, labels_split=labels_split)
        except UserError as error:
            case.faults.append(Fault(error.where, error.what, error.remedy, kind="refused"))
            return case
        opened = [OpenedSheet(data, part) for part in data.splits]
        case.sheets += opened
        case.roles, case.notes = opened[0].roles(), data.notes
        case.scheme = "BIO" if found == "tags" else ""
        return case
    parallel = pairs.parallel_files(path) if found == "pairs" else {}
    if parallel:
        _open_parallel(case, parallel, text if text is None or isinstance(text, str) else text[0], label, codec)
        return case
    for file, part in _files(path, found, kind):
        try:
            case.sheets.append(_opened(file, part, found, codec))
        except UserError as error:
            case.faults.append(Fault(error.where, error.what, error.remedy, kind="unreadable"))
    if found == "tags":
        case.scheme = _scheme(case)
    elif case.sheets and not case.documents:
        try:
            case.roles = _roles(case, text, label)
        except UserError as error:
            case.faults.append(Fault(error.where, error.what, error.remedy, kind="columns"))
    elif case.sheets:
        case.roles = {"text": "text"}
    case.unlabelled = {sheet.path for sheet in case.sheets if _unlabelled(sheet, case)}
    for sheet in case.sheets if case.roles else ():
        for column in case.roles.values():
            if column not in sheet.names:
                what = f"has no column {said(column)}"
                case.faults.append(
                    Fault(sheet.path.name, what, f"its columns are {shown(sheet.names)}", kind="columns")
                )
    return case


def _only_opened(path: Path, found: str, kind: str | None) -> bool:
    """Whether the doctor's own readers do not read such files."""
    if found == "sentences":
        return True
    held = opening._files(path, tables.ENDINGS)
    packed = any(file.suffix.lower() == ".arrow" for file, _ in held)
    told = found in ("tags", "pairs") and kind is None and not pairs.parallel_files(path)
    return packed or (told and bool(held) and not opening._files(path, tagged.ENDINGS))


def _unlabelled(sheet: Sheet, case: Case) -> bool:
    """Whether a file of val or test holds no label at all, as those of contests: training leaves it out."""
    column = case.label_column
    if sheet.part not in ("val", "test") or column not in sheet.names or isinstance(sheet, CsvSheet):
        return False
    rows = 0
    for row in sheet.rows():
        rows += 1
        if row.cells.get(column) is not None:
            return False
    return rows > 0


def _opened(file: Path, part: str | None, kind: str, codec: str | None) -> Sheet:
    if kind == "tags":
        return TaggedSheet(file, part, codec)
    if file.suffix.lower() in corpus.ENDINGS:
        return TextSheet(file, part, codec)
    return open_sheet(file, part, codec)


def _files(path: Path, found: str, kind: str | None) -> list[tuple[Path, str | None]]:
    if found == "tags":
        return opening._files(path, tagged.ENDINGS)
    known = opening._files(path, tables.ENDINGS)
    if found != "corpus":
        return known
    return (
        (known if kind == "corpus" or (known and opening._told(known[0][0])) else [])
        or opening._files(path, corpus.ENDINGS)
        or opening._documents(path)
    )


def _open_parallel(
    case: Case, files: dict[str, dict[str, Path]], text: str | None, label: str | None, codec: str | None
) -> None:
    """The sides of parallel files, as `dougong.data.texts.pairs.read_parallel` takes them."""
    endings = sorted(set.intersection(*(set(sides) for sides in files.values())))
    for wanted in (text, label):
        if wanted is not None and wanted not in endings:
            raise UserError(f"--text {wanted}", "is no ending of the parallel files", f"there are {shown(endings)}")
    read = text or next(ending for ending in endings if ending != label)
    written = label or next(ending for ending in endings if ending != read)
    for stem, sides in files.items():
        part = SPLIT_NAMES[stem.lower().replace("-", ".").replace("_", ".").split(".")[0]]
        case.sheets.append(PairSheet(sides[read], sides[written], part, codec))
    case.roles = {"text": "source", "label": "target"}


def _scheme(case: Case) -> str:
    """The scheme of all tags that are of one; "" when none is."""

    def sentences() -> Iterator[list[str]]:
        known: dict[str, bool] = {}
        for sheet in case.sheets:
            for row in sheet.rows():
                tags = row.cells["tags"]
                for tag in set(tags) - set(known):
                    known[tag] = recognise([[tag]]) != "plain"
                if not row.lost and all(known[tag] for tag in tags):
                    yield tags

    found = recognise(sentences())
    return found if found != "plain" else ""


def _roles(case: Case, text: str | Sequence[str] | None, label: str | None) -> dict[str, str]:
    """Which column is what, told by the rules of training from the first rows that are whole.

    Raises:
        UserError: a column that is not there, or none that can be meant.
    """
    import pyarrow as pa

    sheet = case.sheets[0]
    some: list[dict[str, Any]] = []
    for row in sheet.rows():
        if not row.lost:
            some.append(row.cells)
        if len(some) >= GUESSED_FROM:
            break
    if not some:
        return {}  # nothing to tell it from; that is said of the rows
    columns = {name: [_word(cells.get(name)) for cells in some] for name in sheet.names}
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    where = sheet.path.name
    one = text if text is None or isinstance(text, str) else text[0]
    if case.kind == "corpus":
        return {"text": tables.text_column(table, where, one)}
    if case.kind == "texts":
        if case.labels_split is not None and label is None:
            label = usual_column(table, where)
        return tables.columns_of(table, where, text, label)
    rest = [name for name in sheet.names if name.lower() not in SPLIT_COLUMNS]
    if len(rest) < 2:
        raise UserError(where, f"has no two columns of texts, only {shown(rest) or 'nothing'}", "add the other")
    read = tables.known_column(table, where, one) if one else next(each for each in rest if each != label)
    written = tables.known_column(table, where, label) if label else next(each for each in rest if each != read)
    own = next((name for name in sheet.names if name.lower() in SPLIT_COLUMNS), None)
    return {"text": read, "label": written} | ({"split": own} if own else {})


def _word(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).encode("utf-8", "replace").decode()
