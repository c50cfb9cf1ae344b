"""Pictures with masks: every way to store them gives the same masks, and each fault one line with its file."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded
from support.scenes import CLASSES, COLOURS, as_file, scene, street

from dougong.data import check, open_data
from dougong.data.masks import VOID
from dougong.errors import UserError

DATA = os.environ.get("DOUGONG_DATA", "")


def in_parquet(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    street(root / "street")
    for split in ("train", "val", "test"):
        files = sorted((root / "street" / "images" / split).iterdir())
        rows = {
            side: [{"bytes": (root / "street" / part / split / each.name).read_bytes(), "path": None} for each in files]
            for side, part in (("image", "images"), ("mask", "masks"))
        }
        (root / "rows").mkdir(exist_ok=True)
        pq.write_table(pa.table(rows), root / "rows" / f"{split}.parquet")
    shutil.copy(root / "street" / "classes.txt", root / "rows")
    return root / "rows"


def zipped(root: Path) -> Path:
    street(root / "street")
    with zipfile.ZipFile(root / "street.zip", "w") as archive:
        for file in sorted((root / "street").rglob("*")):
            archive.write(file, file.relative_to(root))
    return root / "street.zip"


def splits_outside(root: Path) -> Path:
    street(root)
    for split in ("train", "val", "test"):
        for side in ("images", "masks"):
            (root / split).mkdir(exist_ok=True)
            (root / side / split).rename(root / split / side)
    for side in ("images", "masks"):
        (root / side).rmdir()
    return root


def annotated(root: Path) -> Path:
    """train/ and trainannot/, as the CamVid of SegNet lies."""
    splits_outside(root)
    for split in ("train", "val", "test"):
        (root / split / "masks").rename(root / f"{split}annot")
        for file in list((root / split / "images").iterdir()):
            file.rename(root / split / file.name)
        (root / split / "images").rmdir()
    return root


def suffixed(root: Path) -> Path:
    street(root)
    for file in list((root / "masks").rglob("*.png")):
        file.rename(file.with_name(f"{file.stem}_L.png"))
    return root


WAYS: dict[str, Callable[[Path], Path]] = {
    "grey": lambda root: street(root, kind="grey"),
    "colours": lambda root: street(root, kind="colours"),
    "16 bits": lambda root: street(root, kind="sixteen"),
    "parquet": in_parquet, "zip": zipped, "splits outside": splits_outside, "annot": annotated, "suffix": suffixed,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_masks(way: str, tmp_path: Path) -> None:
    first, other = open_data(street(tmp_path / "a" / "street")), open_data(WAYS[way](tmp_path / "b"))
    assert first.kind == other.kind == "masks" and first.classes == other.classes == CLASSES[:3]
    assert first.fingerprint == other.fingerprint and first.counts() == other.counts()
    assert first.colours == COLOURS[:3] and (other.colours == COLOURS[:3]) == (way not in ("grey", "16 bits"))
    for split, count in (("train", 8), ("val", 3), ("test", 3)):
        assert len(other.splits[split]) == count
    number = 8 + 3  # the first of test
    picture, mask = scene(number)
    assert np.array_equal(other.splits["test"].pixels(0), picture)
    expected = np.where(mask == 3, VOID, mask)
    assert np.array_equal(other.splits["test"].mask(0), expected)
    assert other.splits["test"].counts[0] == [*np.bincount(mask.ravel(), minlength=4)[:3], int((mask == 3).sum())]


def test_what_is_void_is_said_aloud_and_can_be_said_otherwise(tmp_path: Path) -> None:
    street(tmp_path)
    plain = open_data(tmp_path)
    assert any("void (3)" in line and "Of no class" in line for line in plain.notes)
    assert any(line.startswith("3 classes by classes.txt: sky, road, car") for line in plain.notes)
    everything = open_data(tmp_path, void="none")
    assert everything.classes == CLASSES and not any("Of no class" in line for line in everything.notes)
    less = open_data(tmp_path, void="3, sky")
    assert less.classes == ("road", "car") and less.values == (1, 2)
    mask = scene(0)[1]
    assert np.array_equal(less.splits["train"].mask(0) == VOID, (mask == 0) | (mask == 3))
    with pytest.raises(UserError, match=r"void=sly: is no class.*did you mean sky"):
        open_data(tmp_path, void="sly")
    with pytest.raises(UserError, match="nothing to tell apart"):
        open_data(tmp_path, void="sky,road,void")


def test_values_without_names_are_classes_255_is_none_and_two_are_a_figure(tmp_path: Path) -> None:
    street(tmp_path / "a", named=False)
    found = open_data(tmp_path / "a")
    assert found.classes == ("class 0", "class 1", "class 2", "class 3") and found.void == ()
    for side in ("b", "c"):
        street(tmp_path / side, named=False)
        for number, file in enumerate(sorted((tmp_path / side / "masks").rglob("*.png"))):
            mask = scene(number)[1]
            values = np.where(mask == 2, 255, 0) if side == "b" else np.where(mask == 3, 255, mask)
            file.write_bytes(as_file(values.astype(np.uint8), "grey"))
    figure = open_data(tmp_path / "b")
    assert figure.classes == ("background", "object") and figure.values == (0, 255)
    with_255 = open_data(tmp_path / "c")
    assert with_255.classes == ("class 0", "class 1", "class 2") and with_255.void == ("255 (255)",)


def test_data_without_splits_is_divided(tmp_path: Path) -> None:
    found = open_data(street(tmp_path, {None: 12}), "50/25/25", seed=1)
    assert [len(found.splits[name]) for name in ("train", "val", "test")] == [6, 3, 3]
    assert "stratified" not in found.how and "50/25/25" in found.how
    again = open_data(tmp_path, "50/25/25", seed=1)
    assert again.fingerprint == found.fingerprint != open_data(tmp_path, "50/25/25", seed=2).fingerprint


def changed(name: str, content: bytes | None) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        file = root / name
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)

    return change


def value(number: int) -> bytes:
    mask = scene(0)[1]
    mask[5, 7] = number
    return as_file(mask, "grey")


MASK = "masks/train/000.png"
FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "size": (changed(MASK, as_file(scene(0, (40, 64))[1])), MASK, "is 40x64 (h x w), but its picture images/train/000"),
    "value": (changed(MASK, value(9)), MASK, "the value 9, which is no class, at 1 pixel, first in row 5, column 7"),
    "mode": (changed(MASK, encoded(Image.new("F", (64, 48)), "TIFF")), MASK, "is of mode F, whose values are no"),
    "jpeg": (changed(MASK, encoded(Image.fromarray(scene(0)[1]), "JPEG")), MASK, "is a JPEG, whose compression mixes"),
    "colours": (
        changed(MASK, as_file(scene(0)[1], "colours")),
        MASK,
        "holds colours, and no file says which class each is",
    ),
    "broken": (changed(MASK, b"\x89PNG\r\n\x1a\nnothing"), MASK, "or its head is damaged"),
    "empty": (changed(MASK, b""), MASK, "is empty (0 bytes)"),
    "no mask": (changed(MASK, None), "images/train/000.png", "has no mask"),
    "no picture": (changed("images/train/000.png", None), MASK, "has no picture"),
    "broken picture": (changed("images/train/001.png", b"no"), "images/train/001.png", "is no JPEG, PNG"),
    "a class twice": (changed("classes.txt", b"sky\nroad\nsky\n"), "classes.txt:3", "names sky again"),
    "no name": (changed("classes.txt", b"sky\n\nroad\n"), "classes.txt:2", "names no class"),
    "half coloured": (changed("classes.txt", b"1 2 3 sky\nroad\n"), "classes.txt", "gives no colour to road"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line_with_its_file(fault: str, tmp_path: Path) -> None:
    change, where, words = FAULTS[fault]
    street(tmp_path)
    assert check(tmp_path) == []
    change(tmp_path)
    found = [each for each in check(tmp_path) if each.severity == "error"]
    assert [each.where for each in found] == [where] and words in found[0].what and found[0].remedy
    with pytest.raises(UserError) as error:
        open_data(tmp_path)
    assert str(error.value).startswith(f"{where}: ") and "\n" not in str(error.value)


def test_a_jpeg_among_masks_and_odd_modes_are_refused(tmp_path: Path) -> None:
    street(tmp_path)
    (tmp_path / MASK).unlink()
    (tmp_path / MASK).with_suffix(".jpg").write_bytes(encoded(Image.fromarray(scene(0)[1]), "JPEG"))
    (tmp_path / "masks/train/001.png").unlink()
    (tmp_path / "masks/train/001.tif").write_bytes(encoded(Image.new("F", (64, 48)), "TIFF"))
    said = {each.where: each.what for each in check(tmp_path) if each.severity == "error"}
    assert "mixes neighbouring pixels" in said["masks/train/000.jpg"] and said["images/train/000.png"] == "has no mask"
    assert "is of mode F" in said["masks/train/001.tif"]


def test_what_training_lives_with_is_warned_of(tmp_path: Path) -> None:
    street(tmp_path, size=(96, 96))
    shutil.copy(tmp_path / "images/train/000.png", tmp_path / "images/test/again.png")
    shutil.copy(tmp_path / "masks/train/000.png", tmp_path / "masks/test/again.png")
    for number, file in enumerate(sorted((tmp_path / "masks").rglob("0*.png"))):
        mask = scene(number, (96, 96))[1]
        mask[mask == 2] = 1
        mask[0, :3] = 2  # a class of three pixels a picture
        file.write_bytes(as_file(mask))
    (tmp_path / "masks/val/008.png").write_bytes(as_file(np.full((96, 96), 3, np.uint8)))
    found = {each.where: each for each in check(tmp_path)}
    assert all(each.severity == "warning" for each in found.values())
    assert "is the same picture as images/test/again.png, in train and test" in found["images/train/000.png"].what
    assert "has no pixel of any class" in found["masks/val/008.png"].what
    uneven = next(each for each in found.values() if "uneven" in each.what)
    assert "car 0." in uneven.what and "class_weights" in uneven.remedy
    assert len(open_data(tmp_path).splits["train"]) == 7  # the copy is left out


@pytest.mark.skipif(not DATA, reason="needs DOUGONG_DATA")
def test_camvid_is_recognised_and_its_void_left_out() -> None:
    found: Any = open_data(Path(DATA) / "camvid")
    assert found.kind == "masks" and len(found.classes) == 11 and found.image_size == (180, 240)
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 367, "val": 101, "test": 233}
    assert found.void == ("void (11)",) and any("3.6%" in line for line in found.notes)
    pixels = {name: sum(part[name] for part in found.counts().values()) for name in found.classes}
    share = {name: count / (701 * 180 * 240) for name, count in pixels.items()}
    # the shares that the data's own description states, in percent
    stated = {"Sky": 15.7, "Building": 24.1, "Road": 29.4, "Tree": 11.2, "Car": 4.6, "Bicyclist": 0.5}
    assert {name: 100 * share[name] for name in stated} == pytest.approx(stated, abs=0.1)


@pytest.mark.parametrize("split", [None, "train"])
def test_a_folder_of_masks_that_is_empty_yet_is_said_to_be(split: str | None, tmp_path: Path) -> None:
    root = street(tmp_path / "street", {split: 3})
    for path in (root / "masks").rglob("*.png"):
        path.unlink()
    place = "masks/" if split is None else "masks/train/"
    found = check(root)
    assert [(each.where, each.what) for each in found] == [(place, "holds no mask, for which 3 pictures wait")]
    with pytest.raises(UserError, match="holds no mask, for which 3 pictures wait; put a PNG"):
        open_data(root)
    shutil.copytree(root / "images", tmp_path / "kinds" / "cars")  # the control: classes of any other names
    street(tmp_path / "more", {None: 3}, first=7)
    shutil.copytree(tmp_path / "more" / "images", tmp_path / "kinds" / "roads")
    assert open_data(tmp_path / "kinds").kind == "images"
