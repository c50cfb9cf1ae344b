"""Labelled texts in tables: columns found, splits made, what cannot be used named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dougong.data import open_data
from dougong.data.texts import TextRow, TextSplit
from dougong.errors import UserError

ROWS = [(f"text number {n}, {'good' if n % 3 else 'bad'}", "pos" if n % 3 else "neg") for n in range(60)]


def write(file: Path, rows: list[tuple[str, str]], head: str = "text,label", mark: str = ",") -> Path:
    lines = [head, *(mark.join(f'"{cell}"' for cell in row) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_a_file_without_splits_is_divided(tmp_path: Path) -> None:
    data = open_data(write(tmp_path / "reviews.csv", ROWS))
    assert (
        data.kind == "texts" and data.classes == ("neg", "pos") and data.columns == {"text": "text", "label": "label"}
    )
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 48, "val": 6, "test": 6}
    texts = {row.texts[0] for split in data.splits.values() for row in split}
    assert texts == {text for text, _ in ROWS}
    first = data.splits["train"][0]
    assert dict(ROWS)[first.texts[0]] == data.classes[first.labels[0]]
    number = int(first.texts[0].split()[2].rstrip(","))
    assert first.where == f"reviews.csv:{number + 2}"
    assert data.counts()["train"] == {"neg": 16, "pos": 32}
    again, other = open_data(tmp_path / "reviews.csv"), open_data(tmp_path / "reviews.csv", seed=1)
    assert again.fingerprint == data.fingerprint != other.fingerprint
    json.dumps(data.describe())


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_gives_the_same(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / ending
    folder.mkdir()
    for name, part in (("train", ROWS[:40]), ("dev", ROWS[40:50]), ("test", ROWS[50:])):
        file = folder / f"{name}.{ending}"
        if ending in ("csv", "tsv"):
            mark = "\t" if ending == "tsv" else ","
            write(file, part, f"sentence{mark}category", mark)
        elif ending == "jsonl":
            file.write_text("".join(json.dumps({"sentence": t, "category": c}) + "\n" for t, c in part))
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"sentence": [t for t, _ in part], "category": [c for _, c in part]}), file)
    data = open_data(folder)
    assert [row.texts[0] for row in data.splits["val"]] == [text for text, _ in ROWS[40:50]]
    assert [data.classes[row.labels[0]] for row in data.splits["test"]] == [label for _, label in ROWS[50:]]
    assert data.how == "as given (train, val, test)"


def test_columns_are_found_or_named(tmp_path: Path) -> None:
    rows = [(f"{n}", f"a long review of something, {n}", f"a shorter title {n}", "xy"[n % 2]) for n in range(40)]
    file = write(tmp_path / "a.csv", rows, "id,body,title,stars")  # type: ignore[arg-type]
    data = open_data(file)
    assert data.columns == {"text": "body", "label": "stars"}
    named = open_data(file, text=["title", "body"], label="stars")
    assert named.splits["train"][0].texts[0].startswith("a shorter") and len(named.splits["train"][0].texts) == 2
    for wrong in ({"text": "nothing"}, {"label": "nothing"}):
        with pytest.raises(UserError, match="has no column 'nothing'; its columns are id, body, title, stars"):
            open_data(file, **wrong)  # type: ignore[arg-type]


def test_texts_that_a_later_split_holds_are_left_out_of_train(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS[:40])
    write(tmp_path / "test.csv", ROWS[38:])
    data = open_data(tmp_path)
    train = {row.texts[0] for row in data.splits["train"]} | {row.texts[0] for row in data.splits["val"]}
    assert not train & {row.texts[0] for row in data.splits["test"]} and len(train) == 38
    assert any("2 texts left out" in note for note in data.notes) and any("has no val" in note for note in data.notes)


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        ([("a", ""), *ROWS], "text,label", r"a\.csv:2: has no label"),
        (ROWS, "text,nothing at all", "has no label column"),
        ([("a", "b", "c")], "text,label", r"a\.csv:2: has 3 cells, the header 2"),
    ],
)
def test_what_cannot_be_used_is_named(rows: list[tuple[str, str]], head: str, said: str, tmp_path: Path) -> None:
    many = [(text, str(number)) for number, (text, *_) in enumerate(rows * 3)] if "nothing" in head else rows
    with pytest.raises(UserError, match=said):
        open_data(write(tmp_path / "a.csv", many, head))


def test_rows_come_back_and_their_lengths_are_counted() -> None:
    rows = [
        TextRow(("ab", "c"), (1,), (), "x:1"),
        TextRow(("日本語",), (0, 2), (), "x:2"),
        TextRow(("",), (), ("O",), "x:3"),
    ]
    split = TextSplit.of(rows)
    assert [row.texts for row in split] == [row.texts for row in rows] and split[-1].tags == ("O",)
    assert np.array_equal(split.lengths(), [3, 3, 0]) and np.array_equal(split[1:].lengths(), [3, 0])
    assert split[0].key != split[1].key and len(split.take([2, 0])) == 2
    with pytest.raises(IndexError):
        split[3]
