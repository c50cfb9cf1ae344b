"""Large files: the rows that csv and pyarrow read, kept by content, never stale, never half, resumed bit for bit."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dougong.data import open_data
from dougong.data.texts import TextData, TextSplit, caching, streaming
from dougong.data.texts.stored import StoredSplit
from dougong.errors import UserError

WORDS = ["good", "bad", 'a "quoted" word', "comma, here", "two\nlines", "猫", "naïve"]


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(caching, "LARGE", 1)
    monkeypatch.setattr("dougong.data.texts.stored.LEARNT", 2**20)
    monkeypatch.setenv("DOUGONG_CACHE", str(tmp_path / "cache"))


def rows(count: int, seed: int = 0, first: int = 0) -> list[tuple[str, str]]:
    drawn = np.random.default_rng(seed)
    return [
        (f"text {n}: " + " ".join(drawn.choice(WORDS, int(drawn.integers(1, 20)))), ["neg", "pos", "so-so"][n % 3])
        for n in range(first, first + count)
    ]


def write(path: Path, held: list[tuple[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": [text for text, _ in held], "label": [label for _, label in held]})
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([("text", "label"), *held])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t, "label": x}) + "\n" for t, x in held), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=100)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table, max_chunksize=50)
    return path


def pairs_of(data: TextData) -> dict[str, list[tuple[str, str]]]:
    return {name: [(row.texts[0], data.classes[row.labels[0]]) for row in split] for name, split in data.splits.items()}


def entries(holding: str = "rows.arrow") -> list[Path]:
    """Those of the rows; and of which rows are train, by ``"train"``."""
    folders = sorted(path for path in caching.cache_folder().iterdir())
    return [path for path in folders if holding in (path / "entry.json").read_text(encoding="utf-8")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "arrow"])
def test_all_kinds_of_tables_give_the_rows_that_were_written(ending: str, tmp_path: Path) -> None:
    held = rows(500)
    data = open_data(write(tmp_path / f"a.{ending}", held), "60/20/20")
    assert all(isinstance(split, StoredSplit) for split in data.splits.values())
    found = pairs_of(data)
    assert sorted(itertools.chain(*found.values())) == sorted(held)
    order = {text: number for number, (text, _) in enumerate(held)}
    for name, several in found.items():
        numbers = [order[text] for text, _ in several]
        assert numbers == sorted(numbers), name
        assert abs(len(several) / 500 - {"train": 0.6, "val": 0.2, "test": 0.2}[name]) < 0.06
    assert data.classes == ("neg", "pos", "so-so")
    first = {"jsonl": 1, "parquet": 0, "arrow": 0}.get(ending, 2)
    row = data.splits["val"][3]
    assert row.where == f"a.{ending}:{order[row.texts[0]] + first}"


def test_with_splits_of_its_own_it_equals_what_is_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = rows(300)
    for name, part in (("train", held[:200]), ("dev", held[190:240]), ("test", held[235:])):
        write(tmp_path / "set" / f"{name}.csv", part)
    large = open_data(tmp_path / "set")
    monkeypatch.setattr(caching, "LARGE", 2**40)
    small = open_data(tmp_path / "set")
    assert not isinstance(small.splits["train"], StoredSplit) and pairs_of(large) == pairs_of(small)
    assert large.fingerprint == small.fingerprint and large.counts() == small.counts()
    assert {key: value for key, value in large.describe().items() if key != "notes"} == {
        key: value for key, value in small.describe().items() if key != "notes"
    }
    assert any("15 texts left out" in note for note in large.notes)
    for name, split in large.splits.items():
        other = small.splits[name]
        assert [row for row in split] == [row for row in other] == [split[n] for n in range(len(split))]
        assert split.lengths().tolist() == other.lengths().tolist()
        assert list(split.texts()) == list(other.texts()) == list(split.texts()) and len(split.texts()) == len(split)
        for column in ("texts", "labels", "where", "key"):
            assert split.column(column) == other.column(column)
        assert split[-1] == other[-1] and [*split[3:9:2]] == [*other[3:9:2]] and [*split.take([5, 1])] == [
            other[5], other[1]]  # fmt: skip
    classes = ("so-so", "neg", "other", "pos")
    assert large.relabelled(classes).fingerprint == small.relabelled(classes).fingerprint != large.fingerprint


def test_a_split_depends_on_texts_and_seed_alone(tmp_path: Path) -> None:
    held = rows(400)
    first = pairs_of(open_data(write(tmp_path / "a.csv", held)))
    turned = pairs_of(open_data(write(tmp_path / "b.csv", held[::-1])))
    assert {name: sorted(each) for name, each in first.items()} == {name: sorted(each) for name, each in turned.items()}
    other = pairs_of(open_data(tmp_path / "a.csv", seed=1))
    assert sorted(other["test"]) != sorted(first["test"])
    twice = pairs_of(open_data(write(tmp_path / "c.csv", held + held[:150])))
    parts = [{text for text, _ in each} for each in twice.values()]
    assert sum(map(len, parts)) == len(set.union(*parts))  # a text is on one side only


def test_a_file_edited_in_place_is_read_anew_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", rows(200))
    before = open_data(file)
    state = file.stat()
    file.write_bytes(file.read_bytes().replace(b"text 17:", b"TEXT 17:"))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    after = open_data(file)
    texts = [text for part in pairs_of(after).values() for text, _ in part]
    assert any(text.startswith("TEXT 17:") for text in texts) and before.fingerprint != after.fingerprint
    assert any(text.startswith("text 17:") for part in pairs_of(before).values() for text, _ in part)  # still mapped


def test_what_was_read_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.csv", rows(200))
    first = open_data(file)
    assert len(entries()) == len(entries("train")) == 1

    def never(*_: Any) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(streaming, "_written", never)
    with monkeypatch.context() as patched:
        patched.setattr(streaming, "divided_by_hash", never)
        again = open_data(file)
    assert again.fingerprint == first.fingerprint and (again.how, again.notes) == (first.how, first.notes)
    assert open_data(file, seed=1).fingerprint != first.fingerprint
    assert len(entries()) == 1 and len(entries("train")) == 2
    assert caching.cached_bytes() > file.stat().st_size / 2
    shutil.copy(file, tmp_path / "b.csv")
    with pytest.raises(AssertionError):  # another name is another place to be named
        open_data(tmp_path / "b.csv")
    monkeypatch.undo()
    monkeypatch.setattr(caching, "LARGE", 1)
    monkeypatch.setenv("DOUGONG_CACHE", str(tmp_path / "cache"))
    assert caching.clear_cache() > 0 and caching.cached_bytes() == 0
    assert pairs_of(first) == pairs_of(open_data(file))


@pytest.mark.parametrize("damage", ["cut", "turned", "gone", "no list", "empty folder", "splits"])
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", rows(300))
    whole = open_data(file).fingerprint
    (entry,) = entries()
    held = (entry / "rows.arrow").read_bytes()
    if damage == "cut":
        (entry / "rows.arrow").write_bytes(held[: len(held) // 2])
    elif damage == "turned":
        place = held.index(b"text 17:")
        (entry / "rows.arrow").write_bytes(held[:place] + b"T" + held[place + 1 :])
    elif damage == "gone":
        (entry / "rows.arrow").unlink()
    elif damage == "splits":
        (parts,) = entries("train")
        (parts / "train").write_bytes((parts / "train").read_bytes()[8:])
    elif damage == "no list":
        (entry / "entry.json").write_text("{")
    else:
        shutil.rmtree(entry)
        entry.mkdir()
    assert open_data(file).fingerprint == whole
    assert (entry / "rows.arrow").read_bytes() == held and entries() == [entry] and len(entries("train")) == 1


TOGETHER = """
import sys, time
from dougong.data.texts import caching
caching.LARGE = 1
from dougong.data import open_data
while time.time() < float(sys.argv[2]):
    pass
