"""The doctor of texts: everything that is wrong with a source of texts, and what to do about it.

Files are read row by row, so that memory does not grow with them but for 25 bytes a row, by which copies are found.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from dougong import console
from dougong.data.listing import Fault
from dougong.data.tagging import spans
from dougong.data.texts.case import Case, Looked
from dougong.data.texts.case_files import open_case
from dougong.data.texts.doctor_rows import warning_of
from dougong.data.texts.ledger import SPLITS, Ledger, Place
from dougong.data.texts.lined import PairSheet, TextSheet
from dougong.data.texts.opened import OpenedSheet
from dougong.data.texts.sheets import Sheet
from dougong.data.texts.whole import copies, whole_faults
from dougong.errors import UserError
from dougong.figures import many

LISTED = 1000
"""Faults of one kind that are listed; those beyond are counted."""
UNITS = {"sentences": "text", "texts": "text", "tags": "sentence", "pairs": "pair", "corpus": "document"}
Counter_ = Callable[[list[str]], list[int]]
"""Tokens of each text."""


@dataclass
class TextExamination:
    """What the doctor saw of a source of texts.

    Args:
        kind: "texts", "tags", "pairs" or "corpus".
        unit: what a row is called.
        rows: how many were read, broken ones included.
        counts: of each class, or of each type of entity, how many in each split; "all" without splits.
        faults: those that are listed, errors first.
        totals: how many faults of each (severity, kind, fix) there are, listed or not.
        several: some text has several labels; each of them is counted.
        lengths: "median", "95 %" and "longest" text, in ``length_unit``.
        length_unit: "tokens", or "words" where no tokenizer is known (signs and Chinese characters each count as one).
        roles: which column is what.
        drops: file and order of rows that stand elsewhere too, and why; for `dougong.data.texts.cleaning`.
        case: the files.
    """

    kind: str
    unit: str
    rows: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    totals: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    several: bool = False
    lengths: dict[str, int] = field(default_factory=dict)
    length_unit: str = "words"
    roles: dict[str, str] = field(default_factory=dict)
    drops: dict[tuple[int, int], Fault] = field(default_factory=dict)
    case: Case | None = None

    @property
    def errors(self) -> int:
        """Faults that training refuses."""
        return sum(count for (severity, _, _), count in self.totals.items() if severity == "error")

    @property
    def warnings(self) -> int:
        """Faults that training lives with."""
        return sum(self.totals.values()) - self.errors

    def add(self, fault: Fault) -> None:
        """Count a fault, and list it where there are not too many of its kind."""
        key = (fault.severity, fault.kind, fault.fix)
        self.totals[key] += 1
        if self.totals[key] <= LISTED:
            self.faults.append(fault)


def examine_texts(
    source: str | Path, *, kind: str | None = None, text: str | Sequence[str] | None = None, label: str | None = None,
    encoding: str | None = None, length: int | None = None, tokens: Counter_ | None = None,
    labels_split: str | None = None,
) -> TextExamination:  # fmt: skip
    """Read all of a source of texts and name every fault: errors, which training refuses, and warnings.

    Args:
        source: file or folder.
        kind: "texts", "tags", "pairs" or "corpus"; told by the files when None.
        text: the column of the text, or two.
        label: the column of the label; of pairs, of what is written.
        encoding: of all files, as Python names it; guessed when None.
        length: tokens that a model reads at once; longer texts are then faults.
        tokens: counts the tokens of texts; without it words and signs are counted, of which there are never more.
        labels_split: the sign between the labels of a cell, where a text may have several; each is then counted.

    Raises:
        UserError: there is no such source, or it holds no texts.
    """
    case = open_case(source, kind, text, label, encoding, labels_split)
    found = TextExamination(case.kind, UNITS[case.kind], roles=case.roles, case=case)
    found.length_unit = "tokens" if tokens else "words"
    looking = _Looking(case, found, length, tokens)
    for fault in [*case.faults, *(fault for sheet in case.sheets for fault in sheet.faults)]:
        found.add(fault)
    sizes = [_size(sheet) for sheet in case.sheets]
    readable = [not any(fault.kind == "binary" for fault in sheet.faults) for sheet in case.sheets]
    with console.progress(sum(sizes) / 1e6 or None, f"checking {Path(str(source)).name}", unit="MB") as bar:
        for number, sheet in enumerate(case.sheets):
            if readable[number]:
                looking.read(number, sheet, lambda n: bar.advance(n / 1e6))
    looking.end()
    found.drops = copies(case, looking.ledger, found.add)
    for fault in whole_faults(case, found.counts, looking.scripts, looking.script_places):
        found.add(fault)
    for path in case.unlabelled:
        what, remedy = "has no label in any row; it is left out", "fill them in, if there is something to measure"
        found.add(warning_of("unlabelled file", path.name, what, remedy, ""))
    if not found.errors and not any(isinstance(sheet, OpenedSheet) for sheet in case.sheets):
        _open_as_training_does(source, found, kind, text, label, labels_split)
    found.faults.sort(key=lambda fault: fault.severity != "error")
    return found


def least_tokens(texts: list[str]) -> list[int]:
    """Words, signs and Chinese characters of each text: hardly any tokenizer makes fewer tokens of it."""
    return [len(_WORDS.findall(text)) for text in texts]


_WORDS = re.compile(r"[\u3041-\u30fa\u3400-\u9fff]|[^\W\u3041-\u30fa\u3400-\u9fff]+|[^\w\s]")


class _Looking:
    """One pass over all rows."""

    BATCH = 256

    def __init__(self, case: Case, found: TextExamination, length: int | None, tokens: Counter_ | None) -> None:
        self.case, self.found, self.length = case, found, length
        self.measure = tokens or least_tokens
        self.ledger = Ledger()
        self.scripts: Counter[str] = Counter()
        self.script_places: dict[str, list[str]] = defaultdict(list)
        self.sizes = array("I")
        self.waiting: list[tuple[str, str]] = []
        parts = [sheet.part for sheet in case.sheets]
        named = "split" in case.roles or any(parts)
        self.splits = [split for split in SPLITS if "split" in case.roles or split in parts] if named else ["all"]

    def read(self, number: int, sheet: Sheet, seen: Callable[[int], object]) -> None:
        """All rows of a file."""
        whole: list[str] = []
        alone = [0, 0]  # lines of one file of two whose other has ended
        rows = 0
        known = not any(fault.kind == "columns" for fault in self.case.faults)
        try:
            each = self.case.rows(sheet, seen) if known else map(Looked, count(), sheet.rows(seen))
            for looked in each:
                rows += 1
                for fault in looked.row.faults:
                    self.found.add(fault)
                if isinstance(sheet, PairSheet) and None in looked.row.cells.values():
                    alone[looked.row.cells["source"] is None] += 1
                elif self.case.documents:
                    whole.append(looked.row.cells["text"])
                elif looked.texts:
                    self._note(number, sheet, looked)
        except UserError as error:
            self.found.add(Fault(error.where, error.what, error.remedy, kind="unreadable"))
        if self.case.documents:
            self._document(number, sheet, whole)
            return
        self.found.rows += rows
        if sum(alone) and isinstance(sheet, PairSheet):
            both = rows - sum(alone)
            what = f"has {many(both + alone[0], 'line')}, {sheet.other.name} {both + alone[1]}"
            remedy = "line k of one must be line k of the other; look where they part"
            self.found.add(Fault(sheet.path.name, what, remedy, kind="unequal files"))
        if not rows:
            what = (
                "has a header but no rows"
                if not isinstance(sheet, TextSheet) and self.case.kind == "texts"
                else "is empty"
            )
            self.found.add(Fault(sheet.path.name, what, "put rows in, or take the file out", kind="no rows"))

    def _note(self, number: int, sheet: Sheet, looked: Looked) -> None:
        place = Place(number, looked.order, looked.row.line, looked.split, looked.label)
        self.ledger.add(looked.texts, place)
        where = sheet.where(looked.row.line)
        script = looked.scripts[0] if self.case.kind != "pairs" else ""
        if script:
            self.scripts[script] += 1
            if len(self.script_places[script]) < LISTED:
                self.script_places[script].append(where)
        if self.case.label_column and sheet.path not in self.case.unlabelled:
            for label in looked.labels:
                self._counted(label, looked.split)
            self.found.several |= len(looked.labels) > 1
        elif self.case.kind == "tags":
            for _, _, kind in spans(looked.label.split()):
                self._counted(kind or "(no type)", looked.split)
        for text in looked.texts if self.case.kind == "pairs" else (" ".join(looked.texts),):
            self.waiting.append((text, where))
        if len(self.waiting) >= self.BATCH:
            self._measure()

    def _counted(self, name: str, split: str) -> None:
        row = self.found.counts.setdefault(name, dict.fromkeys(self.splits, 0))
        row[split if split in row else self.splits[0]] += 1

    def _document(self, number: int, sheet: Sheet, lines: list[str]) -> None:
        """A whole file is one text."""
        text = "\n".join(lines)
        self.found.rows += 1
        if not text.strip():
            self.found.add(warning_of("empty", sheet.path.name, "holds no text", "take it out; it is left out", "drop"))
            return
        self.ledger.add([text], Place(number, 0, 1, sheet.part or "", ""))
        self.waiting.append((text, sheet.path.name))
        self._measure(long=False)

    def _measure(self, *, long: bool = True) -> None:
        sizes = self.measure([text for text, _ in self.waiting]) if self.waiting else []
        for (_, where), size in zip(self.waiting, sizes, strict=True):
            self.sizes.append(size)
            if long and self.length is not None and size > self.length and self.case.kind != "corpus":
                least = "" if self.found.length_unit == "tokens" else "at least "
                what = f"takes {least}{size} tokens, more than {self.length}"
                remedy = f"shorten or divide it; training cuts it to {self.length}"
                self.found.add(warning_of("too long", where, what, remedy, ""))
        self.waiting = []

    def end(self) -> None:
        """What is known only when all rows were read."""
        self._measure()
        ordered = sorted(self.sizes)
        if ordered:
            at = {"median": 0.5, "95 %": 0.95, "longest": 1.0}
            self.found.lengths = {
                name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in at.items()
            }


def _size(sheet: Sheet) -> int:
    if isinstance(sheet, OpenedSheet):
        return 0
    return sheet.path.stat().st_size + (sheet.other.stat().st_size if isinstance(sheet, PairSheet) else 0)


def _open_as_training_does(
    source: str | Path,
    found: TextExamination,
    kind: str | None,
    text: str | Sequence[str] | None,
    label: str | None,
    labels_split: str | None,
) -> None:
    """Whatever else training would refuse."""
    from dougong.data.texts.opening import read_texts

    try:
        read_texts(source, kind=kind, text=text, label=label, labels_split=labels_split)
    except UserError as error:
        found.add(Fault(error.where, error.what, error.remedy, kind="refused"))
