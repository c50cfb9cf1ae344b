"""``dougong predict``: what a trained model says about texts and pictures, as they come."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import verb
from dougong.cli.flowing import flow
from dougong.cli.picturing import Pictures
from dougong.cli.sharing import Precision, RunFolder
from dougong.errors import UserError
from dougong.figures import many

CLASSES, ITEMS = 3, 10
"""Shown where the user does not say how many."""
SHOWN = 4
"""Numbers of a vector that are shown to people."""


@verb(
    "dougong predict runs/first picture.png",
    "dougong predict runs/first photos/ --out predictions.csv",
    "dougong predict runs/cells photos/ --draw drawn/ --out boxes.json",
    "dougong predict runs/street frames/ --out masks/",
    "dougong predict runs/cells film.mp4 --every 5 --draw drawn/",
    "ls photos/*.png | dougong predict runs/first - --json",
    "dougong predict runs/reviews reviews.csv --text review --out labels.jsonl",
    "dougong predict runs/games 6393,13504,14087 --top 5",
    "dougong predict runs/games --user 17",
)
def predict(
    run: RunFolder,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUTS...",
            help="Pictures, folders of them, videos; texts, files of texts (a text a line, a table, CoNLL columns); "
            "- for stdin. Of next items: histories as a,b,c, or files of interactions.",
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(help="Show this many classes, 3, or items, 10.", min=1)] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write .csv or .jsonl (boxes: .json, as COCO) instead of a table; masks and drawings into a folder.",
        ),
    ] = None,
    draw: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Of boxes: write each picture, or video, there with what was found."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Of boxes: the least probability of one that counts as found.", min=0, max=1)
    ] = 0.5,
    batch_size: Annotated[int, typer.Option(help="Inputs that are in memory at once.", min=1)] = 64,
    text: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Of tables, the column of the text; twice for two texts.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="Of texts on stdin: txt, a text a line; csv, tsv, jsonl or conll.")
    ] = "txt",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out inputs that cannot be used, and count them.")
    ] = False,
    user: Annotated[
        list[str] | None, typer.Option(metavar="USER", help="Of next items: a user of the run's data; may be repeated.")
    ] = None,
    every: Annotated[
        int | None, typer.Option(metavar="N", help="Of videos: read the frames 1, 1+N, 1+2N, ... only.", min=1)
    ] = None,
    precision: Precision = None,
) -> dict[str, Any]:
    """Predict the class of each picture or text.

    Models that tag words, translate or give vectors say that instead. Inputs are read, answered and written batch by
    batch, in their order, one answer each, so they may be more than fit in memory, or a pipe without an end. With
    --json all answers are kept for the one object that is printed.
    """
    from dougong.data.writing import checked_table

    if out is not None and Path(out).suffix and not out.lower().endswith(".json"):
        checked_table(out)
    if not Path(run).is_dir():
        raise UserError(run, "no such folder", "give a run's folder, or a model's")
    if not files and not user:
        if sys.stdin is None or sys.stdin.isatty():
            raise UserError("INPUTS", "are missing", "name texts or files, or pipe texts in")
        files = ["-"]
    files = files or []
    if files.count("-") > 1:
        raise UserError("-", "is named twice", "standard input can be read once")
    if text and len(text) > 2:
        raise UserError("--text", f"names {len(text)} columns", "name one, or two")
    from dougong.tasks import load_task
    from dougong.training import predict as ask
    from dougong.training.asking import reading_for

    task = load_task(run)
    recommends = task.name == "next-item"
    if user and not recommends:
        raise UserError("--user", f"{run} foresees no next items", "leave it out")
    if task.name == "object-detection":
        from dougong.cli.boxes import found

        return found(
            run, task, Pictures(files, every, keep=True), batch_size, skip_bad, threshold, out, draw, precision
        )
    if draw is not None:
        raise UserError("--draw", f"is for boxes, which {task.name} does not find", "leave it out")
    masks, folder = task.name == "semantic-segmentation", None
    if out is not None and (Path(out).suffix or not masks):  # masks alone go into a folder
        checked_table(out)
    into_folder = out is not None and not Path(out).suffix
    reads_texts = hasattr(task, "tokenizer")
    top = top or (ITEMS if recommends else CLASSES)
    wanted: Iterator[Any]
    if every is not None and (recommends or reads_texts):
        raise UserError("--every", f"is for videos, which {task.name} does not read", "leave it out")
    if recommends:
        wanted = histories(files)
    elif reads_texts:
        from dougong.data.texts.inputs import inputs

        wanted = inputs(files, reading_for(Path(run), task, text), format)
    else:
        wanted = pictures = Pictures(files, every, keep=into_folder)
    answers: Iterator[Any] = ask(run, wanted, batch_size, skip_bad=skip_bad, users=user or (), precision=precision)
    if into_folder and out is not None:
        from dougong.cli.predicting_masks import drawing, free_place

        answers, folder, out = drawing(answers, task, free_place(out), pictures.row_of), out, None
        console.note(f"masks are written to {folder}/masks, drawn over their pictures to {folder}/drawn")
    rows = (row_of(answer, task, top) for answer in answers)
    if out is not None:
        count = write(Path(out), rows)
        console.say(f"{many(count, 'prediction')}: {out}")
        return {"run": run, "out": out, "count": count}
    if console.is_json():
        return {"run": run, "out": folder, "predictions": _some(list(rows))}
    held = itertools.chain(_some(list(itertools.islice(rows, 1))), rows)
    if recommends:
        said = ((row["where"], (f"{item} {console.percent(share)}" for item, share in row["top"])) for row in held)
        cells = ([where, ", ".join(items)] for where, items in said)
        flow(["history", "next items"], cells, batch_size)
        return {}
    show(held, batch_size, reads_texts, masks)
    return {}


def histories(words: list[str]) -> Iterator[Any]:
    """Histories: a file of interactions, "-" for one of them in each line of stdin, or names of items."""
    for word in words:
        if word == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield Path(word) if Path(word).exists() else word


def row_of(answer: Any, task: Any, top: int) -> dict[str, Any]:
    """An answer as it is written; every answer of a task has the same keys."""
    row: dict[str, Any] = {"where": str(answer.where)}
    if isinstance(answer.text, tuple):
        row |= {"text": answer.text[0], **({"text2": answer.text[1]} if len(answer.text) > 1 else {})}
    elif answer.text is not None:
        row["text"] = answer.text
    if task.name == "translation":
        return row | {"written": answer.label}
    if task.name == "sentence-embedding":
        return row | {"vector": json.loads(answer.label)}
    if answer.mask is not None:
        return row | {"label": answer.label, "share": float(answer.probability), "shares": dict(answer.top)}
    best = [[label, float(share)] for label, share in answer.top[:top]]
    if task.name == "next-item":
        items = {"items": [label for label, _ in best], "probabilities": [share for _, share in best]}
        return row | items | answer.parts[0] | {"top": best}
    if answer.labels is not None:
        names, shares = [name for name, _ in answer.labels], [float(share) for _, share in answer.labels]
        return row | {"labels": names, "probabilities": shares, "top": best}
    row |= {"label": answer.label, "probability": float(answer.probability), "top": best}
    if task.name == "token-classification":
        row |= {"tokens": answer.words, "tags": answer.tags, "parts": answer.parts}
    return row


def _some(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of inputs that held any.

    Raises:
        UserError: they held none.
    """
    if not rows:
        raise UserError("INPUTS", "hold nothing to predict", "give a text in quotes, a file, or - for standard input")
    return rows


