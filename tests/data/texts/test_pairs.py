"""Pairs of texts: parallel files and two columns of a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from dougong.data import open_data
from dougong.data.texts.doctor import examine_texts
from dougong.errors import UserError


def parallel(place: Path, count: int = 12) -> Path:
    for split, size in (("train", count), ("val", 3), ("test_2016_flickr", 3)):
        for ending in ("de", "en"):
            lines = [f"{ending} {split} {number}" for number in range(size)]
            (place / f"{split}.{ending}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def test_parallel_files(tmp_path: Path) -> None:
    data = open_data(parallel(tmp_path))
    assert data.kind == "pairs" and {name: len(part) for name, part in data.splits.items()} == {
        "train": 12, "val": 3, "test": 3,
    }  # fmt: skip
    assert data.splits["train"][4].texts == ("de train 4", "en train 4")
    turned = open_data(tmp_path, text="en", label="de")
    assert turned.splits["train"][4].texts == ("en train 4", "de train 4")
    assert turned.fingerprint != data.fingerprint


def test_what_a_later_split_holds_is_left_out_by_the_name_of_what_it_is(tmp_path: Path) -> None:
    parallel(tmp_path)
    for ending in ("de", "en"):
        with (tmp_path / f"train.{ending}").open("a", encoding="utf-8") as file:
            file.write(f"{ending} val 0\n{ending} val 1\n")
    assert "2 pairs left out, because val or test holds the same." in open_data(tmp_path).notes
    pairs = open_data(tmp_path, kind="sentences")
    assert "2 pairs left out, because val or test holds the same." in pairs.notes


def test_equal_sides_are_named(tmp_path: Path) -> None:
    """Of parallel files and of tables; not where they differ, nor where there is nothing to translate."""
    parallel(tmp_path)
    (tmp_path / "val.de").write_text("Berlin\n42\nde val 2\n", encoding="utf-8")
    (tmp_path / "val.en").write_text(" Berlin\n42\nen val 2\n", encoding="utf-8")
    found = [fault for fault in examine_texts(tmp_path).faults if fault.kind == "equal sides"]
    assert [(each.where, each.severity) for each in found] == [("val.de:1", "warning")]
    assert open_data(tmp_path).splits["val"][0].texts == ("Berlin", " Berlin")  # it is a warning: training keeps it
    rows = "".join(f"de {n},en {n}\n" for n in range(20))
    table = tmp_path / "pairs.csv"
    table.write_text(f"source,target\n{rows}no change,no change\n", encoding="utf-8")
    for kind in ("pairs", "sentences"):
        found = [fault for fault in examine_texts(table, kind=kind).faults if fault.kind == "equal sides"]
        assert [each.where for each in found] == ["pairs.csv:22"], kind
    same = "".join(f"word {n},word {n},{'yes' if n % 2 else 'no'}\n" for n in range(20))
    table.write_text(f"sentence1,sentence2,label\n{same}", encoding="utf-8")
    assert not any(fault.kind == "equal sides" for fault in examine_texts(table).faults)  # of entailment that is right


def test_an_empty_side_is_counted(tmp_path: Path) -> None:
    parallel(tmp_path)
    (tmp_path / "val.en").write_text("a\n\nc\n", encoding="utf-8")
    data = open_data(tmp_path)
    assert len(data.splits["val"]) == 2 and "1 pair with an empty side is left out: val.de:2." in data.notes


def test_unequal_files_are_refused(tmp_path: Path) -> None:
    parallel(tmp_path)
    (tmp_path / "val.en").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"val\.de: has 3 lines, val\.en 2"):
        open_data(tmp_path)
    with pytest.raises(UserError, match=r"no files that end in \.fr"):
        open_data(tmp_path, text="fr")


def test_two_columns_of_a_table(tmp_path: Path) -> None:
    lines = [f"wort {n}\tword {n}" for n in range(30)]
    (tmp_path / "a.tsv").write_text("de\ten\n" + "\n".join(lines) + "\n", encoding="utf-8")
    data = open_data(tmp_path / "a.tsv", text="en", label="de", kind="pairs")
    assert data.splits["test"][0].texts[0].startswith("word") and data.columns == {"text": "en", "label": "de"}