print(open_data(sys.argv[1]).fingerprint)
"""


def test_processes_that_make_the_same_at_once_all_get_it(tmp_path: Path) -> None:
    import time

    file = write(tmp_path / "a.csv", rows(2000))
    start = str(time.time() + 4)
    several = [
        subprocess.Popen([sys.executable, "-c", TOGETHER, str(file), start], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    found = [each.communicate(timeout=120)[0].strip() for each in several]
    assert len(set(found)) == 1 and len(found[0]) == 64 and len(entries()) == 1
    assert open_data(file).fingerprint == found[0]


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("DOUGONG_CACHE", str(tmp_path / "file"))
    assert len(open_data(write(tmp_path / "a.csv", rows(100))).splits["train"]) > 60


def test_a_row_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCKS", (2**12, 2**14, 2**18))
    held = rows(200)
    held[120] = ("long " * 12_000 + "end", "pos")
    for ending in ("csv", "jsonl"):
        data = open_data(write(tmp_path / f"a.{ending}", held))
        assert sorted(itertools.chain(*pairs_of(data).values())) == sorted(held)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([("a text", "x"), ("another", "")], r"a.csv:3: has no label"),
        ([("", "x"), (" ", "y")], "holds no text"),
        ([("one", "x")], "too few texts"),
    ],
)
def test_bad_rows_are_named(held: list[tuple[str, str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        open_data(write(tmp_path / "a.csv", held))
    assert not list(caching.cache_folder().glob(".part-*"))


def test_rows_without_a_text_are_counted_and_unlabelled_files_left_out(tmp_path: Path) -> None:
    held = rows(100)
    write(tmp_path / "set" / "train.parquet", [*held[:50], ("", "pos"), (" ", "neg"), *held[50:]])
    table = pa.table({"text": ["a", "b"], "label": pa.array([None, None], pa.string())})
    pq.write_table(table, tmp_path / "set" / "test.parquet")
    data = open_data(tmp_path / "set")
    assert "2 rows without a text are left out: train.parquet:50, train.parquet:51." in data.notes
    assert "test.parquet is left out: none of its rows has a label." in data.notes
    assert "val is 10% of train" in data.how and "test is 10% of train" in data.how


def test_text_files_and_columns_as_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PIECE", 1000)
    text = "".join(f"line {n} of the story, ever so long\n" for n in range(2000))
    (tmp_path / "story.txt").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    data = open_data(tmp_path / "story.txt", "80/10/10")
    parts = ["".join(row.texts[0] for row in data.splits[name]) for name in ("train", "val", "test")]
    assert "".join(parts) == text and all(part.endswith("\n") for part in parts)
    assert abs(len(parts[0]) / len(text) - 0.8) < 0.02
    row = data.splits["val"][2]
    line = int(row.where.removeprefix("story.txt:"))
    assert row.texts[0].startswith(text.splitlines()[line - 1])
    held = rows(300)
    table = open_data(write(tmp_path / "a.parquet", held), kind="corpus")
    assert sorted(row.texts[0] for part in table.splits.values() for row in part) == sorted(text for text, _ in held)
    (tmp_path / "bad.txt").write_bytes(b"good\n" * 500 + b"caf\xe9\n" + b"good\n" * 500)
    with pytest.raises(UserError, match=r"bad.txt:501: is not UTF-8"):
        open_data(tmp_path / "bad.txt")


def test_many_samples_are_counted_and_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data(write(tmp_path / "a.csv", rows(200)))
    listed = data.describe()["samples"]["train"]
    assert [row["key"] for row in listed] == data.splits["train"].column("key")
    assert StoredSplit.listed < TextSplit.listed  # a list of very many would be held in memory, and then as text
    monkeypatch.setattr(StoredSplit, "listed", 50)
    counted = data.describe()["samples"]
    assert counted["train"]["rows"] == len(listed) and len(counted["train"]["sha256"]) == 64
    assert isinstance(counted["val"], list)
