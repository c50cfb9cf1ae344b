"""``dougong predict`` with a model that finds boxes: rows, COCO JSON, and pictures with the boxes drawn on them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dougong import console
from dougong.cli.flowing import flow
from dougong.cli.picturing import Films, Pictures, pixels_of, stem_of
from dougong.errors import UserError
from dougong.figures import many

SMALL = 320
"""Pixels of the longer side of a picture below which it is drawn larger."""


def found(
    run: str, task: Any, files: Pictures, batch_size: int, skip_bad: bool, threshold: float, out: str | None,
    draw: str | None, precision: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Find boxes in pictures as they come.

    Args:
        run: the model's folder.
        task: that it learnt.
        files: the pictures, kept until they are answered.
        batch_size: pictures in memory at once.
        skip_bad: whether those that cannot be read are counted and left out.
        threshold: the least probability of a box that is kept.
        out: a .json file of COCO's form, or a .jsonl or .csv table; None for none.
        draw: a folder for the pictures with their boxes; None for none.
        precision: of the weights; as saved when None.

    Raises:
        UserError: a file or folder that cannot be written, or what a picture raises.
    """
    from dougong.cli.predict import write
    from dougong.training import predict

    coco = out is not None and out.lower().endswith(".json")
    if coco and not Path(str(out)).absolute().parent.is_dir():
        raise UserError(f"--out {out}", "lies in no folder that exists", "make the folder first")
    folder = None if draw is None else Path(draw)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--draw {draw}", f"cannot be made ({error.strerror})", "name another folder") from None
    answers = predict(run, files, min(batch_size, task.at_once), skip_bad=skip_bad, precision=precision)
    counts = [0, 0]  # pictures, and those in which something was found
    rows = _counted(_rows(answers, files.row_of, task, threshold, folder), counts)
    value: dict[str, Any] = {"run": run, "out": out, "draw": draw, "threshold": threshold}
    if coco:
        kept = list(rows)
        _write(Path(str(out)), coco_json(kept, task.classes))
        count = len(kept)
    elif out is not None:
        count = write(Path(out), ({key: row[key] for key in ("where", "found", "boxes")} for row in rows))
    elif console.is_json():
        kept = list(rows)
        return {**value, "predictions": kept}
    else:
        count = 0

        def cells() -> Iterator[list[str]]:
            nonlocal count
            for row in rows:
                count += 1
                sure = [f"{each['score']:.0%}" for each in row["boxes"][:5]]
                yield [row["where"], row["found"], " ".join(sure)]

        flow(["file", "found", "most probable"], cells(), task.at_once)
    if counts[0] and not counts[1]:
        console.note(f"nothing is {threshold:.0%} probable in any picture; a lower --threshold shows what comes next")
    if out is not None:
        console.say(f"{many(count, 'prediction')}: {out}")
    if folder is not None:
        console.say(f"{many(count, 'picture')} with {'its' if count == 1 else 'their'} boxes: {folder}")
    return {**value, "count": count} if out is not None or draw is not None else {}


def _counted(rows: Iterable[dict[str, Any]], counts: list[int]) -> Iterator[dict[str, Any]]:
    """The rows; meanwhile their number, and that of those with boxes, are counted."""
    for row in rows:
        counts[0] += 1
        counts[1] += bool(row["boxes"])
        yield row


def _rows(
    answers: Iterable[Any], row_of: Callable[[Any], Any], task: Any, threshold: float, folder: Path | None
) -> Iterator[dict[str, Any]]:
    """An answer as it is written, and drawn where that is wanted: where, found, boxes and the picture's size; of a
    frame, its video and number."""
    from PIL import Image

    from dougong.report.boxes import drawn
    from dougong.tasks.object_detection import said

    with contextlib.closing(Films(lambda stem: _free(Path(str(folder)) / f"{stem}.mp4"))) as films:
        for answer in answers:
            boxes = [part for part in answer.parts if part["score"] >= threshold]
            row = row_of(answer)
            picture, video = pixels_of(row), getattr(row, "video", None)
            if folder is not None:
                place = _free(folder / f"{stem_of(row)}.png")
                longer = max(picture.shape[:2])  # a small picture is drawn larger, for the words beside its boxes
                side = None if longer >= SMALL else longer * -(-SMALL // longer)
                over = drawn(picture, boxes, task.classes, side)
                Image.fromarray(over).save(place)
                films.add(row, over if side is None or video is None else drawn(picture, boxes, task.classes))
            frame = {} if video is None else {"video": video.name, "frame": row.number}
            yield {
                "where": str(answer.where), "found": said(boxes, threshold), "boxes": boxes,
                "height": picture.shape[0], "width": picture.shape[1], **frame,
            }  # fmt: skip


_GIVEN: set[Path] = set()


def _free(path: Path) -> Path:
    """A name that no other picture of this call has: two folders may hold files of one name."""
    number, found = 2, path
    while found in _GIVEN:
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    _GIVEN.add(found)
    return found


def coco_json(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> dict[str, Any]:
    """Rows as a COCO file: pictures, categories, and annotations with their scores; numbers begin at 1."""
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        for each in row["boxes"]:
            left, top, right, bottom = each["box"]
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": classes.index(each["label"]) + 1,
                    "bbox": box, "area": box[2] * box[3], "iscrowd": 0, "score": each["score"],
                }
            )  # fmt: skip
    return {
        "images": [
            {"id": number, "file_name": row["where"], "height": row["height"], "width": row["width"]}
            | {key: row[key] for key in ("video", "frame") if key in row}
            for number, row in enumerate(rows, 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
        "annotations": annotations,
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    half = file.with_name(file.name + ".part")
    try:
        half.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(half, file)
    except OSError as error:
        raise UserError(f"--out {file}", f"cannot be written ({error.strerror})", "name another file") from None
