"""What the columns of a table hold, where the `datasets` library has written it into the table's schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dougong.data.names import LABEL_COLUMNS, clean
from dougong.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

TAG_COLUMNS = ("ner_tags", "tags", "ner", "labels", "entities")
WORD_COLUMNS = ("tokens", "words")


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Each column's feature, as the library describes it; empty where a schema says nothing."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: each for name, each in found.items() if isinstance(each, dict)} if isinstance(found, dict) else {}


def class_names(feature: Any) -> list[str] | None:
    """The names of a ClassLabel's classes; None for any other feature."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return [str(name) for name in names] if isinstance(names, list) else None


def named(table: pa.Table, where: str) -> pa.Table:
    """The table with names in place of the numbers of classes, and a column for each language of a translation.

    -1, by which the library marks a row without a label, becomes null.

    Raises:
        UserError: a number that is no class.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    features = features_of(table.schema)
    for column in list(table.column_names):
        held, names = table[column], class_names(features.get(column))
        place = table.column_names.index(column)
        if names is not None and pa.types.is_integer(held.type):
            held = pc.if_else(pc.equal(held, -1), pa.scalar(None, held.type), held)
            range_ = pc.min_max(held).as_py()
            if range_["max"] is not None and not 0 <= range_["min"] <= range_["max"] < len(names):
                said = f"column {column!r} holds a number that is none of its {len(names)} classes"
                raise UserError(where, said, "save the data set again")
            table = table.set_column(place, column, pc.take(pa.array(names, pa.string()), held))
        elif _is_translation(table.schema.field(column), features.get(column)):
            sides = [held.type.field(i).name for i in range(held.type.num_fields)]
            order = (features.get(column) or {}).get("languages") or sides  # Arrow has them by the alphabet
            sides.sort(key=lambda side: order.index(side) if side in order else len(order))
            table = table.remove_column(place)
            for side in reversed(sides):
                told = side if side not in table.column_names else f"{column}.{side}"
                table = table.add_column(place, told, pc.struct_field(held, side))
    return table


def _is_translation(field: pa.Field, feature: Any) -> bool:
    """Whether a column holds a text in several languages."""
    import pyarrow as pa

    if not pa.types.is_struct(field.type) or field.type.num_fields < 2:
        return False
    said = isinstance(feature, dict) and feature.get("_type") in ("Translation", "TranslationVariableLanguages")
    texts = all(_is_text(field.type.field(i).type) for i in range(field.type.num_fields))
    return texts and (said or field.name == "translation")


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def tag_columns(schema: pa.Schema) -> tuple[str, str, list[str] | None] | None:
    """The columns of words and of their tags, and the names of the tags where these are numbers; None when there are
    no such columns.
    """
    import pyarrow as pa

    features = features_of(schema)
    lists = {field.name: field.type.value_type for field in schema if _is_list(field.type)}
    words = [name for name, kind in lists.items() if _is_text(kind) and name not in TAG_COLUMNS]
    words.sort(key=lambda name: (name not in WORD_COLUMNS, list(lists).index(name)))
    tags: list[tuple[str, list[str] | None]] = []
    for name, kind in lists.items():
        feature = features.get(name, {})
        names = class_names(feature.get("feature"))
        if pa.types.is_integer(kind) and names is not None and (name in TAG_COLUMNS or _marks(names)):
            tags.append((name, names))
        elif _is_text(kind) and name in TAG_COLUMNS:
            tags.append((name, None))
    tags.sort(key=lambda each: TAG_COLUMNS.index(each[0]) if each[0] in TAG_COLUMNS else len(TAG_COLUMNS))
    return (words[0], *tags[0]) if words and tags else None


def _marks(names: list[str]) -> bool:
    return "O" in names and any(name[1:2] == "-" for name in names)


def told_by(schema: pa.Schema) -> str | None:
    """What texts a table holds by its schema: "tags", "pairs", "texts" or "corpus"; None when it holds no texts."""
    features = features_of(schema)
    if tag_columns(schema) is not None:
        return "tags"
    if any(_is_translation(field, features.get(field.name)) for field in schema):
        return "pairs"
    texts = [field.name for field in schema if _is_text(field.type)]
    others = [name for name in texts if clean(name).lower() not in LABEL_COLUMNS]
    if not others or "image" in schema.names:
        return None
    # numbers without a name may be labels too, so only a text by itself is certainly nothing but text
    return "corpus" if len(schema.names) == 1 else "texts"
