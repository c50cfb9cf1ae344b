"""From a source to splits: nothing is judged by a picture that was learnt from, and all of it is written down."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dougong.cli.app import execute
from dougong.data import open_data
from dougong.data.images import ImageData
from dougong.errors import UserError
from tests.support.pictures import encoded, image_folder, picture

CLASSES = ("cat", "dog", "owl")


def leaks(data: ImageData) -> set[str]:
    """Pictures that are on two sides."""
    sides = [set(part.keys) for part in data.splits.values()]
    return sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


# (class, picture, split): pictures are few, so that many are the same, within and across classes and splits
samples = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 2)), min_size=40, max_size=120
).filter(lambda rows: {row[0] for row in rows} == {0, 1, 2})


@settings(max_examples=15)
@given(samples, st.booleans(), st.integers(0, 9))
def test_no_picture_is_on_two_sides(rows: list[tuple[int, int, int]], own: bool, seed: int) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        for number, (label, content, split) in enumerate(rows):
            part = ("train", "val", "test")[split] if own else ""
            folder = root / part / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.png").write_bytes(encoded(picture(content, (4, 4))))
        try:
            data = open_data(root, seed=seed)
        except UserError as error:  # so few pictures that a class or a split would be empty
            assert "\n" not in str(error)
            return
        assert not leaks(data)
        assert sum(map(len, data.splits.values())) + len(_left_out(data)) == len(rows)
        assert all(Counter(part.labels).keys() for part in data.splits.values())
    finally:
        shutil.rmtree(root)


def _left_out(data: ImageData) -> list[str]:
    kept = {place for part in data.splits.values() for place in part.places}
    return [place for line in data.duplicates for place in line.split(" = ") if place not in kept]


def test_a_division_that_does_not_look_at_contents_leaks(tmp_path: Path) -> None:
    """The negative control: the same pictures, divided by chance, are on two sides."""
    folder = image_folder(tmp_path / "photos", {"cat": 30, "dog": 30})
    for name in ("cat", "dog"):
        for number in range(10):
            shutil.copy(folder / name / f"{number}.png", folder / name / f"copy {number}.png")
    data = open_data(folder)
    assert not leaks(data) and len(data.duplicates) == 20
    whole = [(key, part, i) for part in data.splits.values() for i, key in enumerate(part.keys)]
    random.Random(0).shuffle(whole)
    sides = [{key for key, _, _ in whole[start::3]} for start in range(3)]
    assert sides[0] & sides[1]


def test_copies_across_given_splits_stay_where_they_are_judged_by(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {f"{s}/{c}": 6 for s in ("train", "val", "test") for c in CLASSES})
    shutil.copy(folder / "test" / "cat" / "0.png", folder / "train" / "cat" / "copy.png")
    shutil.copy(folder / "val" / "dog" / "0.png", folder / "train" / "dog" / "copy.png")
    data = open_data(folder)
    assert data.counts() == {s: dict.fromkeys(CLASSES, 6) for s in ("train", "val", "test")}
    assert not leaks(data)
    assert "2 pictures left out" in data.notes[0] and "train/cat/copy.png" in data.notes[0]
    assert sorted(data.duplicates) == [
        "train/cat/copy.png = test/cat/0.png",
        "train/dog/copy.png = val/dog/0.png",
    ]


@pytest.mark.parametrize(
    ("given_", "counts"), [("train", (24, 3, 3)), ("train test", (27, 3, 5)), ("train val", (27, 5, 3))]
)
def test_what_is_missing_is_taken_from_train(given_: str, counts: tuple[int, int, int], tmp_path: Path) -> None:
    sizes = {f"{s}/{c}": 30 if s == "train" else 5 for s in given_.split() for c in CLASSES}
    data = open_data(image_folder(tmp_path / "photos", sizes))
    assert tuple(set(data.counts()[s].values()) for s in ("train", "val", "test")) == tuple({n} for n in counts)
    for name in {"val", "test"} - set(given_.split()):
        assert any(f"has no {name}" in note for note in data.notes) and f"{name} is 10% of train" in data.how


def test_what_is_written_to_data_json(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {"cat": 30, "dog": 20})
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    run = tmp_path / "run"
    words = ["train", "rnn-micro", "--data", str(folder), "--budget", "1steps", "--out", str(run), "split_seed=5"]
    assert execute([*words, "--split", "70/20/10"]) == 0
    told = json.loads((run / "data.json").read_text(encoding="utf-8"))
    data = open_data(folder, "70/20/10", 5)
    assert told["fingerprint"] == data.fingerprint and told["seed"] == 5
    assert told["split"] == "70/20/10 per cent train/val/test, stratified by class, seed 5"
    assert told["counts"] == data.counts() and told["counts"]["val"] == {"cat": 6, "dog": 4}
    assert told["duplicates"] == ["cat/0.png = cat/copy.png"]
    by_key = defaultdict(set)
    for split, rows in told["samples"].items():
        for row in rows:
            assert (folder / row["where"]).is_file() and row["where"].startswith(row["label"])
            by_key[row["key"]].add(split)
    assert len(by_key) == 50 and all(len(splits) == 1 for splits in by_key.values())


def test_the_hash_is_of_what_is_seen(tmp_path: Path) -> None:
    """The same pixels in other files are the same picture; one pixel more or less is another."""
    folder = image_folder(tmp_path / "photos", {"cat": 6, "dog": 6})
    (folder / "cat" / "twin.bmp").write_bytes(encoded(picture(0), "BMP"))
    changed = picture(0)
    changed.putpixel((0, 0), (1, 2, 3))
    (folder / "cat" / "other.png").write_bytes(encoded(changed))
    assert open_data(folder).duplicates == ["cat/0.png = cat/twin.bmp"]


def test_labels_of_a_class_that_only_val_knows_are_refused(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {"train/cat": 6, "train/dog": 6, "val/owl": 6})
    with pytest.raises(UserError, match="class owl: is in val but not in train"):
        open_data(folder)


def test_too_few_pictures_for_three_parts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few pictures to fill val"):
        open_data(image_folder(tmp_path / "photos", {"cat": 2, "dog": 2}))