def write(file: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as they come; how many. Where the work ends early, what was done stays in FILE.part."""
    from dougong.data.writing import RowWriter

    table = file.suffix.lower() == ".csv"
    writer = RowWriter(file, keep=True)
    try:
        with writer:
            for row in rows:
                writer.write([{key: value for key, value in row.items() if key != "top"} if table else row])
            if not writer.count:
                _some([])
    except BaseException:
        if writer.count:
            console.note(f"what was made until then is in {writer.half}: {many(writer.count, 'prediction')}")
        raise
    return writer.count


def show(rows: Iterable[dict[str, Any]], first: int, texts: bool, masks: bool = False) -> None:
    """Rows for people: where each is from, the answer, its probability, and what comes next."""

    def cells() -> Iterator[list[str]]:
        for row in rows:
            place = [row["where"]]
            if texts:
                words = " ".join(row[key] for key in ("text", "text2") if key in row)
                words = " ".join(words.split())
                same = row["where"].removesuffix("...") == words[: len(row["where"].removesuffix("..."))]
                place = ["" if same else row["where"], words if len(words) <= 60 else words[:57] + "..."]
            if "written" in row:
                yield [*place, row["written"], "", ""]
            elif "vector" in row:
                some = " ".join(f"{value:.3f}" for value in row["vector"][:SHOWN])
                yield [*place, f"{some} ... ({len(row['vector'])} numbers; --out keeps all)", "", ""]
            elif "labels" in row:
                pairs = zip(row["labels"], row["probabilities"], strict=True)
                said = "  ".join(f"{label} {console.percent(share)}" for label, share in pairs) or "none"
                rest = [each for each in row["top"] if each[0] not in row["labels"]]
                yield [*place, said, "", _others([["", 0], *rest])]
            elif "shares" in row:  # of the picture
                rest = sorted(row["shares"].items(), key=lambda each: -each[1])[:4]
                first_share = console.percent(row["share"])
                yield [*place, console.visible(row["label"]), first_share, _others([list(each) for each in rest])]
            else:
                yield [*place, console.visible(row["label"]), console.percent(row["probability"]), _others(row["top"])]

    heads = ["where", "text"] if texts else ["file"]
    flow([*heads, "answer" if texts else "class", "of the picture" if masks else "probability", "next"], cells(), first)


def _others(top: list[list[Any]]) -> str:
    return "  ".join(f"{console.visible(label)} {console.percent(share)}" for label, share in top[1:])
