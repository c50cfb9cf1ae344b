"""Texts that only the reader of training can read, row by row: Arrow files, tables of tags, columns of translations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from dougong.data.texts.rows import TextData
from dougong.data.texts.sheets import Row, Sheet

COLUMNS = ("text", "second", "third")


class OpenedSheet(Sheet):
    """One split of data that training has opened; what training leaves out is not among its rows.

    Args:
        data: all of it.
        part: the split.
    """

    def __init__(self, data: TextData, part: str) -> None:
        self.path, self.part, self.name = Path(data.source), part, data.name
        self.data, self.split = data, data.splits[part]
        self.names = ["words", "tags"] if data.kind == "tags" else [*COLUMNS, "label"]
        self.faults, self.encoded, self.classes = [], None, {}

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All rows; their lines are their numbers in the split, from 0."""
        for number, row in enumerate(self.split):
            if self.data.kind == "tags":
                columns = [[word, tag] for word, tag in zip(row.texts, row.tags, strict=True)]
                yield Row(number, {"words": list(row.texts), "tags": list(row.tags), "columns": columns, "before": []})
                continue
            names = [self.data.classes[each] for each in row.labels]
            label = names if self.data.several else names[0] if names else None
            yield Row(number, {**dict(zip(COLUMNS, row.texts, strict=False)), "label": label})

    def where(self, line: int) -> str:
        """The place that the reader gave the row."""
        return self.split[line].where

    def where_word(self, line: int, index: int) -> str:
        """That of its sentence."""
        return self.where(line)

    def roles(self) -> dict[str, str]:
        """Which column is what."""
        if self.data.kind == "tags":
            return {}
        width = len(self.split[0].texts) if len(self.split) else 1
        return {name: name for name in COLUMNS[:width]} | ({"label": "label"} if self.data.classes else {})
