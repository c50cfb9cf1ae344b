"""The readers, the doctor and the augmentation on real data sets, in the folder that DOUGONG_DATA names."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dougong.cli.app import execute
from dougong.data import check, open_data, read_images
from dougong.data.images import ImageData
from dougong.errors import UserError
from dougong.tasks import task_for
from dougong.tasks.image_classification import ImageClassification

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def root() -> Path:
    if "DOUGONG_DATA" not in os.environ:
        pytest.skip("DOUGONG_DATA names no folder of data sets")
    return Path(os.environ["DOUGONG_DATA"])


@pytest.fixture(scope="module")
def parquet(root: Path) -> ImageData:
    return open_data(root / "cifar10")


@pytest.fixture(scope="module")
def task(parquet: ImageData) -> ImageClassification:
    made = task_for(parquet)
    assert isinstance(made, ImageClassification)
    return made


def leaks(data: ImageData) -> set[str]:
    sides = [set(part.keys) for part in data.splits.values()]
    return sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_cifar10_parquet_against_pyarrow(root: Path, parquet: ImageData) -> None:
    assert parquet.classes == CLASSES and parquet.image_size == (32, 32) and parquet.one_size
    assert [len(part) for part in parquet.splits.values()] == [9000, 1000, 2000]
    assert set(parquet.counts()["val"].values()) == {100} and set(parquet.counts()["train"].values()) == {900}
    assert not leaks(parquet)
    tables = {name: pq.read_table(root / "cifar10" / f"{name}.parquet").to_pylist() for name in ("train", "test")}
    for part in parquet.splits.values():
        for i in range(0, len(part), 97):
            file, row = part.where(i).split(".parquet:")
            direct = tables[file][int(row)]
            assert part.labels[i] == direct["label"]
            assert np.array_equal(part.pixels(i), np.asarray(Image.open(io.BytesIO(direct["image"]["bytes"]))))


def test_cifar10_folder_against_pillow(root: Path) -> None:
    folder = root / "cifar10" / "folder"
    data = open_data(folder)
    assert data.classes == CLASSES
    assert set(data.counts()["test"].values()) == {5} and set(data.counts()["val"].values()) == {2}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    assert {place for part in data.splits.values() for place in part.places} == files
    for part in data.splits.values():
        for i, place in enumerate(part.places):
            assert np.array_equal(part.pixels(i), np.asarray(Image.open(folder / place)))
            assert place.split("/")[1] == data.classes[part.labels[i]]


def test_the_folder_holds_pictures_of_the_parquet_files(root: Path, parquet: ImageData) -> None:
    keys = {key for name in ("train", "val") for key in parquet.splits[name].keys}
    small = open_data(root / "cifar10" / "folder")
    assert {key for name in ("train", "val") for key in small.splits[name].keys} <= keys
    assert set(small.splits["test"].keys) <= set(parquet.splits["test"].keys)


def test_a_zip_of_the_folder_is_the_folder(root: Path, tmp_path: Path) -> None:
    folder = root / "cifar10" / "folder"
    with zipfile.ZipFile(tmp_path / "cifar.zip", "w") as archive:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, Path("cifar", path.relative_to(folder)))
    assert open_data(tmp_path / "cifar.zip").fingerprint == open_data(folder).fingerprint


def test_the_doctor_finds_nothing_wrong_and_then_what_was_broken(root: Path, tmp_path: Path) -> None:
    folder = root / "cifar10" / "folder"
    assert check(folder) == []
    copied = {}
    for path in sorted(folder.rglob("*.jpg")):
        copied[path.relative_to(folder).as_posix()] = path.read_bytes()
    victims = sorted(copied, key=lambda place: hashlib.sha256(place.encode()).digest())[:3]
    broken = {victims[0]: b"", victims[1]: copied[victims[1]][:300], victims[2]: b"lost"}
    for place, content in {**copied, **broken}.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(content)
    faults = check(tmp_path)
    assert sorted(fault.where for fault in faults) == sorted(victims)
    with pytest.raises(UserError, match="and 2 more errors"):
        open_data(tmp_path)


def test_mean_and_deviation_are_those_of_the_training_pictures(task: ImageClassification, parquet: ImageData) -> None:
    part = parquet.splits["train"]
    values = np.stack([part.pixels(i) for i in range(len(part))]) / 255
    # 5,000 of the 9,000 are looked at
    assert np.allclose(task.mean, values.mean((0, 1, 2)), atol=2e-3)
    assert np.allclose(task.std, values.std((0, 1, 2)), atol=2e-3)
    inputs = task.batch("train", torch.arange(9000), train=False, epoch=0, seed=0).inputs[0]
    assert inputs.mean((0, 2, 3)).abs().max() < 0.01 and (inputs.std((0, 2, 3)) - 1).abs().max() < 0.01


def test_real_pictures_are_cropped_and_mirrored_in_training_alone(task: ImageClassification) -> None:
    assert task.augmentation.describe() == "shift 0.125, flip"
    rows = torch.arange(128)
    plain = task.batch("train", rows, train=False, epoch=0, seed=0).inputs[0]
    varied = task.batch("train", rows, train=True, epoch=0, seed=0).inputs[0]
    assert (varied - plain).abs().flatten(1).amax(1).gt(0.1).float().mean() > 0.95
    for split in ("val", "test"):
        one, other = (task.batch(split, rows, train=train, epoch=3, seed=1).inputs[0] for train in (True, False))
        assert torch.equal(one, other)


def test_a_batch_takes_a_small_share_of_a_step(task: ImageClassification) -> None:
    """About 5 ms at 128 pictures of 32x32 on one core; the bound leaves room for a busy machine."""
    parts = torch.randperm(9000).split(128)[:20]
    task.batch("train", parts[0], train=True, epoch=0, seed=0)
    spent = []
    for epoch, part in enumerate(parts):
        start = time.perf_counter()
        task.batch("train", part, train=True, epoch=epoch, seed=0)
        spent.append(time.perf_counter() - start)
    assert sorted(spent)[5] < 0.02


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("sst2/train.csv", "has no path column, only text, label"),
        ("wnut17/train.conll", "is no kind of data that is read"),
        ("video_games/interactions.csv", "has no path column"),
        ("tinyshakespeare/input.txt", "is no kind of data that is read"),
        ("camvid/classes.txt", "is no kind of data that is read"),
    ],
)
def test_texts_are_no_pictures(inside: str, said: str, root: Path) -> None:
    with pytest.raises(UserError, match=said):
        read_images(root / inside)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("sst2", "6920"),
        ("chnsenticorp", "6212"),
        ("wnut17", "person"),
        ("tinyshakespeare/input.txt", "1 document"),
    ],
)
def test_the_doctor_finds_no_error_in_texts_as_they_are_published(
    inside: str, said: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their repeated sentences and hidden characters are warnings."""
    assert execute(["check", str(root / inside), "--limit", "0"]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("camvid/classes.txt", "is too short to be cut in three (84 characters)"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_in_a_line(
    inside: str, said: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["check", str(root / inside), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert said in json.dumps(told, ensure_ascii=False)


def test_interactions_as_they_are_published(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts that the data's README states."""
    assert execute(["check", str(root / "video_games" / "interactions.csv")]) == 0
    said = capsys.readouterr().out
    assert "287,107 interactions, 31,013 users, 23,715 items, no errors" in said
    assert "112 of 31,013 users have fewer than 3 interactions" in said


def test_pictures_of_a_detection_set_are_read_but_have_no_classes(root: Path) -> None:
    faults = check(root / "bccd" / "JPEGImages")
    assert [fault.what for fault in faults if fault.severity == "error"] == [
        "its 364 pictures lie in no class folder, so their classes are unknown"
    ]


def test_blood_cells_in_both_formats(root: Path) -> None:
    """The counts that the data's README states, and the two boxes of no area that only the XML holds."""
    data = open_data(root / "bccd")
    assert data.format == "COCO JSON" and [len(part) for part in data.splits.values()] == [205, 87, 72]
    assert data.counts() == {
        "train": {"RBC": 2381, "WBC": 214, "Platelets": 209},
        "val": {"RBC": 967, "WBC": 87, "Platelets": 83},
        "test": {"RBC": 805, "WBC": 71, "Platelets": 69},
    }
    assert any("VOC XML" in note for note in data.notes) and not leaks(data)
    errors = [fault for fault in check(root / "bccd" / "Annotations") if fault.severity == "error"]
    assert sorted(fault.where.split(":")[0][-9:-4] for fault in errors) == ["00338", "00343"]
    assert all("is empty" in fault.what for fault in errors)
