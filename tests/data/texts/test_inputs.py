"""Rows to be asked about, read from files and pipes: each exactly once, and each fault by its place."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dougong.data.texts import inputs as module
from dougong.data.texts.asked import Input, Reading
from dougong.data.texts.inputs import file_rows, inputs
from dougong.errors import UserError

TEXTS = ["好看的电影", 'said "well", then; left', "two\nlines", "tab\there", "a | b", "é\u2028x", "🙂"]
PLAIN = Reading()


def read(path: Path, reading: Reading = PLAIN) -> list[Input]:
    return list(file_rows(path, reading))


def write(path: Path, held: bytes | str) -> Path:
    path.write_bytes(held if isinstance(held, bytes) else held.encode("utf-8"))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolon", "jsonl", "parquet", "txt"])
def test_every_row_is_given_once_and_in_order(kind: str, tmp_path: Path) -> None:
    texts = [text for text in TEXTS if kind != "txt" or "\n" not in text]
    path = tmp_path / f"rows.{'csv' if kind == 'semicolon' else kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"id": list(range(len(texts))), "review": texts}), path)
    elif kind == "jsonl":
        write(path, "".join(json.dumps({"id": 1, "review": text}) + "\n" for text in texts))
    elif kind == "txt":
        write(path, "\ufeff" + "\r\n".join(texts))
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as opened:
            mark = {"csv": ",", "tsv": "\t", "semicolon": ";"}[kind]
            csv.writer(opened, delimiter=mark).writerows([["id", "review"], *([1, text] for text in texts)])
    rows = read(path)
    assert [row.raw for row in rows] == texts and not any(row.fault for row in rows)
    first = {"parquet": 0, "jsonl": 1, "txt": 1}.get(kind, 2)
    assert [row.where for row in rows] == [f"{path.name}:{number + first}" for number in range(len(texts))]


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf")), min_size=1).filter(str.strip), min_size=1)
)
def test_csv_against_what_wrote_it(texts: list[str]) -> None:
    into = io.StringIO(newline="")
    csv.writer(into).writerows([["text", "n"], *([text, 1] for text in texts)])
    found = module._csv(io.BytesIO(into.getvalue().encode()), "x", None, Reading(columns=("text",)))
    assert [row.raw if row.fault is None else None for row in found] == [
        text if module.clean(text) else None for text in texts
    ]


FAULTS = {
    "blank line": ("a.txt", "good\n\nfine\n", "a.txt:2", "holds no text", [1]),
    "NUL": ("a.txt", "good\nx\0y\nfine\n", "a.txt:2", "NUL", [1]),
    "Latin-1": ("a.txt", b"good\ncaf\xe9\nfine\n", "a.txt:2", "is not UTF-8", [1]),
    "Latin-1 in a table": ("a.csv", b"text,n\ngood,1\ncaf\xe9,2\nfine,3\n", "a.csv:3", "is not UTF-8", [1]),
    "cells": ("a.csv", "text,n\ngood,1\nbad,2,3\nfine,4\n", "a.csv:3", "has 3 cells, the header 2", [1]),
    "empty cell": ("a.csv", "text,n\ngood,1\n  ,2\nfine,4\n", "a.csv:3", "holds no text", [1]),
    "quote inside": ("a.csv", 'text,n\ngood,1\n"so "he" said",2\nfine,4\n', "a.csv:3", "has a quote", [1]),
    "cut JSON": ("a.jsonl", '{"text": "good"}\n{"text": "ba\n{"text": "fine"}\n', "a.jsonl:2", "is no JSON", [1]),
    "nested": ("a.jsonl", '{"text": "good"}\n{"text": {"a": 1}}\n"fine"\n', "a.jsonl:2", "holds a dict, no text", [1]),
    "null": ("a.jsonl", '{"text": "good"}\n{"text": null}\n{"text": "fine"}\n', "a.jsonl:2", "holds no text", [1]),
    "no key": ("a.jsonl", '{"text": "good"}\n{"txt": "bad"}\n{"text": "fine"}\n', "a.jsonl:2", "has no 'text'", [1]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_bad_row_is_named_and_the_others_stay(case: str, tmp_path: Path) -> None:
    name, held, where, said, places = FAULTS[case]
    rows = read(write(tmp_path / name, held))
    assert [number for number, row in enumerate(rows) if row.fault] == places
    fault = rows[places[0]].fault
    assert fault is not None and fault.where == where and said in fault.what
    assert [row.raw for row in rows if not row.fault] == ["good", "fine"]


WHOLE = {
    "UTF-16": ("a.txt", "good\nfine\n".encode("utf-16"), "is UTF-16"),
    "UTF-16 table": ("a.csv", "text,n\na,1\n".encode("utf-16"), "is UTF-16"),
    "empty table": ("a.csv", "", "is empty"),
    "blank header": ("a.csv", "\na,b\n", "has no header"),
    "open quote": ("a.csv", 'text,n\ngood,1\n"never closed,2\nfine,3\n', "opens a quote that nothing closes"),
    "twice": ("a.csv", "text,text\na,b\n", "has 2 columns 'text'"),
    "damaged": ("a.parquet", b"PAR1 nothing", "cannot be read"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_ruins_a_file_ends_it(case: str, tmp_path: Path) -> None:
    name, held, said = WHOLE[case]
    with pytest.raises(UserError, match=said):
        read(write(tmp_path / name, held))


def test_a_line_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 100)
    rows = read(write(tmp_path / "a.txt", "good\n" + "x" * 250 + "\nfine\n"))
    assert [row.raw for row in rows] == ["good", None, "fine"] and rows[1].where == "a.txt:2"
    with pytest.raises(UserError, match="is longer"):
        read(write(tmp_path / "a.csv", "text,n\ngood,1\n" + "x" * 250 + ",2\n"))


def test_which_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.csv", "id,Title,remarks,label\n1,short,a much longer one,x\n")
    assert read(path)[0].raw == "a much longer one"
    assert "read as text: column 'remarks'" in capsys.readouterr().err
    assert read(path, Reading(columns=("title",)))[0].raw == "short"
    assert read(path, Reading(columns=("Title", "remarks")))[0].raw == ("short", "a much longer one")
    assert read(path, Reading(trained=("Title",)))[0].raw == "short"
    assert read(path, Reading(trained=("absent",)))[0].raw == "a much longer one"
    with pytest.raises(UserError, match="has no column 'absent'; its columns are id, Title"):
        read(path, Reading(columns=("absent",)))
    with pytest.raises(UserError, match="'other', which the model was trained with"):
        read(path, Reading(trained=("Title", "other")))


def test_sentences_of_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "-DOCSTART- O\n\nAnn B-per\ngoes O\n\t\nto\nNew York\tB-loc\n\n\n我 O\n")
    rows = read(path, Reading(words=True))
    assert [row.raw for row in rows] == [["Ann", "goes"], ["to", "New York"], ["我"]]
    assert [row.where for row in rows] == ["a.conll:3", "a.conll:6", "a.conll:10"]
    assert [row.raw for row in read(path)] == ["Ann goes", "to New York", "我"]
    lists = write(tmp_path / "a.jsonl", '{"tokens": ["Ann", "goes"]}\n{"tokens": ["a", " "]}\n')
    found = read(lists, Reading(words=True))
    assert found[0].raw == ["Ann", "goes"] and found[1].fault and "empty word" in found[1].fault.what
    refused = read(lists)[0].fault
    assert refused is not None and "holds a list, no text" in refused.what


def test_words_of_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "b.txt", "three\n")
    write(tmp_path / "in" / "a.csv", "text,n\none,1\ntwo,2\n")
    write(tmp_path / "in" / ".hidden.txt", "no\n")
    write(tmp_path / "list.en", "five\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("four\n"))
    given = ["zero it is.", str(tmp_path / "in"), "-", str(tmp_path / "list.en"), "x" * 5000]
    assert [row.raw for row in inputs(given, PLAIN)] == [
        "zero it is.",
        "one",
        "two",
        "three",
        "four",
        "five",
        "x" * 5000,
    ]
    for word, said in (("absent.csv", "no such file"), (str(tmp_path), "")):
        if said:
            with pytest.raises(UserError, match=said):
                inputs([word], PLAIN)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no texts"):
        inputs([str(tmp_path / "none")], PLAIN)
    with pytest.raises(UserError, match="did you mean 'jsonl'"):
        inputs(["-"], PLAIN, "json")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"text": "six"}\n'))
    assert [row.raw for row in inputs(["-"], PLAIN, "jsonl")] == ["six"]


class Endless(io.RawIOBase):
    """Lines without an end, which counts those that were taken."""

    def __init__(self, head: bytes, line: bytes) -> None:
        self.lines: Iterator[bytes] = itertools.chain([head] if head else [], itertools.repeat(line))
        self.taken = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.taken += 1
        return next(self.lines)


@pytest.mark.parametrize(("form", "head", "line"), [
    ("txt", b"", b"again\n"), ("csv", b"text,n\n", b"again,1\n"), ("jsonl", b"", b'{"text": "again"}\n'),
])  # fmt: skip
def test_a_pipe_without_an_end_is_read_as_far_as_asked(form: str, head: bytes, line: bytes) -> None:
    stream = Endless(head, line)
    rows = list(itertools.islice(module._laid_out(stream, "stdin", form, PLAIN), 200))  # type: ignore[arg-type]
    assert {row.raw for row in rows} == {"again"} and stream.taken <= 202
