"""Files of interactions become sequences in splits that do not leak, and the doctor names what is wrong with them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.data.interactions.doctor import examine_interactions
from dougong.data.interactions.opening import rows_of
from dougong.data.interactions.sequences import by_time, core, leave_one_out
from dougong.errors import UserError

HEAD = "user_id,item_id,timestamp\n"
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


def file(folder: Path, text: str, name: str = "plays.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def some(folder: Path, users: int = 6, length: int = 5, name: str = "plays.csv") -> Path:
    """Every user meets items in the order of time, which is not the order of the file."""
    rows = [(f"u{user}", f"i{(user + step) % 7}", 100 * step + user) for user in range(users) for step in range(length)]
    rows.sort(key=lambda row: hash((row[2] * 7919) % 101))
    return file(folder, HEAD + "".join(f"{user},{item},{time}\n" for user, item, time in rows), name)


def test_sequences_are_in_the_order_of_time_and_the_last_items_are_kept_for_testing(tmp_path: Path) -> None:
    data = open_data(some(tmp_path))
    assert data.kind == "interactions" and len(data.users) == 6 and len(data) == 30
    for split, left in (("val", 3), ("test", 4)):
        context = data.context(split)
        assert len(context.places) == 6 and context.lone == 0
        for index in range(6):
            user = int(data.users[int(context.owner[index])].as_py()[1:])
            assert [data.names[item] for item in context.before(index)] == [f"i{(user + s) % 7}" for s in range(left)]
            assert data.names[context.item[context.places[index]]] == f"i{(user + left) % 7}"
    assert data.popularity.sum() == 18, "what is tested is not counted as popular"


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(1, 4))
def test_the_core_is_the_largest_set_in_which_all_have_enough(pairs: list[tuple[int, int]], least: int) -> None:
    left = list(pairs)
    while True:  # one interaction at a time, as the definition has it
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        bad = next((n for n, (u, i) in enumerate(left) if users[u] < least or items[i] < least), None)
        if bad is None:
            break
        left.pop(bad)
    kept = core(*(np.array([pair[side] for pair in pairs]) for side in (0, 1)), least)
    assert sorted(pair for pair, keep in zip(pairs, kept, strict=True) if keep) == sorted(left)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_leave_one_out_by_hand(users: list[int]) -> None:
    user = np.sort(np.array(users))
    code = leave_one_out(user, 6)
    for one in range(6):
        own = code[user == one].tolist()
        assert own == ([0] * (len(own) - 2) + [1, 2] if len(own) >= 3 else [0] * len(own))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=3, max_size=60), st.floats(0.3, 0.8))
def test_a_split_by_time_never_learns_from_the_future(times: list[int], share: float) -> None:
    time = np.array(times)
    code, _ = by_time(time, (share, (1 - share) / 2, (1 - share) / 2))
    for early, late in ((0, 1), (1, 2), (0, 2)):
        if (code == early).any() and (code == late).any():
            assert time[code == early].max() < time[code == late].min()


def test_contexts_hold_nothing_of_later_splits(tmp_path: Path) -> None:
    """A file whose own split is by chance: val must not look at test, even where that came before."""
    rows = [f"u{n % 4},i{n % 9},{n},{('train', 'train', 'val', 'test')[(n * 7) % 4]}\n" for n in range(60)]
    data = open_data(file(tmp_path, "user,item,time,split\n" + "".join(rows)))
    for level, split in enumerate(("train", "val", "test")):
        context, kept = data.context(split), data.code <= level
        assert np.array_equal(context.item, data.item[kept])
        for index in range(len(context.places)):
            number = context.number[index]
            earlier = (data.user == data.user[number]) & (np.arange(len(data)) < number) & kept
            assert np.array_equal(context.before(index), data.item[earlier])


FORMATS = {
    "inter": ("a.inter", "user_id:token\titem_id:token\ttimestamp:float\n", "\t"),
    "tsv": ("a.tsv", "userId\tmovieId\tdate\n", "\t"),
    "semicolons": ("a.csv", "reviewerID;asin;unixReviewTime\n", ";"),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_the_same(kind: str, tmp_path: Path) -> None:
    name, head, mark = FORMATS[kind]
    plain = open_data(some(tmp_path))
    text = (tmp_path / "plays.csv").read_text().removeprefix(HEAD).replace(",", mark)
    other = open_data(file(tmp_path / kind, head + text, name))
    assert other.fingerprint == plain.fingerprint


def test_parquet_reads_the_same_and_dates_are_times(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    plain = open_data(some(tmp_path))
    table = pyarrow.csv.read_csv(tmp_path / "plays.csv")
    moments = pa.array([1_500_000_000_000_000 + 10**6 * t for t in table["timestamp"].to_pylist()], pa.timestamp("us"))
    pyarrow.parquet.write_table(table.set_column(2, "timestamp", moments), tmp_path / "p.parquet")
    assert open_data(tmp_path / "p.parquet").fingerprint == plain.fingerprint
    said = [f"{u},{i},{m}" for u, i, m in zip(table["user_id"], table["item_id"], moments.to_pylist(), strict=True)]
    dated = file(tmp_path, HEAD + "\n".join(said) + "\n", "d.csv")
    assert open_data(dated).fingerprint == plain.fingerprint


def test_what_interactions_are_is_told_by_the_columns(tmp_path: Path) -> None:
    assert open_data(some(tmp_path / "folder")).kind == "interactions"
    assert open_data(tmp_path / "folder").kind == "interactions"
    reviews = "user_id,item_id,text,label\n" + "".join(f"u{n},i{n},words of {n},{n % 2}\n" for n in range(40))
    assert open_data(file(tmp_path, reviews, "reviews.csv")).kind == "texts"
    odd = some(tmp_path, name="odd.csv")
    odd.write_text(odd.read_text().replace("user_id,item_id", "who,what"))
    assert open_data(odd, interactions={"user": "who", "item": "what"}).kind == "interactions"
    with pytest.raises(UserError, match="has no column 'whom'"):
        open_data(odd, kind="interactions", interactions={"user": "whom"})


BAD = HEAD + "a,1,1\n\nb,2\nb,3,5,6\nc,,3\nd,1,x\n,1,3\ne,2,\nf,2,3\n"


def test_every_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    rows, _ = rows_of(file(tmp_path, BAD), {})
    assert {(fault.where, fault.kind) for fault in rows.faults} == {
        ("plays.csv:4", "cells"), ("plays.csv:5", "cells"), ("plays.csv:6", "no item"), ("plays.csv:7", "time"),
        ("plays.csv:8", "no user"), ("plays.csv:9", "no time"),
    }  # fmt: skip
    assert [rows.where(number) for number in np.flatnonzero(~rows.bad)] == ["plays.csv:2", "plays.csv:10"]


@pytest.mark.parametrize("said", ["nan", "inf", "-Infinity"])
def test_a_time_that_is_no_number_is_named(said: str, tmp_path: Path) -> None:
    rows, _ = rows_of(file(tmp_path, HEAD + f"a,1,1\na,2,{said}\na,3,2.5\n"), {})
    assert [(fault.where, fault.kind, said in fault.what) for fault in rows.faults] == [("plays.csv:3", "time", True)]
    assert rows.bad.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("user_id,item_id\n", "no interaction"), ("a,b\nc,d\n", "no user column"), (BAD, "has 2 cells"),
        (HEAD + "a,1,1\na,2,2\n", "in val"), (HEAD.replace("item_id", "user_id") + "a,1,1\n", "two columns"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_line(
    text: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, text)
    words = ["train", "sasrec", "--data", str(path), "--task", "next-item", "--out", str(tmp_path / "run")]
    assert execute(words) == 2
    said = capsys.readouterr().err.strip()
    assert what in said and "\n" not in said and not (tmp_path / "run").exists()


def own_splits(folder: Path, leak: bool) -> Path:
    """Three files of a split by the last items; with a leak the test interaction of u1 is in train too."""
    head = "user_id:token\titem_id:token\ttimestamp:float\n"
    lines = {"train": "", "valid": "", "test": ""}
    for user in range(4):
        for step, split in enumerate(("train", "train", "train", "valid", "test")):
            lines[split] += f"u{user}\ti{user}{step}\t{step}\n"
    lines["train"] += "u1\ti14\t4\n" if leak else ""
    for split, text in lines.items():
        file(folder, head + text, f"games.{split}.inter")
    return folder


def test_a_planted_leak_is_found_and_left_out(tmp_path: Path) -> None:
    clean = examine_interactions(own_splits(tmp_path / "clean", leak=False))
    assert not [fault for fault in clean.faults if fault.kind in ("leak", "future")]
    folder = own_splits(tmp_path / "leaky", leak=True)
    faults = [fault for fault in examine_interactions(folder).faults if fault.kind == "leak"]
    assert [fault.where for fault in faults] == ["games.train.inter:14"]
    data = open_data(folder)
    plain = open_data(tmp_path / "clean")
    kept = [[each.names[item] for item in each.item] for each in (data, plain)]
    assert kept[0] == kept[1] and np.array_equal(data.code, plain.code)
    assert any("games.train.inter:14" in note for note in data.notes)


def test_the_doctor_counts_what_training_lives_with(tmp_path: Path) -> None:
    text = HEAD + "a,1,5\na,2,3\na,3,3\na,1,9\na,1,9\nb,4,1\nb,5,2\n"
    found = examine_interactions(file(tmp_path, text))
    assert found.told == {
        "copies": 1, "leaks": 0, "out of order": 1, "equal times": 1, "met again": 1, "users with few": 1,
        "items met once": 4,
    }  # fmt: skip
    assert found.errors == 0 and [f.where for f in found.faults if f.kind == "copy"] == ["plays.csv:6"]
    data = open_data(tmp_path / "plays.csv")
    assert len(data) == 6 and data.repeats == 1


def test_check_names_faults_and_fixes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = some(tmp_path)
    lines = path.read_text().splitlines()
    lines[3], lines[9] = ",i1,5", lines[8]
    path.write_text("\n".join(lines) + "\n")
    assert execute(["check", str(path), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["errors"] == 1 and {"plays.csv:4", "plays.csv:10"} <= {fault["where"] for fault in said["faults"]}
    assert execute(["check", str(path), "--fix", str(tmp_path / "clean")]) == 0
    kept = (tmp_path / "clean" / "plays.csv").read_text().splitlines()
    assert kept == [line for number, line in enumerate(lines) if number not in (3, 9)]
    assert [fault for fault in dougong.check(tmp_path / "clean") if fault.severity == "error"] == []


def test_a_split_by_time_needs_times(tmp_path: Path) -> None:
    bare = file(tmp_path, "user,item\n" + "".join(f"u{n % 5},i{n % 7}\n" for n in range(60)))
    with pytest.raises(UserError, match="needs a column of times"):
        open_data(bare, split="80/10/10")
    with pytest.raises(UserError, match="no way to divide"):
        open_data(bare, split="at random")
    data = open_data(some(tmp_path, users=20, length=9, name="timed.csv"), split="60/20/20")
    assert {name: counts["interactions"] for name, counts in data.counts().items()} == {
        "train": 108,
        "val": 36,
        "test": 36,
    }


def test_check_says_what_training_would_say_of_short_histories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two users of three items: one is left of each to learn from, and nothing follows it."""
    short = some(tmp_path, users=2, length=3, name="short.csv")
    with pytest.raises(UserError, match="has no user with two items to learn from") as refused:
        dougong.train("sasrec-kang", short, out=tmp_path / "run", budget="1steps")
    assert execute(["check", str(short)]) == 2
    assert refused.value.what in capsys.readouterr().out and not (tmp_path / "run").exists()
    found = [fault for fault in examine_interactions(short).faults if fault.severity == "error"]
    assert [(fault.what, fault.remedy) for fault in found] == [(refused.value.what, refused.value.remedy)]
    longer = some(tmp_path, users=2, length=4, name="longer.csv")  # the control: one more item each
    assert execute(["check", str(longer)]) == 0


def test_one_of_something_is_said_in_the_singular(tmp_path: Path) -> None:
    rows = [f"u{user},i{(user + step) % 7},{100 * step}" for user in range(3) for step in range(5)]
    once = file(tmp_path, HEAD + "\n".join([*rows, rows[0]]) + "\n", "once.csv")
    assert "1 interaction left out, which is a copy of another." in open_data(once).notes
    twice = file(tmp_path, HEAD + "\n".join([*rows, *rows[:2]]) + "\n", "twice.csv")
    assert "2 interactions left out, which are copies of others." in open_data(twice).notes
