"""Sources of texts with one fault each, planted in data that is otherwise whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WORDS = "good bad film plot great awful actor scene music story fine dull sharp weak strong slow".split()
ROWS = [
    (" ".join(WORDS[(i * 7 + k * (i + 3)) % 16] for k in range(5)) + f" number {i}", ("positive", "negative")[i % 2])
    for i in range(40)
]
LINES = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
CONLL = "".join(f"Ann{i}\tB-per\nLee\tI-per\nwent{i}\tO\nto\tO\nRome\tB-loc\n\n" for i in range(30))
GERMAN = "".join(f"ein Haus {i}\n" for i in range(40))
ENGLISH = "".join(f"a house {i}\n" for i in range(40))
STORY = "\n".join(text for text, _ in ROWS * 10)


def csv(rows: list[tuple[str, str]] = ROWS, head: str = "text,label\n") -> str:
    """Rows whose cells need no quotes."""
    return head + "".join(f"{text},{label}\n" for text, label in rows)


@dataclass(frozen=True)
class TextFault:
    """Args: files: name and content; what the doctor says of them: kind, where, a part of what; error or warning; what
    --fix does; lines: those of the copy, where they can be told.
    """

    files: dict[str, str | bytes]
    kind: str
    where: str
    what: str
    severity: str = "error"
    fix: str = ""

    def make(self, folder: Path) -> Path:
        """Write it; the file, or the folder of several."""
        place = folder / "data"
        place.mkdir()
        for name, content in self.files.items():
            (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return place if len(self.files) > 1 else place / next(iter(self.files))


def in_csv(row: str, *fault: str) -> TextFault:
    """A row after forty good ones, so that it stands on line 42."""
    return TextFault({"a.csv": csv() + row}, *fault)


def in_jsonl(row: str, *fault: str) -> TextFault:
    """A row after forty good ones."""
    return TextFault({"a.jsonl": "\n".join([*LINES, row])}, *fault)


def in_conll(lines: str, *fault: str) -> TextFault:
    """A sentence after thirty good ones, whose first line is 181."""
    return TextFault({"a.conll": CONLL + lines}, *fault)


def pair(german: str | bytes, english: str | bytes, *fault: str) -> TextFault:
    """Parallel files."""
    return TextFault({"train.de": german, "train.en": english}, *fault)


NO_LABEL = "has no label"
FAULTS: dict[str, TextFault] = {
    "no label column": TextFault(
        {"a.csv": "id,text\n" + "".join(f"{i},{t}\n" for i, (t, _) in enumerate(ROWS))}, "columns", "a.csv",
        "no label column",
    ),
    "header only": TextFault({"a.csv": "text,label\n"}, "no rows", "a.csv", "has a header but no rows"),
    "one class": TextFault(
        {"a.csv": csv([(text, "good") for text, _ in ROWS])}, "one class", "a.csv", "only one class, 'good'"
    ),
    "one row": TextFault({"a.csv": csv(ROWS[:1])}, "one class", "a.csv", "only one class"),
    "two rows": TextFault({"a.csv": csv(ROWS[:2])}, "refused", "a.csv", "too few texts"),
    "unclosed quote at the end": in_csv('"never,positive\n', "quoting", "a.csv:42", "nothing ends", "error", "change"),
    "unclosed quote": in_csv(
        '"never,positive\nfine,negative\n"a, b",negative\n', "quoting", "a.csv:42", "nothing ends", "error", "change"
    ),
    "unclosed quote and marks": in_csv('"a, b,positive\n', "quoting", "a.csv:42", "nothing ends", "error", "drop"),
    "text after a quote": in_csv('"a "b" c",positive\n', "quoting", "a.csv:42", "closing quote", "error", "change"),
    "NUL": in_csv("a\0b,positive\n", "NUL byte", "a.csv:42", "NUL byte", "error", "change"),
    "Latin-1": TextFault(
        {"a.csv": csv([*ROWS, ("café", "positive")]).encode("latin-1")}, "encoding", "a.csv:42", "Latin-1", "error",
        "change",
    ),
    "GBK": TextFault(
        {"a.csv": csv([*ROWS, ("这家酒店的房间很干净", "positive")]).encode("gb18030")}, "encoding", "a.csv:42",
        "GB18030", "error", "change",
    ),
    "Windows-1251": TextFault(
        {"a.csv": csv([*ROWS, ("очень хороший фильм", "positive")]).encode("cp1251")}, "encoding", "a.csv:42",
        "Windows-1251", "error", "change",
    ),
    "UTF-8 but for one line": TextFault(
        {"a.csv": csv([*ROWS, ("café", "positive"), ("naïve", "negative"), ("ok", "negative")]).encode()
         + "très,positive\n".encode("latin-1")}, "encoding", "a.csv:45", "though other lines are", "error", "change",
    ),
    "UTF-16": TextFault({"a.csv": csv().encode("utf-16")}, "encoding", "a.csv", "is UTF-16", "error", "change"),
    "UTF-16 without a mark": TextFault(
        {"a.csv": csv().encode("utf-16-le")}, "encoding", "a.csv", "is UTF-16", "error", "change"
    ),
    "column twice": TextFault(
        {"a.csv": "text,label,text\n" + "".join(f"{t},{c},{t}\n" for t, c in ROWS)}, "column twice", "a.csv:1",
        "column 'text' twice", "error", "change",
    ),
    "header again": in_csv("text,label\n", "header again", "a.csv:42", "the header again", "error", "drop"),
    "label missing": in_csv("some text,\n", "no label", "a.csv:42", NO_LABEL, "error", "drop"),
    "row of marks": in_csv(",\n", "empty", "a.csv:42", "nothing at all", "warning", "drop"),
    "too many cells": in_csv("one,two,positive\n", "cells", "a.csv:42", "has 3 cells", "error", "drop"),
    "too few cells": in_csv("one\n", "cells", "a.csv:42", "has 1 cells", "error", "drop"),
    "unknown split": TextFault(
        {"a.csv": "text,label,split\n" + "".join(f"{t},{c},train\n" for t, c in ROWS) + "x,positive,other\n"}, "split",
        "a.csv:42", "none of train, val, test", "error", "drop",
    ),
    "other columns": TextFault(
        {"train.csv": csv(), "test.csv": csv(ROWS[:4], "sentence,label\n")}, "columns", "test.csv", "no column 'text'"
    ),
    "JSON cut off": in_jsonl('{"text": "cut o', "broken JSON", "a.jsonl:41", "is cut off", "error", "drop"),
    "no JSON": in_jsonl("{text: x}\n", "broken JSON", "a.jsonl:41", "is no JSON", "error", "drop"),
    "no object": in_jsonl('["text"]\n', "broken JSON", "a.jsonl:41", "no object, but a list", "error", "drop"),
    "number for a text": in_jsonl(
        '{"text": 5, "label": "positive"}\n', "type", "a.jsonl:41", "a number", "error", "change"
    ),
    "nested": in_jsonl(
        '{"text": {"en": "x"}, "label": "positive"}', "type", "a.jsonl:41", "an object", "error", "drop"
    ),
    "nested everywhere": TextFault(
        {"a.jsonl": "\n".join(json.dumps({"text": {"en": t}, "label": c}) for t, c in ROWS)}, "nested", "a.jsonl:1",
        "holds an object",
    ),
    "lists for texts": TextFault(
        {"a.jsonl": "\n".join(json.dumps({"text": t.split(), "label": c}) for t, c in ROWS)}, "nested", "a.jsonl:1",
        "holds a list",
    ),
    "key missing": in_jsonl('{"text": "five"}\n', "no label", "a.jsonl:41", NO_LABEL, "error", "drop"),
    "key twice": in_jsonl(
        '{"text": "five", "text": "six", "label": "positive"}', "key twice", "a.jsonl:41", "'text' twice", "error",
        "change",
    ),
    "half a character": in_jsonl(
        r'{"text": "half \ud83d one", "label": "positive"}', "half a character", "a.jsonl:41", "half of a character",
        "error", "change",
    ),
    "tag missing": in_conll("Bob\nsings\tO\n\n", "columns", "a.conll:181", "has 1 column,", "error", "drop"),
    "column missing": TextFault(
        {"a.conll": CONLL.replace("\t", "\tX\t") + "Bob\tO\n\n"}, "columns", "a.conll:181", "has 2 columns", "error",
        "drop",
    ),
    "tag of no scheme": in_conll("Bob\tNNP\n\n", "no tag", "a.conll:181", "'NNP' is of no scheme", "error", "drop"),
    "tags in Latin-1": TextFault(
        {"a.conll": (CONLL + "Zoë\tB-per\n\n").encode("latin-1")}, "encoding", "a.conll:181", "Latin-1", "error",
        "change",
    ),
    "tags and a NUL": in_conll("Zo\0e\tB-per\n\n", "NUL byte", "a.conll:181", "NUL byte", "error", "change"),
    "no entity": TextFault({"a.conll": "a\tO\nb\tO\n\n" * 30}, "one class", "a.conll", "every tag is O"),
    "unequal files": pair(GERMAN + "mehr\n", ENGLISH, "unequal files", "train.de", "has 41 lines, train.en 40"),
    "NUL in a pair": pair(GERMAN + "a\0\n", ENGLISH + "x\n", "NUL byte", "train.de:41", "NUL", "error", "change"),
    "Latin-1 in a pair": pair(
        (GERMAN + "schön\n").encode("latin-1"), ENGLISH + "x\n", "encoding", "train.de:41", "Latin-1", "error", "change"
    ),
    "text in Latin-1": TextFault(
        {"a.txt": (STORY + "\ncafé").encode("latin-1")}, "encoding", "a.txt:401", "Latin-1", "error", "change"
    ),
    "text of blanks": TextFault({"a.txt": "\n \n"}, "refused", "a.txt", "holds no text"),
    "empty text": in_csv(",positive\n", "empty", "a.csv:42", "has no text", "warning", "drop"),
    "empty side": pair(GERMAN + "\n", ENGLISH + "x\n", "empty", "train.de:41", "empty side", "warning", "drop"),
    "equal sides": pair(
        GERMAN + "a house  again\n", ENGLISH + "a house again\n", "equal sides", "train.de:41",
        "two equal sides", "warning",
    ),
    "null text": in_jsonl(
        '{"text": null, "label": "positive"}', "empty", "a.jsonl:41", "has no text", "warning", "drop"
    ),
    "byte order mark": TextFault(
        {"a.csv": b"\xef\xbb\xbf" + csv().encode()}, "byte order mark", "a.csv", "byte order mark", "warning", "change"
    ),
    "column names": TextFault(
        {"a.csv": csv(head="\u200btext,label\n")}, "column name", "a.csv:1", "nobody sees", "warning", "change"
    ),
    "no header": TextFault({"a.csv": csv(head="")}, "no header", "a.csv:1", "seems to have no header", "warning"),
    "same text twice": in_csv(
        f"{ROWS[0][0]},positive\n", "copy", "a.csv:42", "same text as a.csv:2", "warning", "drop"
    ),
    "two labels": in_csv(f"{ROWS[0][0]},negative\n", "two labels", "a.csv:2", "under other labels", "warning"),
    "leak": TextFault(
        {"train.csv": csv(), "test.csv": csv([ROWS[3], ("other words", "positive")])}, "leak", "train.csv:5",
        "test.csv:2, in train and in test", "warning", "drop",
    ),
    "unbalanced": TextFault(
        {"a.csv": csv([(t, "positive" if i else "negative") for i, (t, _) in enumerate(ROWS)])}, "unbalanced", "a.csv",
        "'positive' has 39 texts, 'negative' 1", "warning",
    ),
    "class not in train": TextFault(
        {"train.csv": csv(), "test.csv": csv([("other words", "mixed"), ("a", "positive"), ("b", "negative")])},
        "class", "class mixed",
        "not in train", "warning",
    ),
    "classes alike": in_csv("one,Positive\ntwo,Positive\nthree,Positive\nfour,Positive\n", "like classes", "a.csv",
                            "capitals alone", "warning"),
    "label with blanks": in_csv("words, positive\n", "label", "a.csv:42", "blanks around it", "warning", "change"),
    "look-alike": in_csv(
        "the pаypal page,positive\n", "look-alike", "a.csv:42", "only looks Latin, U+0430", "warning", "change"
    ),
    "other script": in_csv("очень хорошо,positive\n", "other script", "a.csv:42", "Cyrillic letters", "warning"),
    "hidden character": in_csv(
        "zero\u200bwidth,positive\n", "hidden character", "a.csv:42", "U+200B", "warning", "change"
    ),
    "read twice": in_csv("cafÃ©,positive\n", "encoding twice", "a.csv:42", "wrong encoding", "warning", "change"),
    "lost characters": in_csv("caf\ufffd,positive\n", "lost characters", "a.csv:42", "lost characters", "warning"),
    "broken tags": in_conll(
        "Bob\tO\nLee\tI-per\n\n", "broken tags", "a.conll:182", "does not begin", "warning", "change"
    ),
    "huge text": in_csv(
        "x" + " word" * 2_000_000 + ",positive\n", "huge text", "a.csv:42", "10,000,001 characters", "warning"
    ),
}  # fmt: skip

WHOLE: dict[str, dict[str, str | bytes]] = {
    "CSV": {"a.csv": csv()},
    "semicolons": {"a.csv": csv().replace(",", ";")},
    "TSV": {"a.tsv": csv().replace(",", "\t")},
    "Windows line ends": {"a.csv": csv().replace("\n", "\r\n")},
    "quotes and line ends in cells": {"a.csv": csv() + '"a ""b"", c\nd",positive\n"e",negative\n'},
    "no line end at the end": {"a.csv": csv()[:-1]},
    "JSON Lines": {"a.jsonl": "\n".join(LINES)},
    "CoNLL": {"a.conll": CONLL},
    "sentences that end with a tab": {"a.conll": CONLL.replace("\n\n", "\n\t\n")},
    "parallel files": {"train.de": GERMAN, "train.en": ENGLISH},
    "a text": {"a.txt": STORY},
    "Chinese": {"a.csv": csv([(f"这家酒店的第{i}个房间很好", label) for i, (_, label) in enumerate(ROWS)])},
    "emoji and joiners": {"a.csv": csv() + "👨\u200d👩\u200d👧 می\u200cخواهم Δx β-carotene,positive\n"},
}
"""Data in which nothing is wrong."""

MODELS: dict[str, Callable[[], list[str]]] = {
    ".conll": lambda: ["lstm", "model.d_model=16", "model.n_layers=1"],
    ".txt": lambda: ["gpt2", "model.d_model=16", "model.n_layers=1", "model.n_heads=2"],
    ".de": lambda: ["transformer", "model.d_model=16", "model.n_layers=1", "model.n_heads=2"],
}


def words_for(fault: TextFault) -> list[str]:
    """A tiny model that learns from such files, and its settings."""
    ending = Path(next(iter(fault.files))).suffix
    return MODELS.get(ending, lambda: ["textcnn", "model.d_model=16"])()
