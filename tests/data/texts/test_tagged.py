"""Tagged sentences in CoNLL columns, whatever their scheme."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from dougong.data import open_data
from dougong.data.texts.tagged import sentences
from dougong.errors import UserError

BIO = "Ann B-person\nLee I-person\nsings O\n\t\nin O\nRome B-place\n\n"
BIO += "-DOCSTART- -X- O\n\nBob B-person\nat O\nRome B-place\n"


def folder(place: Path, train: str, ending: str = ".conll") -> Path:
    for name, text in (("train", train), ("dev", "Eve B-person\nsleeps O\n"), ("test", "Oslo B-place\n")):
        (place / f"{name}{ending}").write_text(text, encoding="utf-8")
    return place


def test_sentences_end_at_lines_that_hold_nothing_to_see(tmp_path: Path) -> None:
    data = open_data(folder(tmp_path, BIO))
    assert data.kind == "tags" and data.classes == ("O", "B-person", "I-person", "B-place", "I-place")
    train = data.splits["train"]
    assert [row.texts for row in train] == [("Ann", "Lee", "sings"), ("in", "Rome"), ("Bob", "at", "Rome")]
    assert [row.where for row in train] == ["train.conll:1", "train.conll:5", "train.conll:10"]
    assert train[0].tags == ("B-person", "I-person", "O")


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("IOBES", "Ann B-person\nvan I-person\nLee E-person\nsings O\n\nin O\nRome S-place\n"),
        ("BMES", "Ann B-person\nvan M-person\nLee E-person\n\nRome S-place\n"),
        ("IOB1", "Ann I-person\nLee I-person\nsings O\n\nin O\nRome I-place\n"),
    ],
)
def test_every_scheme_becomes_bio(tmp_path: Path, scheme: str, text: str) -> None:
    place = tmp_path / "only.conll"
    place.write_text("\n".join([text] * 1 + [text.replace("Rome", f"Rome{n}") for n in range(20)]), encoding="utf-8")
    data = open_data(place)
    assert scheme in data.notes[0]
    tags = {tag for split in data.splits.values() for row in split for tag in row.tags}
    assert tags <= {"O", "B-person", "I-person", "B-place"} and "B-place" in tags


def test_columns_between_word_and_tag_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n", encoding="utf-8")
    assert sentences(file) == [(["EU", "rejects"], ["B-ORG", "O"], "a.conll:1")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ann B-person\nLee\n", r"train.conll:2: has one column, 'Lee'"),
        ("Ann NNP\nLee NNP\n", r"train.conll:1: the tag 'NNP' is of no scheme"),
        ("Ann B-per\0son\n", r"train.conll:1: holds a NUL byte"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_data(folder(tmp_path, text))


def test_broken_tags_are_counted_aloud(tmp_path: Path) -> None:
    data = open_data(folder(tmp_path, BIO + "\nJoe O\nDoe I-person\n"))
    assert "1 sentence breaks BIO (train.conll:14)" in data.notes[1]
    assert data.splits["train"][3].tags == ("O", "B-person")
    assert len(open_data(folder(tmp_path, BIO)).notes) == 1  # and none where none is broken


def test_a_sentence_of_the_test_split_is_not_trained_on(tmp_path: Path) -> None:
    data = open_data(folder(tmp_path, BIO + "\nOslo B-place\n"))
    assert ("Oslo",) not in [row.texts for row in data.splits["train"]]
    assert any("left out" in note for note in data.notes)


@pytest.mark.skipif("DOUGONG_DATA" not in os.environ, reason="DOUGONG_DATA names no folder with the data sets")
def test_wnut17() -> None:
    source = Path(os.environ["DOUGONG_DATA"]) / "wnut17"
    data = open_data(source)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 3394, "val": 1009, "test": 1287}
    for name, file in (("train", "train"), ("val", "dev"), ("test", "test")):
        lines = (source / f"{file}.conll").read_text(encoding="utf-8").split("\n")
        wanted = Counter(line.split("\t")[-1] for line in lines if "\tB-" in line)
        found = Counter(tag for row in data.splits[name] for tag in row.tags if tag.startswith("B-"))
        assert found == wanted
