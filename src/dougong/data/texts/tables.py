"""Labelled texts in CSV, TSV, JSON Lines, Parquet and Arrow files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dougong.data.names import LABEL_COLUMNS, SPLIT_COLUMNS, clean, named_split, shown
from dougong.data.texts.caching import is_large
from dougong.data.texts.dividing import contradicted, divided
from dougong.data.texts.features import class_names, features_of, named
from dougong.data.texts.rows import TextData, TextRow, TextSplit, key_of
from dougong.data.texts.several import is_list, names_of, said_aloud, with_lists
from dougong.data.texts.strict import explained, refuse_broken
from dougong.errors import UserError
from dougong.figures import are, many

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.csv as pc

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".arrow")
TEXT_COLUMNS = (
    "text",
    "sentence",
    "review",
    "content",
    "comment",
    "document",
    "question",
    "question1",
    "premise",
    "sentence1",
    "tweet",
)
Cells = tuple[tuple[str, ...], tuple[str, ...], str | None, str]
"""Texts, labels, split and place of a row."""
SECOND_COLUMNS = ("text2", "sentence2", "hypothesis", "answer", "passage", "text_b", "question2")


def read_tables(
    files: Sequence[tuple[Path, str | None]], name: str, source: str, *, split: str | None = None, seed: int = 0,
    text: str | Sequence[str] | None = None, label: str | Sequence[str] | None = None, labels_split: str | None = None,
) -> TextData:  # fmt: skip
    """Labelled texts of some files, each of a split or of none.

    Args:
        files: with their splits.
        name: of the data.
        source: as the user gave it.
        split: "80/10/10", where the files have no splits.
        seed: of the split.
        text: the column of the text, or two of them; guessed by their names and contents when None.
        label: the column of the label, or columns of 0 and 1, each named after a label.
        labels_split: the sign between the labels of a cell, where a text may have several; see
            `dougong.data.texts.several.with_lists`.

    Raises:
        UserError: a file that cannot be read, a column that is not there, or a row without a label.
    """
    if is_large([path for path, _ in files]):
        from dougong.data.texts.streaming import read_large_tables

        return read_large_tables(
            files, name, source, split=split, seed=seed, text=text, label=label, labels_split=labels_split
        )
    held = [(path, part, with_lists(read_table(path), path, label, labels_split)) for path, part in files]
    tables = [(path, part, table) for path, part, (table, _, _) in held]
    _, column, declared = held[0][2]
    chosen = columns_of(tables[0][2], str(tables[0][0].name), text, column)
    several = any(is_list(table, chosen["label"]) for _, _, table in tables)
    bare = [each for each in tables if each[1] in ("val", "test") and unlabelled(each[2], chosen["label"])]
    tables = [each for each in tables if each not in bare]
    cells: list[Cells] = []
    empty: list[str] = []
    for path, part, table in tables:
        cells += cells_of(table, path, part, chosen, empty)
    notes = (
        [f"{many(len(empty), 'row')} without a text {are(len(empty))} left out: {shown(empty, 3)}."] if empty else []
    )
    found = {label for cell in cells for label in cell[1]}
    classes = declared or in_order(found, class_names(features_of(tables[0][2].schema).get(chosen["label"])))
    rows = [
        (TextRow(texts, tuple(sorted(classes.index(name) for name in mark)), (), place, key_of(texts)), part)
        for texts, mark, part, place in cells
    ]
    notes[:0] = [f"{path.name} is left out: none of its rows has a label." for path, _, _ in bare]
    given, none = sum(len(cell[1]) for cell in cells), sum(not cell[1] for cell in cells)
    notes[:0] = said_aloud(len(cells), given, none, classes, several, source)
    notes.insert(0, "Read as " + ", ".join(f"{key}: column {value!r}" for key, value in chosen.items()) + ".")
    notes += contradicted(row for row, _ in rows)
    parts, how = divided(rows, split, seed, notes, source)
    return TextData(
        name, source, "texts", tuple(classes), several, {key: TextSplit.of(part) for key, part in parts.items()},
        chosen, how, seed, notes,
    )  # fmt: skip


def _flat(path: Path, table: pa.Table, column: str) -> None:
    """Refuse a column whose cells are no single values.

    Raises:
        UserError: it is.
    """
    import pyarrow as pa

    if pa.types.is_nested(table.schema.field(column).type):
        what = f"column {column!r} holds lists or objects ({table.schema.field(column).type})"
        raise UserError(path.name, what[:200], "write one text or one label in each row")


def cells_of(
    table: pa.Table, path: Path, part: str | None, chosen: Mapping[str, str], empty: list[str], first: int = 0
) -> list[Cells]:
    """The rows of a table: texts, label, split and place; those without a text are left out.

    Args:
        table: of the file, or of some rows of it.
        path: of the file.
        part: the split that the file is of.
        chosen: which column is what, see `columns_of`.
        empty: the places of rows without a text are added to it.
        first: the number of the table's first row in the file.

    Raises:
        UserError: a column that is not there, or a row without a label or with an unknown split.
    """
    for wanted in chosen.values():
        if wanted not in table.column_names:
            raise UserError(path.name, f"has no column {wanted!r}", f"its columns are {shown(table.column_names)}")
        if wanted != chosen["label"] or not is_list(table, wanted):
            _flat(path, table, wanted)
    found: list[Cells] = []
    texts = [table[chosen[key]].to_pylist() for key in ("text", "second") if key in chosen]
    labels = table[chosen["label"]].to_pylist()
    own = table[chosen["split"]].to_pylist() if "split" in chosen else [part] * len(labels)
    for number, row in enumerate(zip(labels, own, *texts, strict=True), first):
        place = place_of(path, number)
        said = tuple("" if each is None else str(each) for each in row[2:])
        if not any(each.strip() for each in said) and (not row[0] or not clean(str(row[0]))):
            empty.append(place)
            continue
        mark = names_of(row[0], place)
        here = part if "split" not in chosen else named_split(str(row[1] or ""))
        if "split" in chosen and here is None:
            raise UserError(place, f"the split {row[1]!r} is none of train, val, test", "write one of these")
        if said[0].strip():
            found.append((said, mark, here, place))
        else:
            empty.append(place)
    return found


def unlabelled(table: pa.Table, label: str) -> bool:
    """Whether no row of a table has a label, as in the test files of contests."""
    return label in table.column_names and table.num_rows > 0 and table[label].null_count == table.num_rows


def read_table(path: Path) -> pa.Table:
    """A file as an Arrow table whose columns have clean names; every cell of a CSV is text.

    Where the `datasets` library wrote it, numbers of classes become their names, and a translation a column a language.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow as pa

    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(path)
        elif path.suffix == ".arrow":
            from dougong.data.parquet import read_arrow

            table = read_arrow(path)
        elif path.suffix.lower() == ".jsonl":
            import pyarrow.json as pj

            table = pj.read_json(path, pj.ReadOptions(block_size=_block(path)))
        else:
            refuse_broken(path)
            table = _csv(path)
    except (pa.ArrowException, OSError) as error:
        if path.suffix.lower() == ".jsonl":
            explained(path)
        raise unread(path, error) from None
    if path.suffix in (".parquet", ".arrow"):
        table = named(table, path.name)
    metadata = table.schema.metadata
    return table.rename_columns([clean(column) for column in table.column_names]).replace_schema_metadata(metadata)


