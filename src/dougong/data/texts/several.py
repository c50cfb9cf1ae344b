"""Several labels a text: a list in a cell, names parted by a sign, or a column of 0 and 1 for each label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.names import LABEL_COLUMNS, clean
from dougong.data.texts.features import class_names, features_of
from dougong.errors import UserError
from dougong.figures import many

if TYPE_CHECKING:
    import pyarrow as pa

SIGNS = (";", "|", ",")
"""Signs by which people part labels in one cell."""
YES = {"1", "1.0", "true", "yes"}
NO = {"0", "0.0", "false", "no"}


def with_lists(
    table: pa.Table, path: Path, label: str | Sequence[str] | None, labels_split: str | None, first: int = 0
) -> tuple[pa.Table, str | None, list[str] | None]:
    """A table whose labels are lists of names where a text may have several.

    Args:
        table: of the file.
        path: the file, for messages.
        label: the column of the labels, or the columns of 0 and 1, one a label; None where it is to be told.
        labels_split: the sign between the labels of a cell; "json" where the cell is a list in JSON.
        first: the number of the table's first row in the file.

    Returns:
        The table, the column of the labels (None where it is still to be told), and the labels in their order where
        columns are named after them.

    Raises:
        UserError: a column that is not there, or a cell that is neither 0 nor 1, or no list.
    """
    import pyarrow as pa

    from dougong.data.texts.tables import known_column, place_of

    table = _named_lists(table)
    if label is not None and not isinstance(label, str):
        if labels_split is not None:
            raise UserError("labels_split", f"and {len(label)} columns of labels do not go together", "leave one out")
        names = [known_column(table, path.name, name) for name in label]
        columns = [[str(value).strip().lower() for value in table[name].to_pylist()] for name in names]
        for name, values in zip(names, columns, strict=True):
            odd = next((number for number, value in enumerate(values) if value not in YES | NO), None)
            if odd is not None:
                what = f"column {name!r} holds {values[odd]!r}, neither 0 nor 1"
                raise UserError(place_of(path, first + odd), what, "mend it, or leave the column out")
        rows = zip(*columns, strict=True)
        lists = [[name for name, value in zip(names, row, strict=True) if value in YES] for row in rows]
        joined = ", ".join(names)
        kept = table.drop_columns(names)
        return kept.append_column(joined, pa.array(lists, pa.list_(pa.string()))), joined, names
    if labels_split is None:
        return table, label, None
    if not labels_split:
        raise UserError("labels_split", "is empty", "write the sign between labels, as --labels-split ';'")
    column = known_column(table, path.name, label) if label else usual_column(table, path.name)
    if not is_list(table, column):
        cells = enumerate(table[column].to_pylist(), first)
        lists = [parted(value, labels_split, place_of(path, number)) for number, value in cells]
        place = table.column_names.index(column)
        table = table.set_column(place, column, pa.array(lists, pa.list_(pa.string())))
    return table, column, None


def is_list(table: pa.Table, column: str) -> bool:
    """Whether a column's cells are lists."""
    import pyarrow as pa

    if column not in table.column_names:
        return False
    kind = table.schema.field(column).type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _named_lists(table: pa.Table) -> pa.Table:
    """Numbers of classes in lists become names where the `datasets` library has declared them."""
    import pyarrow as pa

    for column, feature in features_of(table.schema).items():
        inner = feature.get("feature")
        names = class_names(inner)
        if names and column in table.column_names and is_list(table, column):
            lists = [row and [names[each] for each in row] for row in table[column].to_pylist()]
            place = table.column_names.index(column)
            table = table.set_column(place, column, pa.array(lists, pa.list_(pa.string())))
    return table


def usual_column(table: pa.Table, where: str) -> str:
    """The column of the labels by its name; else, as where a text has one label, by what the columns hold.

    Raises:
        UserError: none can be meant.
    """
    from dougong.data.texts.tables import columns_of

    lower = {name.lower(): name for name in table.column_names}
    found = next((lower[name] for name in ("labels", *LABEL_COLUMNS) if name in lower), None)
    return found or columns_of(table, where)["label"]


def parted(value: Any, sign: str, where: str) -> list[str]:
    """The labels of a cell; none of an empty one."""
    said = "" if value is None else str(value)
    if sign != "json":
        return [name for name in map(str.strip, said.split(sign)) if name]
    if not said.strip():
        return []
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if not isinstance(found, list) or any(isinstance(each, list | dict) for each in found):
        raise UserError(where, f"{said[:40]!r} is no list of names in JSON", 'write it as ["a", "b"]')
    return ["" if each is None else str(each) for each in found]


def names_of(value: Any, where: str) -> tuple[str, ...]:
    """The labels of a row: one, or those of a list, each once.

    Raises:
        UserError: it has none where one is wanted, or something else than names.
    """
    if isinstance(value, list):
        if any(each is None or isinstance(each, list | dict) or not clean(str(each)) for each in value):
            raise UserError(where, "has a label without a name", "give names, or an empty list for no label")
        return tuple(dict.fromkeys(clean(str(each)) for each in value))
    if isinstance(value, dict):
        raise UserError(where, "has a label that is an object, no name", "give a name, or a list of names")
    if value is None or not clean(str(value)):
        raise UserError(where, "has no label", "fill it in, or take the row out")
    return (clean(str(value)),)


def said_aloud(rows: int, given: int, none: int, classes: Sequence[str], several: bool, source: str) -> list[str]:
    """What is to be known of the labels.

    Args:
        rows: how many there are.
        given: labels of all of them together.
        none: rows without any.
        classes: all labels.
        several: a text may have several.
        source: of the rows, for messages.

    Raises:
        UserError: there is one label only where a text may have several.
    """
    if several:
        if len(classes) < 2:
            raise UserError(source, f"has {len(classes)} label, which is nothing to choose from", "give two or more")
        rest = f"; {many(none, 'text has', 'texts have')} none" if none else ""
        return [f"A text may have several of {len(classes)} labels, {given / max(1, rows):.2g} on average{rest}."]
    for sign in SIGNS:
        parts = {part.strip() for name in classes for part in name.split(sign)}
        joined = [name for name in classes if sign in name]
        if len(joined) > 1 and len(parts) < len(classes):
            return [f"{joined[0]!r} is taken for one class; if it is several labels, say --labels-split {sign!r}."]
    return []
