"""``dougong predict``: what a trained model says about files."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import verb
from dougong.cli.sharing import RunFolder
from dougong.errors import UserError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@verb(
    "dougong predict runs/first picture.png",
    "dougong predict runs/first photos/ --out predictions.csv",
    "ls photos/*.png | dougong predict runs/first - --json",
)
def predict(
    run: RunFolder,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...", help="Pictures, folders of them, or texts, or text files with one a line; - for stdin."
        ),
    ],
    top: Annotated[int, typer.Option(help="Show this many classes.", min=1)] = 3,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write .csv or .jsonl instead of a table.")] = None,
) -> dict[str, Any]:
    """Predict the class of each picture or text."""
    if out is not None:
        if Path(out).suffix.lower() not in (".csv", ".jsonl"):
            raise UserError(f"--out {out}", "is no kind of table", "end it in .csv or .jsonl")
        if not Path(out).absolute().parent.is_dir():
            raise UserError(f"--out {out}", "lies in no folder that exists", "make the folder first")
    if not Path(run).is_dir():
        raise UserError(run, "no such folder", "give a run's folder, or a model's")
    from dougong.tasks import load_task

    reads_texts = hasattr(load_task(run), "tokenizer")
    wanted = texts(files) if reads_texts else gather(files)
    from dougong.training import predict as ask

    rows: list[dict[str, Any]] = []
    for answer in ask(run, wanted):
        rows.append(
            {
                "where": str(answer.where),
                "label": answer.label,
                "probability": float(answer.probability),
                "top": [[label, float(share)] for label, share in answer.top[:top]],
                **({"parts": answer.parts} if answer.parts else {}),
            }
        )
    if out is None:
        shown = [[row["where"], row["label"], console.percent(row["probability"]), _others(row["top"])] for row in rows]
        console.table("", ["text" if reads_texts else "file", "class", "probability", "next"], shown)
    else:
        _write(Path(out), rows)
        console.say(f"{len(rows)} predictions: {out}")
    return {"run": run, "out": out, "predictions": rows}


def gather(words: list[str]) -> list[str]:
    """The files meant: folders are searched, "-" reads one name from each line of stdin.

    Raises:
        UserError: a name that is no file or folder, a folder without pictures, or no file at all.
    """
    found: list[str] = []
    for word in words:
        names = [line.rstrip("\r\n") for line in sys.stdin] if word == "-" else [word]
        for name in filter(None, names):
            path = Path(name)
            if path.is_dir():
                inside = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
                if not inside:
                    raise UserError(name, "holds no picture", f"give a folder with {', '.join(IMAGES[:3])}, ... files")
                found += inside
            elif path.is_file():
                found.append(name)
            else:
                raise UserError(name, "no such file", "give a picture, a folder of pictures, or - for a list on stdin")
    if not found:
        raise UserError("-", "no file is named on stdin", "pipe in one name a line")
    return found


def texts(words: list[str]) -> list[str]:
    """The texts meant: a word is a text itself, or a file of texts, one a line; "-" reads them from stdin.

    Raises:
        UserError: a file that is not UTF-8, or no text at all.
    """
    found: list[str] = []
    for word in words:
        if word == "-":
            found += [line.rstrip("\r\n") for line in sys.stdin]
        elif Path(word).suffix.lower() == ".txt" and Path(word).is_file():
            try:
                found += Path(word).read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise UserError(word, f"is not UTF-8 (byte {error.start})", "save it as UTF-8") from None
        else:
            found.append(word)
    found = [text for text in found if text.strip()]
    if not found:
        raise UserError("INPUTS", "hold no text", "give a text in quotes, a .txt file, or - for standard input")
    return found


def _others(top: list[list[Any]]) -> str:
    return "  ".join(f"{label} {console.percent(share)}" for label, share in top[1:])


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    """All of the file or nothing of it."""
    if file.suffix.lower() == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        into = io.StringIO()
        writer = csv.writer(into, lineterminator="\n")
        writer.writerow(["where", "label", "probability"])
        writer.writerows([row["where"], row["label"], row["probability"]] for row in rows)
        text = into.getvalue()
    half = file.with_name(file.name + ".part")
    try:
        half.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(half, file)
    except OSError as error:
        raise UserError(
            f"--out {file}", f"cannot be written ({error.strerror})", "name a file in a folder that exists"
        ) from None
