"""Sentences for vectors: which columns are read, how pairs, scores and single texts are told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dougong.data import open_data
from dougong.data.texts.rows import TextData
from dougong.errors import UserError


def opened(folder: Path, held: str, name: str = "data.csv", **settings: object) -> TextData:
    (folder / name).write_text(held, encoding="utf-8")
    found = open_data(folder / name, kind="sentences", **settings)  # type: ignore[arg-type]
    assert isinstance(found, TextData)
    return found


def table(header: str, row: str, count: int = 30) -> str:
    return header + "\n" + "".join(row.replace("#", str(number)) + "\n" for number in range(count))


@pytest.mark.parametrize(
    ("header", "row", "columns"),
    [
        ("anchor,positive", "cat #,feline #", {"text": "anchor", "other": "positive"}),
        ("id,Question,Answer", "#,why #,so #", {"text": "Question", "other": "Answer"}),
        ("sentence1,sentence2,score", "a #,b #,0.#", {"text": "sentence1", "other": "sentence2", "score": "score"}),
        ("idx,en,de,label", "#,a #,b #,x", {"text": "en", "other": "de"}),
        ("id,sentence", "#,a #", {"text": "sentence"}),
        ("sentence,score", "a #,1.5", {"text": "sentence"}),
    ],
)
def test_columns_are_told_by_name_and_contents(tmp_path: Path, header: str, row: str, columns: dict[str, str]) -> None:
    data = opened(tmp_path, table(header, row))
    assert data.columns == columns and data.kind == "sentences"
    first = data.splits["train"][0]
    assert len(first.texts) == 1 + ("other" in columns) and len(first.tags) == ("score" in columns)
    assert data.notes[0].startswith("Read as pairs, " if "other" in columns else "Read as single texts, ")


def test_columns_are_named(tmp_path: Path) -> None:
    text = table("a,b,c", "one #,two #,three #")
    with pytest.raises(UserError, match=r"which of its columns are meant is not clear: a, b, c"):
        opened(tmp_path, text)
    assert opened(tmp_path, text, text=["c", "a"]).splits["test"][0].texts[0].startswith("three")
    assert opened(tmp_path, text, text="b", label="a").columns == {"text": "b", "other": "a"}
    single = opened(tmp_path, text, text="b")
    assert single.columns == {"text": "b"} and len(single.splits["train"][0].texts) == 1
    with pytest.raises(UserError, match="has no column 'd'"):
        opened(tmp_path, text, text="d")
    with pytest.raises(UserError, match="name 3 columns; name one, or two"):
        opened(tmp_path, text, text=["a", "b"], label="c")


def test_scores_are_kept_to_the_last_digit_and_belong_to_the_data(tmp_path: Path) -> None:
    rows = "sentence1,sentence2,score,split\n" + "".join(
        f"a {n},b {n},{n / 7!r},{part}\n" for n in range(9) for part in ("train", "dev", "test")[n % 3 : n % 3 + 1]
    )
    data = opened(tmp_path, rows)
    held = {row.texts[0]: float(row.tags[0]) for split in data.splits.values() for row in split}
    assert held == {f"a {n}": n / 7 for n in range(9)}
    other = opened(tmp_path, rows.replace(repr(1 / 7), "0.15"))
    assert other.fingerprint != data.fingerprint


@pytest.mark.parametrize("bad", ["", "high", "nan", "inf"])
def test_a_score_that_is_none_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(UserError, match=rf"data.csv:3: the score '{bad}' is no number"):
        opened(tmp_path, f"sentence1,sentence2,score\na,b,1\nc,d,{bad}\n")


def test_empty_sides_are_left_out_and_counted(tmp_path: Path) -> None:
    data = opened(tmp_path, table("anchor,positive", "a #,b #") + "x,\n, \ny,z\n")
    assert sum(map(len, data.splits.values())) == 31
    assert "2 rows without a text, or with an empty side, are left out: data.csv:32, data.csv:33." in data.notes


def test_a_line_is_a_text(tmp_path: Path) -> None:
    data = opened(tmp_path, table("first", "line #") + "\n\n", "lines.txt")
    assert sum(map(len, data.splits.values())) == 31 and data.splits["val"][0].where.startswith("lines.txt:")
    assert any("2 rows without a text" in note for note in data.notes)


def test_parallel_files(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.en").write_text(f"one {split}\ntwo {split}\n")
        (tmp_path / f"{split}.de").write_text(f"eins {split}\nzwei {split}\n")
    data = open_data(tmp_path, kind="sentences")
    assert isinstance(data, TextData) and data.columns == {"text": "de", "other": "en"}
    assert data.splits["val"][1].texts == ("zwei val", "two val")
    turned = open_data(tmp_path, kind="sentences", text=["en", "de"])
    assert isinstance(turned, TextData) and turned.splits["val"][1].texts == ("two val", "zwei val")
    assert open_data(tmp_path).kind == "pairs"  # type: ignore[union-attr]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.jsonl:1: holds a list, not a text"):
        opened(tmp_path, '{"anchor": "a", "positive": ["b"]}\n', "data.jsonl", text=["anchor", "positive"])
    with pytest.raises(UserError, match="has no column of texts"):
        opened(tmp_path, table("a,b", "#,0.#"))
    with pytest.raises(UserError, match="the split 'later' is none of train, val, test"):
        opened(tmp_path, "anchor,positive,split\na,b,train\nc,d,later\n")
    with pytest.raises(UserError, match="holds no text"):
        opened(tmp_path, "anchor,positive\n,\n")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "train.csv").write_text("anchor,positive\na,b\n")
    (tmp_path / "two" / "test.csv").write_text("sentence\na\n")
    with pytest.raises(UserError, match="has files with other columns than the others"):
        open_data(tmp_path / "two", kind="sentences")
