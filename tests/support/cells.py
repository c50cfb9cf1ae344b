"""Drawn cells: small pictures with boxes, written in any of the formats that are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

NAMES = ("round", "long")
H, W = 48, 64
Boxes = list[tuple[int, tuple[int, int, int, int]]]


def picture(number: int, many: int = 3) -> tuple[Image.Image, Boxes]:
    """A picture of a few cells, and of each its class and its left, top, right, bottom."""
    drawn = np.random.default_rng(number)
    image = Image.fromarray(drawn.integers(215, 235, (H, W, 3)).astype(np.uint8))
    pen, boxes = ImageDraw.Draw(image), []
    for place in range(1 + number % many):
        kind = (number + place) % 2
        width, height = ((12, 12), (20, 8))[kind]
        left = int(drawn.integers(2, W - width - 2))
        top = int(drawn.integers(2, H - height - 2))
        box = (left, top, left + width, top + height)
        pen.ellipse((left, top, box[2] - 1, box[3] - 1), fill=((190, 60, 60), (70, 60, 160))[kind])
        boxes.append((kind, box))
    return image, boxes


def write(folder: Path, kind: str, counts: dict[str, int]) -> dict[str, list[Boxes]]:
    """A data set of drawn cells.

    Args:
        folder: made if it does not exist.
        kind: "coco", "voc", "yolo" or "parquet".
        counts: pictures of each split.

    Returns:
        The boxes of every picture of each split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth: dict[str, list[Boxes]] = {}
    number = 0
    for split, count in counts.items():
        rows = []
        for _ in range(count):
            image, boxes = picture(number)
            rows.append((f"cell{number:03d}", image, boxes))
            number += 1
        truth[split] = [boxes for _, _, boxes in rows]
        globals()[f"_{kind}"](folder, split, rows)
    if kind == "yolo":
        (folder / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return truth


def _coco(folder: Path, split: str, rows: list[Any]) -> None:
    (folder / "images").mkdir(exist_ok=True)
    images, annotations = [], []
    for name, image, boxes in rows:
        image.save(folder / "images" / f"{name}.png")
        images.append({"id": len(images) + 1, "file_name": f"{name}.png", "width": W, "height": H})
        for kind, (left, top, right, bottom) in boxes:
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": len(images), "category_id": 10 * (kind + 1), "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": 10 * (number + 1), "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / f"instances_{split}.json").write_text(json.dumps(content))


def _voc(folder: Path, split: str, rows: list[Any]) -> None:
    for each in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    for name, image, boxes in rows:
        image.save(folder / "JPEGImages" / f"{name}.png")
        objects = "".join(
            f"<object><name>{NAMES[kind]}</name><bndbox>"
            + "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
            + "</bndbox></object>"
            for kind, box in boxes
        )
        size = f"<size><width>{W}</width><height>{H}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    (folder / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name, _, _ in rows))


def _yolo(folder: Path, split: str, rows: list[Any]) -> None:
    for each in ("images", "labels"):
        (folder / each / split).mkdir(parents=True, exist_ok=True)
    for name, image, boxes in rows:
        image.save(folder / "images" / split / f"{name}.png")
        lines = [
            f"{kind} {(left + right) / 2 / W} {(top + bottom) / 2 / H} {(right - left) / W} {(bottom - top) / H}\n"
            for kind, (left, top, right, bottom) in boxes
        ]
        (folder / "labels" / split / f"{name}.txt").write_text("".join(lines))


def _parquet(folder: Path, split: str, rows: list[Any]) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures, objects = [], []
    for name, image, boxes in rows:
        file = io.BytesIO()
        image.save(file, "PNG")
        pictures.append({"bytes": file.getvalue(), "path": f"{name}.png"})
        sides = [[left, top, right - left, bottom - top] for _, (left, top, right, bottom) in boxes]
        objects.append({"bbox": [[float(v) for v in each] for each in sides], "category": [kind for kind, _ in boxes]})
    table = pa.table({"image": pictures, "objects": objects})
    names = {"feature": {"names": list(NAMES), "_type": "ClassLabel"}, "_type": "Sequence"}
    told = {"info": {"features": {"objects": {"bbox": {}, "category": names}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(told)}), folder / f"{split}.parquet")
