"""A source as the doctor sees it: its files, what their columns are, and each row looked at and mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dougong.data.listing import Fault
from dougong.data.names import clean, named_split
from dougong.data.tagging import broken, recognise, spans, write
from dougong.data.texts.doctor_rows import judge, warning_of
from dougong.data.texts.ledger import same
from dougong.data.texts.lined import PairSheet, TextSheet
from dougong.data.texts.opened import OpenedSheet
from dougong.data.texts.several import parted
from dougong.data.texts.sheets import Row, Sheet, said, type_of
from dougong.errors import UserError


@dataclass(frozen=True)
class Looked:
    """A row that was looked at.

    Args:
        order: of it in its file, from 0.
        row: with its mended cells and its faults.
        texts: of it; none where it is lost or empty.
        label: its label, labels or tags, in one text.
        split: "train", "val" or "test"; "" where the source does not say.
        scripts: of its texts.
        labels: of it, each by itself.
    """

    order: int
    row: Row
    texts: tuple[str, ...] = ()
    label: str = ""
    split: str = ""
    scripts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass
class Case:
    """The files of a source that can be read, and how they are.

    Args:
        kind: "texts", "tags", "pairs" or "corpus".
        sheets: its files.
        roles: which column is what, as {"text": ..., "second": ..., "label": ..., "split": ...}.
        faults: of files that cannot be read, and of what is known before any row.
        scheme: of tags.
        unlabelled: files of val or test none of whose rows has a label.
        notes: what training decides for the user, where its reader was asked.
        labels_split: the sign between the labels of a cell, where a text may have several.
    """

    kind: str
    sheets: list[Sheet]
    roles: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    scheme: str = ""
    unlabelled: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    labels_split: str | None = None

    @property
    def documents(self) -> bool:
        """Whether a whole file is one text."""
        return self.kind == "corpus" and all(isinstance(sheet, TextSheet) for sheet in self.sheets)

    @property
    def text_columns(self) -> list[str]:
        """The columns that hold texts."""
        keys = ("text", "second", "third", *(["label"] if self.kind == "pairs" else []))
        return [self.roles[key] for key in keys if key in self.roles]

    @property
    def label_column(self) -> str | None:
        """The column of labels; None where texts have none."""
        return self.roles.get("label") if self.kind in ("texts", "sentences") else None

    def rows(self, sheet: Sheet, seen: Callable[[int], object] | None = None) -> Iterator[Looked]:
        """All rows of a file, looked at and mended.

        Args:
            sheet: of this case.
            seen: is told the bytes that were read.
        """
        for order, row in enumerate(sheet.rows(seen)):
            if self.kind == "tags":
                yield self._tags(order, row, sheet)
            else:
                yield self._texts(order, row, sheet)

    def _texts(self, order: int, row: Row, sheet: Sheet) -> Looked:
        place = sheet.where(row.line)
        part = self._split(row, sheet, place)
        alone = isinstance(sheet, PairSheet) and None in row.cells.values()  # the other file has ended
        if row.lost or alone or not all(column in sheet.names for column in self.text_columns):
            return Looked(order, row, split=part)
        texts, scripts = [], []
        for column in self.text_columns:
            value = row.cells.get(column)
            if isinstance(value, list | dict):
                what = f"{said(column)} holds {type_of(value)}, not a text: {said(str(value))}"
                row.faults.append(Fault(place, what, "write one text", kind="nested"))
                return Looked(order, row, split=part)
            seen = judge("" if value is None else str(value), place)
            row.faults += seen.faults
            if isinstance(value, str):
                row.cells[column] = seen.text
            texts.append(seen.text)
            scripts.append(seen.script)
        labels = self._labels(row, sheet, place)
        sides = texts if self.kind == "pairs" else texts[:1]
        if not all(text.strip() for text in sides) and not self.documents:
            self._empty(row, place, bool(labels), texts)
            return Looked(order, row, split=part)
        if len(texts) == 2 and scripts[0] and same(texts[0]) == same(texts[1]) and self._apart(sheet):
            what = f"has two equal sides: {said(texts[0])}"
            remedy = "write the other side, or take the row out; a name may be right as it is"
            row.faults.append(warning_of("equal sides", place, what, remedy, ""))
        kept = () if row.lost else tuple(texts)
        return Looked(order, row, kept, ", ".join(labels), part, tuple(scripts), labels)

    def _apart(self, sheet: Sheet) -> bool:
        """Whether the two sides of a row should differ: a translation, or a pair that is to be found among others."""
        scored = isinstance(sheet, OpenedSheet) and any(row.tags for row in sheet.split[:1])
        return self.kind == "pairs" or (self.kind == "sentences" and not scored)

    def _empty(self, row: Row, place: str, labelled: bool, texts: list[str]) -> None:
        """Say that a row has no text."""
        nothing = not labelled and not any(text.strip() for text in texts)
        what = "holds nothing at all" if nothing else "has an empty side" if self.kind == "pairs" else "has no text"
        if nothing:  # a label is not missed where there is nothing to label
            row.faults[:] = [fault for fault in row.faults if fault.kind not in ("no label", "split")]
        row.faults.append(warning_of("empty", place, what, "fill it in, or take the row out; it is left out", "drop"))

    def _split(self, row: Row, sheet: Sheet, place: str) -> str:
        if "split" not in self.roles:
            return sheet.part or ""
        value = row.cells.get(self.roles["split"])
        found = named_split(str(value or ""))
        if found is None and not row.lost:
            what = f"the split {said(str(value or ''))} is none of train, val, test"
            row.faults.append(Fault(place, what, "write one of these", kind="split", fix="drop"))
        return found or ""

    def _labels(self, row: Row, sheet: Sheet, place: str) -> tuple[str, ...]:
        """The row's labels, made clean: one, or several where a text may have several; none where it has none."""
        column = self.label_column
        if column is None or sheet.path in self.unlabelled:
            return ()
        value = row.cells.get(column)
        names = sheet.classes.get(column)
        if names and isinstance(value, int):  # -1 is how `datasets` marks a row without a label
            value = names[value] if 0 <= value < len(names) else None
        if isinstance(value, list):
            return tuple(sorted(dict.fromkeys(clean(str(each)) for each in value)))
        if isinstance(value, dict):
            what = f"{said(column)} holds an object, not a label"
            row.faults.append(Fault(place, what, "write one word or number", kind="nested"))
            return ()
        if self.labels_split is not None:
            try:
                return tuple(sorted(dict.fromkeys(map(clean, parted(value, self.labels_split, place)))))
            except UserError as error:
                row.faults.append(Fault(place, error.what, error.remedy, kind="type", fix="drop"))
                return ()
        if value is None or not clean(str(value)):
            row.faults.append(
                Fault(place, "has no label", "fill it in, or take the row out", kind="no label", fix="drop")
            )
            return ()
        tidy = clean(str(value))
        if isinstance(value, str) and tidy != value:
            row.cells[column] = tidy
            what = f"the label {said(tidy)} has blanks around it or characters that nobody sees: {value!a}"
            row.faults.append(warning_of("label", place, what, f"write {said(tidy)}; it is read so", "change"))
        return (tidy,)

    def _tags(self, order: int, row: Row, sheet: Sheet) -> Looked:
        words, tags, columns = row.cells["words"], row.cells["tags"], row.cells["columns"]
        if row.lost or not words:
            return Looked(order, row, split=sheet.part or "")
        for number, word in enumerate(words):
            seen = judge(word, sheet.where_word(row.line, number))
            if seen.text.strip() and not any(blank in seen.text for blank in " \t"):  # a word must stay one word
                row.faults += seen.faults
                words[number] = columns[number][0] = seen.text
        strange = next((i for i, tag in enumerate(tags) if recognise([[tag]]) == "plain"), None)
        if strange is not None:
            what = f"the tag {said(tags[strange])} is of no scheme"
            remedy = "write O, or B- or I- and a type, in the last column"
            row.faults.append(Fault(sheet.where_word(row.line, strange), what, remedy, kind="no tag", fix="drop"))
            return Looked(order, row, split=sheet.part or "")
        wrong = broken(tags, self.scheme) if self.scheme else []
        if wrong:
            for each in wrong:
                place = sheet.where_word(row.line, each.index)
                what = f"{each.tag} of {said(words[each.index])} {each.what}"
                remedy = "mark where the entity begins; it is read as one that begins here"
                row.faults.append(warning_of("broken tags", place, what, remedy, "change"))
            tags[:] = write(spans(tags), len(tags), self.scheme)
            for cells, tag in zip(columns, tags, strict=True):
                cells[-1] = tag
        text = " ".join(words)
        return Looked(order, row, (text,), " ".join(tags), sheet.part or "", (judge(text, "").script,))
