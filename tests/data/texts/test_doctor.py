"""The doctor of texts: each planted fault is found where it is, whole data has none, the copy is mended."""

from __future__ import annotations

import csv as library
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dougong.data import check, open_data
from dougong.data.texts.cleaning import write_cleaned
from dougong.data.texts.doctor import TextExamination, examine_texts
from dougong.errors import UserError
from tests.support.text_faults import CONLL, FAULTS, ROWS, WHOLE, TextFault, csv


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, tmp_path: Path) -> None:
    case = FAULTS[name]
    source = case.make(tmp_path)
    found = examine_texts(source)
    same = [f for f in found.faults if f.kind == case.kind and f.where.endswith(case.where) and case.what in f.what]
    assert len(same) == 1, found.faults
    assert (same[0].severity, same[0].fix) == (case.severity, case.fix)
    assert all("\n" not in f"{f.where}{f.what}{f.remedy}" and f.remedy and f.kind for f in found.faults)
    others = {(f.kind, f.severity) for f in found.faults} - {(case.kind, case.severity)}
    assert not any(severity == "error" for _, severity in others), others


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_wrong_with_what_is_whole(name: str, tmp_path: Path) -> None:
    source = TextFault(WHOLE[name], "", "", "").make(tmp_path)
    assert check(source) == []
    copy, found = cleaned(source, tmp_path)
    assert found.faults == [] and not found.drops
    for path in sorted(copy.rglob("*.*")):
        original = (tmp_path / "data" / path.name).read_text(encoding="utf-8")
        copied = path.read_text(encoding="utf-8").replace('"', "")  # blanks and quotes may differ
        assert copied.split() == original.replace('"', "").split()


def cleaned(source: Path, tmp_path: Path) -> tuple[Path, TextExamination]:
    """A copy of a source, and what the doctor says of it."""
    folder = tmp_path / "copy"
    write_cleaned(source, folder, examine_texts(source))
    copy = folder if source.is_dir() else folder / source.name
    return folder, examine_texts(copy)