def unread(path: Path, error: Exception) -> UserError:
    """One line about a file that Arrow cannot read."""
    if isinstance(error, OSError) and error.strerror:
        return UserError(path.name, f"cannot be read ({error.strerror})", "fetch it again")
    said = re.sub(r"\s+", " ", str(error))[:160]
    return UserError(path.name, f"cannot be read ({said})", "mend the file")


def schema_of(path: Path) -> pa.Schema:
    """The columns of a Parquet or Arrow file.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path)
        mapped = pa.memory_map(str(path))
        try:
            return pa.ipc.open_stream(mapped).schema
        except pa.ArrowInvalid:
            return pa.ipc.open_file(mapped).schema
    except (pa.ArrowException, OSError) as error:
        raise unread(path, error) from None


def place_of(path: Path, number: int) -> str:
    """Where row ``number``, from 0, of a table lies: the line of a CSV whose header is line 1, the line of JSON Lines,
    and the row of Parquet and Arrow, counted from 0 as `datasets` counts.
    """
    first = {".jsonl": 1, ".parquet": 0, ".arrow": 0}.get(path.suffix.lower(), 2)
    return f"{path.name}:{number + first}"


def _block(path: Path) -> int:
    """Bytes that Arrow reads at once: a row must fit in, and some are whole books."""
    return max(1, min(path.stat().st_size, 1 << 28))


def _csv(path: Path) -> pa.Table:
    import pyarrow.csv as pc

    read = pc.ReadOptions(block_size=_block(path))
    return pc.read_csv(path, read, *csv_options(path, read))


def csv_options(path: Path, read: pc.ReadOptions) -> tuple[pc.ParseOptions, pc.ConvertOptions]:
    """How Arrow is to read a CSV or TSV file: every cell as text, line ends within quotes."""
    import pyarrow as pa
    import pyarrow.csv as pc

    with path.open("rb") as file:
        first = file.readline()
    names = first.decode("utf-8-sig", "replace")
    mark = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=names.count)
    parse = pc.ParseOptions(delimiter=mark, newlines_in_values=True)
    # mapped, since Arrow reads up to 32 blocks ahead, which would be held in memory
    head = pc.open_csv(pa.memory_map(str(path)), read, parse).schema.names
    return parse, pc.ConvertOptions(column_types={name: pa.string() for name in head}, strings_can_be_null=False)


def columns_of(
    table: pa.Table, where: str, text: str | Sequence[str] | None = None, label: str | None = None
) -> dict[str, str]:
    """Which column is the text, the second text, the label and the split.

    Raises:
        UserError: a column that is not there, or none that can be meant.
    """
    names = list(table.column_names)
    lower = {name.lower(): name for name in names}
    found: dict[str, str] = {}

    def known(wanted: str) -> str:
        return known_column(table, where, wanted)

    part = next((lower[name] for name in SPLIT_COLUMNS if name in lower), None)
    declared = [clean(name) for name, each in features_of(table.schema).items() if class_names(each)]
    usual = [lower[name] for name in LABEL_COLUMNS if name in lower]
    mark = known(label) if label else next(iter([*usual, *declared] if usual or len(declared) == 1 else []), None)
    rest = [name for name in names if name not in (part, mark)]
    if text is not None:
        wanted = [text] if isinstance(text, str) else list(text)
        chosen = [known(name) for name in wanted]
    else:
        first = next((lower[name] for name in TEXT_COLUMNS if name in lower and lower[name] in rest), None)
        second = next((lower[name] for name in SECOND_COLUMNS if name in lower and lower[name] in rest), None)
        first = first or max(rest, key=lambda name: _width(table, name), default=None)
        chosen = [name for name in (first, second) if name]
    if mark is None:
        most = min(100, max(2, table.num_rows // 4))  # a label comes again and again
        few = [name for name in rest if name not in chosen and _distinct(table, name) <= most]
        mark = few[0] if len(few) == 1 else None
    if not chosen or mark is None:
        missing = "label" if chosen else "text"
        remedy = f"name it by --{missing}" + ("" if missing == "text" else ", or learn with --task causal-language")
        raise UserError(where, f"has no {missing} column, only {shown(names) or 'nothing'}", remedy)
    found["text"] = chosen[0]
    if len(chosen) > 1:
        found["second"] = chosen[1]
    found["label"] = mark
    if part is not None:
        found["split"] = part
    return found


def known_column(table: pa.Table, where: str, wanted: str) -> str:
    """A column by its name, in whatever case.

    Raises:
        UserError: there is none.
    """
    lower = {name.lower(): name for name in table.column_names}
    if wanted not in table.column_names and wanted.lower() not in lower:
        raise UserError(where, f"has no column {wanted!r}", f"its columns are {shown(list(table.column_names))}")
    return wanted if wanted in table.column_names else lower[wanted.lower()]


def text_column(table: pa.Table, where: str, text: str | None = None) -> str:
    """The column that holds the texts: as named, by a usual name, or the widest.

    Raises:
        UserError: it is not there, or the table has no column.
    """
    if text is not None:
        return known_column(table, where, text)
    lower = {name.lower(): name for name in table.column_names}
    usual = next((lower[name] for name in TEXT_COLUMNS if name in lower), None)
    found = usual or max(table.column_names, key=lambda name: _width(table, name), default=None)
    if found is None:
        raise UserError(where, "has no column", "give a table with a column of texts")
    return str(found)


def _width(table: pa.Table, name: str) -> float:
    """Characters of a column's first rows, on average: that of the text is widest."""
    some = [str(value or "") for value in table[name].slice(0, 200).to_pylist()]
    return sum(map(len, some)) / max(1, len(some))


def _distinct(table: pa.Table, name: str) -> int:
    return len(set(map(str, table[name].to_pylist())))


def in_order(labels: set[str], declared: list[str] | None = None) -> list[str]:
    """Classes in the order in which the data set declares them; else by number or alphabet."""
    known = [clean(name) for name in declared or ()]
    if labels <= set(known):
        return [name for name in known if name in labels]
    numbers = all(re.fullmatch(r"-?\d+", label) for label in labels)
    return sorted(labels, key=lambda label: (int(label) if numbers else 0, label))
