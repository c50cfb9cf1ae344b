"""Boxes of every format, read alike; and each defect named with its file and row."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import cells

from dougong.data import check, open_data
from dougong.data.boxes.opening import formats_of
from dougong.errors import UserError

COUNTS = {"train": 6, "val": 3, "test": 2}
FORMATS = {"coco": "COCO JSON", "voc": "VOC XML", "yolo": "YOLO text", "parquet": "Parquet"}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_boxes(kind: str, tmp_path: Path) -> None:
    truth = cells.write(tmp_path / "cells", kind, COUNTS)
    data = open_data(tmp_path / "cells")
    assert data.kind == "detection" and data.format == FORMATS[kind]
    assert sorted(data.classes) == sorted(cells.NAMES)
    for split, boxes in truth.items():
        part = data.splits[split]
        assert len(part) == len(boxes) and part.sizes[0] == (cells.H, cells.W)
        for found, wanted in zip(part.boxes, boxes, strict=True):
            rows = [[data.classes.index(cells.NAMES[k]), *box, 0] for k, box in wanted]
            np.testing.assert_allclose(found, np.array(rows, float).reshape(-1, 6), atol=1e-9)
    total = {name: sum(k == n for boxes in truth["train"] for k, _ in boxes) for n, name in enumerate(cells.NAMES)}
    assert data.counts()["train"] == total
    assert not [fault for fault in check(tmp_path / "cells") if fault.severity == "error"]


def test_a_zip_and_a_single_file_and_a_split_of_our_own(tmp_path: Path) -> None:
    cells.write(tmp_path / "cells", "coco", {"train": 12})
    one = open_data(tmp_path / "cells" / "instances_train.json", split="50/25/25")
    assert sum(map(len, one.splits.values())) == 12 and min(map(len, one.splits.values())) >= 2
    assert "rarest class" in one.how and not set(one.splits["train"].keys) & set(one.splits["test"].keys)
    cells.write(tmp_path / "set", "yolo", COUNTS)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in sorted((tmp_path / "set").rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "set"))
    assert len(open_data(tmp_path / "set.zip").splits["train"]) == COUNTS["train"]


def test_the_format_that_is_taken_is_said(tmp_path: Path) -> None:
    cells.write(tmp_path, "coco", COUNTS)
    cells.write(tmp_path, "voc", COUNTS)
    assert formats_of(tmp_path) == ["coco", "voc"]
    assert "COCO JSON is read" in " ".join(open_data(tmp_path).notes)
    assert open_data(tmp_path / "Annotations").format == "VOC XML"


def test_names_of_classes_by_data_yaml(tmp_path: Path) -> None:
    cells.write(tmp_path, "yolo", COUNTS)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "data.yaml").write_text("train: ../images/train\nval: images/val\nnames: {0: a, 1: b}\n")
    data = open_data(tmp_path)
    assert data.classes == ("a", "b") and "test is" in data.how


def coco(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        file = folder / "instances_train.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return plant


def xml(old: str, new: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        file = folder / "Annotations" / "cell002.xml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return plant


def rows(*lines: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "labels/train/cell001.txt").write_text("\n".join(lines))  # type: ignore[return-value]


def bbox(*sides: Any) -> Callable[[Path], None]:
    return coco(lambda content: content["annotations"][1].update(bbox=list(sides)))


PLANTED: list[tuple[str, Callable[[Path], Any], str, str]] = [
    ("coco", bbox(5, 5, -3, 4), "instances_train.json: annotation 2", "negative width or height"),
    ("coco", bbox(5, 5, 0, 4), "instances_train.json: annotation 2", "is empty"),
    ("coco", bbox(100, 5, 6, 4), "instances_train.json: annotation 2", "lies outside the picture of 64x48"),
    ("coco", bbox(100, 5, 6, 4), "annotation 2", "box 100, 5, 6, 4 (x, y, width, height) lies"),
    ("coco", lambda f: (f / "instances_train.json").write_text("[ ]\n"), "instances_train.json", "holds an empty list"),
    ("coco", bbox(5, 5, float("nan"), 4), "annotation 2", "no number"),
    ("coco", bbox(5, 5, 4), "annotation 2", "not four numbers"),
    ("coco", coco(lambda c: c["annotations"][1].update(category_id=7)), "annotation 2", "unknown category_id 7"),
    ("coco", coco(lambda c: c["annotations"][1].update(image_id=99)), "annotation 2", "image_id 99"),
    ("coco", coco(lambda c: c["annotations"][1].update(id=1)), "annotation 1", "id of another annotation"),
    ("coco", coco(lambda c: c["images"][1].update(id=1)), "image 1", "id of another image"),
    ("coco", coco(lambda c: c["images"][1].update(file_name="gone.png")), "gone.png", "no such file"),
    ("coco", coco(lambda c: c["images"][1].update(width=640)), "cell001.png", "64x48 pixels, where 640x48"),
    ("coco", coco(lambda c: c.pop("annotations")), "instances_train.json", "no list of annotations"),
    ("coco", lambda f: (f / "instances_train.json").write_text('{"images": [{]'), "instances_train.json", "not JSON"),
    ("coco", lambda f: (f / "instances_train.json").write_text("{no json"), "instances_train.json", "not JSON"),
    ("coco", lambda f: (f / "instances_train.json").write_text(""), "instances_train.json", "not JSON"),
    ("voc", xml("<name>", "<name></name><x>"), "cell002.xml", "not XML"),
    ("voc", xml("<xmin>", "<xmin>x"), "cell002.xml: object 1", "not four numbers"),
    ("voc", xml("<annotation>", "<!DOCTYPE a><annotation>"), "cell002.xml", "declares entities"),
    ("voc", lambda f: (f / "JPEGImages/cell002.png").unlink(), "cell002.png", "no such file"),
    ("voc", lambda f: (f / "ImageSets/Main/val.txt").open("a").write("cell000\n"), "val.txt", "in train already"),
    ("yolo", rows("2 .5 .5 .1 .1"), "labels/train/cell001.txt:1", "class 2, where 2 are named"),
    ("yolo", rows("0 .5 .5 .1 .1", "0 1.5 .5 .2 .2"), "labels/train/cell001.txt:2", "lies outside"),
    ("yolo", rows("0 1.5 .5 .2 .2"), "cell001.txt:1", "box 1.5, 0.5, 0.2, 0.2 (centre x, centre y, width, height)"),
    ("yolo", rows("0 1.5 .1 1.7 .1 1.7 .3"), "cell001.txt:1", "box 1.5, 0.1, 1.7, 0.3 (left, top, right, bottom)"),
    ("yolo", rows("0 .5 .5 .1"), "labels/train/cell001.txt:1", "not a class and four numbers"),
    ("yolo", rows("0 .5 .5 .1 -.1"), "labels/train/cell001.txt:1", "negative width or height"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=[f"{kind}: {said}" for kind, _, _, said in PLANTED])
def test_a_planted_fault_is_named_and_training_refuses_it(number: int, tmp_path: Path) -> None:
    kind, plant, where, said = PLANTED[number]
    cells.write(tmp_path, kind, COUNTS)
    plant(tmp_path)
    errors = [fault for fault in check(tmp_path) if fault.severity == "error"]
    assert any(where in fault.where and said in fault.what and fault.remedy for fault in errors), errors
    with pytest.raises(UserError):
        open_data(tmp_path)


def test_what_can_be_borne_is_a_warning(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][1].update(bbox=[50, 5, 20, 4])  # 6 pixels beyond the edge
        twice = {**content["annotations"][2], "id": 900}
        content["annotations"].append(twice)

    cells.write(tmp_path, "coco", COUNTS)
    coco(change)(tmp_path)
    (tmp_path / "images/cell009.png").write_bytes((tmp_path / "images/cell000.png").read_bytes())  # of test and train
    found = check(tmp_path)
    assert all(fault.severity == "warning" for fault in found)
    words = " | ".join(f"{fault.where} {fault.what}" for fault in found)
    assert (
        "annotation 2 box 50, 5, 20, 4 (x, y, width, height)" in words
        and "reaches beyond the picture of 64x48" in words
    )
    assert "annotation 900 is the same box of" in words and "in train and test" in words
    data = open_data(tmp_path)
    assert data.splits["train"].boxes[0].max() <= cells.W and len(data.splits["train"]) == COUNTS["train"] - 1
    assert data.splits["train"].boxes[0][:, 3].max() == cells.W


def test_crowds_are_kept_apart(tmp_path: Path) -> None:
    cells.write(tmp_path, "coco", COUNTS)
    coco(lambda content: content["annotations"][0].update(iscrowd=1))(tmp_path)
    assert open_data(tmp_path).splits["train"].boxes[0][0, 5] == 1