@pytest.mark.parametrize("name", [name for name, case in FAULTS.items() if case.fix])
def test_the_copy_is_mended_and_the_source_is_not(name: str, tmp_path: Path) -> None:
    case = FAULTS[name]
    source = case.make(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    first = examine_texts(source)
    _, left = cleaned(source, tmp_path)
    assert not [fault for fault in left.faults if fault.fix], left.faults
    assert left.errors == 0, left.faults
    assert left.rows >= first.rows - 3
    assert {path: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


LEFT = [name for name, case in FAULTS.items() if case.severity == "warning" and not case.fix]


@pytest.mark.parametrize("name", [*LEFT, "unequal files"])
def test_what_a_person_must_decide_stays(name: str, tmp_path: Path) -> None:
    case = FAULTS[name]
    source = case.make(tmp_path)
    folder, left = cleaned(source, tmp_path)
    assert any((f.kind, f.where, f.fix) == (case.kind, case.where, "") and case.what in f.what for f in left.faults)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "data" / path.name).read_bytes()


MENDED = {
    "unclosed quote": ['"never', "fine", "a, b"],
    "text after a quote": ['a "b" c'],
    "NUL": ["ab"],
    "Latin-1": ["café"],
    "GBK": ["这家酒店的房间很干净"],
    "Windows-1251": ["очень хороший фильм"],
    "UTF-8 but for one line": ["café", "naïve", "ok", "très"],
    "look-alike": ["the paypal page"],
    "hidden character": ["zerowidth"],
    "read twice": ["café"],
}


@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended_reads_as_it_should(name: str, tmp_path: Path) -> None:
    folder, _ = cleaned(FAULTS[name].make(tmp_path), tmp_path)
    with (folder / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(library.reader(file))
    assert rows[0] == ["text", "label"] and [tuple(row) for row in rows[1:41]] == ROWS
    assert [row[0] for row in rows[41:]] == MENDED[name]


def test_broken_tags_are_written_as_training_reads_them(tmp_path: Path) -> None:
    source = FAULTS["broken tags"].make(tmp_path)
    wanted = open_data(source)
    folder, _ = cleaned(source, tmp_path)
    assert (folder / "a.conll").read_text() == CONLL + "Bob\tO\nLee\tB-per\n\n"
    assert open_data(folder / "a.conll").fingerprint == wanted.fingerprint


def test_a_copy_is_written_to_a_new_folder_only(tmp_path: Path) -> None:
    source = FAULTS["leak"].make(tmp_path)
    found = examine_texts(source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    for folder, said in (
        (tmp_path / "full", "not empty"),
        (source, "not empty"),
        (source / "new", "in the data itself"),
    ):
        with pytest.raises(UserError, match=said):
            write_cleaned(source, folder, found)
    assert (tmp_path / "full" / "mine.txt").read_text() == "kept" and not (source / "new").exists()


def test_what_cannot_be_read_is_not_copied(tmp_path: Path) -> None:
    source = FAULTS["no label column"].make(tmp_path)
    with pytest.raises(UserError, match="no copy is written"):
        write_cleaned(source, tmp_path / "copy", examine_texts(source))
    assert not (tmp_path / "copy").exists()


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(csv() + "a,b,c\n,positive\nno label,\n" + "".join(f"{t},{label}\n" for t, label in ROWS[:3]))
    found = examine_texts(source)
    done = write_cleaned(source, tmp_path / "copy", found)[0]
    assert (done.rows, done.kept) == (46, 40) and found.rows == 46
    assert done.dropped == Counter({"copy": 3, "cells": 1, "empty": 1, "no label": 1})
    assert sorted(fault.where for action, fault in done.actions) == [f"a.csv:{n}" for n in range(42, 48)]


def test_faults_beyond_a_thousand_are_counted(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(csv() + ",positive\n" * 1500)
    found = examine_texts(source)
    assert found.warnings == 1500 and len(found.faults) == 1000 and found.totals["warning", "empty", "drop"] == 1500


def test_long_texts(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(csv() + "w " * 30 + ",positive\n" + "这" * 31 + ",negative\n")
    told = [fault for fault in examine_texts(source, length=29).faults if fault.kind == "too long"]
    assert [fault.where for fault in told] == ["a.csv:42", "a.csv:43"]
    assert "at least 30 tokens, more than 29" in told[0].what
    assert not [fault for fault in examine_texts(source, length=31).faults if fault.kind == "too long"]
    told = [
        f
        for f in examine_texts(source, length=59, tokens=lambda texts: [len(t) for t in texts]).faults
        if f.kind == "too long"
    ]
    assert [fault.what for fault in told] == ["takes 60 tokens, more than 59"]


def test_one_document_of_several_that_are_equal(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    for name, text in (("a", "one story\n" * 9), ("b", "another\n" * 9), ("c", "one story\n" * 9), ("d", " \n")):
        (place / f"{name}.txt").write_text(text)
    found = examine_texts(place)
    assert {(f.kind, f.where) for f in found.faults if f.fix} == {("copy", "c.txt"), ("empty", "d.txt")}
    write_cleaned(place, tmp_path / "copy", found)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["a.txt", "b.txt"]


def test_what_only_training_reads_is_looked_at_and_not_copied(tmp_path: Path) -> None:
    words = [["Ann", f"met{i}", "the", "pаypal" if i == 7 else "man"] for i in range(40)]
    tags = [["B-per", "O", "O", "O"]] * 39 + [["O", "I-per", "O", "O"]]
    source = tmp_path / "a.parquet"
    pq.write_table(pa.table({"tokens": [*words, words[0]], "ner_tags": [*tags, tags[0]]}), source)
    found = examine_texts(source)
    assert (found.kind, found.rows, found.errors) == ("tags", 41, 0)
    assert {(f.kind, f.where) for f in found.faults} == {("look-alike", "a.parquet:7"), ("copy", "a.parquet:40")}
    with pytest.raises(UserError, match="no copy is written"):
        write_cleaned(source, tmp_path / "copy", found)


def test_a_file_of_val_or_test_without_any_label(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    texts, labels = zip(*ROWS, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), place / "train.parquet")
    pq.write_table(pa.table({"text": ["a", "b"], "label": pa.array([None, None], pa.string())}), place / "test.parquet")
    found = examine_texts(place)
    assert [(f.kind, f.where, f.severity) for f in found.faults] == [("unlabelled file", "test.parquet", "warning")]
    copy, left = cleaned(place, tmp_path)
    assert left.faults == found.faults and pq.read_table(copy / "test.parquet").num_rows == 2


def test_parquet_with_faults(tmp_path: Path) -> None:
    texts = [text for text, _ in ROWS] + ["", "zero\u200bwidth", ROWS[0][0], "no label"]
    labels = [label for _, label in ROWS] + ["positive", "negative", "positive", None]
    table = pa.table({"text ": texts, "label": labels, "n": range(44)})
    source = tmp_path / "a.parquet"
    pq.write_table(table, source)
    found = examine_texts(source)
    assert {(f.kind, f.where) for f in found.faults} == {
        ("column name", "a.parquet"), ("empty", "a.parquet:40"), ("hidden character", "a.parquet:41"),
        ("copy", "a.parquet:42"), ("no label", "a.parquet:43"),
    }  # fmt: skip
    copy, left = cleaned(source, tmp_path)
    assert left.faults == []
    held = pq.read_table(copy / "a.parquet")
    assert held.column_names == ["text", "label", "n"] and held["n"].to_pylist() == [*range(40), 41]
    assert held["text"][40].as_py() == "zerowidth"


def real(name: str) -> Path:
    if "DOUGONG_DATA" not in os.environ:
        pytest.skip("DOUGONG_DATA names no folder with the data sets")
    return Path(os.environ["DOUGONG_DATA"]) / name


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("sst2", {"copy": 9, "leak": 2}),
        ("chnsenticorp", {"other script": 7}),
        ("multi30k", {"copy": 3}),
        ("tinyshakespeare", {}),
    ],
)
def test_real_data_has_no_errors(name: str, kinds: dict[str, int]) -> None:
    found = examine_texts(real(name))
    assert found.errors == 0 and Counter(kind for _, kind, _ in found.totals.elements()) == Counter(kinds)


def test_faults_planted_in_sst2(tmp_path: Path) -> None:
    place = tmp_path / "sst2"
    shutil.copytree(real("sst2"), place)
    draw = random.Random(0)
    lines = (place / "train.csv").read_text(encoding="utf-8").splitlines()
    known = {(f.kind, f.where) for f in examine_texts(place).faults}
    planted = {
        "no label": "some text of mine,", "cells": "a,b,c,positive", "quoting": '"so "good" it is",positive',
        "look-alike": "a fіne film with nо story,positive", "hidden character": "a\u2060b c,negative",
    }  # fmt: skip
    rows = sorted(draw.sample(range(1, len(lines)), len(planted)))
    wanted = set()
    for added, (row, kind) in enumerate(zip(rows, draw.sample(list(planted), len(planted)), strict=True)):
        lines.insert(row + added, planted[kind])
        wanted.add((kind, f"train.csv:{row + added + 1}"))
    (place / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = {(f.kind, f.where) for f in examine_texts(place).faults}
    assert {each for each in found if each[0] not in ("copy", "leak")} == wanted
    assert len({each for each in found if each[0] in ("copy", "leak")}) == len(known)


def test_tags_broken_in_wnut17(tmp_path: Path) -> None:
    place = tmp_path / "wnut17"
    shutil.copytree(real("wnut17"), place)
    lines = (place / "train.conll").read_text(encoding="utf-8").split("\n")
    starts = [n for n, line in enumerate(lines[:-1]) if "\tB-" in line and "\tI-" in lines[n + 1]]
    chosen = sorted(random.Random(1).sample(starts, 12))
    for n in chosen:
        lines[n] = lines[n].split("\t")[0] + "\tO"
    (place / "train.conll").write_text("\n".join(lines), encoding="utf-8")
    before = examine_texts(real("wnut17"))
    found = examine_texts(place)
    assert before.errors == 0 and not any(fault.kind == "broken tags" for fault in before.faults)
    assert [f.where for f in found.faults if f.kind == "broken tags"] == [f"train.conll:{n + 2}" for n in chosen]
