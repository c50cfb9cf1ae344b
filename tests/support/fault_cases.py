"""The faults that a data set can have: each made, and what must be said of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.faults import (
    PNG,
    ROWS,
    WHOLE,
    Case,
    archive,
    changed,
    claiming,
    cut,
    frames,
    link,
    locked,
    parquet,
    png_claiming,
    same,
    table,
    with_file,
    with_value,
)  # fmt: skip
from tests.support.pictures import encoded, image_folder, picture


def no_rows(columns: dict[str, list[Any]]) -> dict[str, Any]:
    import pyarrow as pa

    return {name: pa.array(values).slice(0, 0) for name, values in columns.items()}


def one_class(folder: Path) -> None:
    for path in (folder / "dog").iterdir():
        path.unlink()
    (folder / "dog").rmdir()


def alone(folder: Path) -> None:
    (folder / "owl").mkdir()
    (folder / "owl" / "1.png").write_bytes(encoded(picture(800)))


def empty_splits(root: Path) -> Path:
    folder = image_folder(root / "photos", {"train/cat": 6, "train/dog": 6, "test/cat": 3, "test/owl": 3}, 100)
    return folder


def renamed(root: Path, **names: str) -> Path:
    folder = image_folder(root / "photos", {"train/cat": 6, "train/dog": 6, "test/cat": 3, "test/dog": 3}, 100)
    for old, new in names.items():
        (folder / old).rename(folder / new)
    return folder


def two_trains(root: Path) -> Path:
    return image_folder(renamed(root), {"training/cat": 2, "training/dog": 2}, 500)


def two_columns(root: Path, name: str) -> Path:
    """A Parquet file that has a column twice."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = pa.array([{"bytes": encoded(picture(number)), "path": None} for number in range(24)])
    columns = [("image", images), ("label", pa.array(["cat", "dog"] * 12))]
    columns += [each for each in columns if each[0] == name]
    pq.write_table(pa.Table.from_arrays([c for _, c in columns], [n for n, _ in columns]), root / "photos.parquet")
    return root / "photos.parquet"


JPEG = encoded(picture(700, (40, 40)), "JPEG", quality=90)
TEXT = b"this is a shopping list: eggs, milk, flour\n" * 5

CASES: dict[str, Case] = {
    # one picture
    "text": Case(with_file(TEXT), "cat/3.png", "is no JPEG, PNG", "save it as PNG or JPEG"),
    "web page": Case(with_file(b"<!DOCTYPE html><p>404"), "cat/3.png", "is a web page", "fetch it again"),
    "zero bytes": Case(with_file(b""), "cat/3.png", "is empty (0 bytes)", "fetch it again"),
    "PNG cut in half": Case(with_file(PNG[: len(PNG) // 2]), "cat/3.png", "is cut off", "fetch or save it again"),
    "PNG without its end": Case(with_file(PNG[:-12]), "cat/3.png", "is cut off", "fetch or save it again"),
    "JPEG cut in half": Case(
        with_file(JPEG[: len(JPEG) // 2], "cat/x.jpg"), "cat/x.jpg", "is cut off", "fetch or save it again"
    ),
    "JPEG without its end": Case(
        with_file(JPEG[:-2], "cat/x.jpg"), "cat/x.jpg", "is cut off", "fetch or save it again"
    ),
    "a head alone": Case(with_file(JPEG[:3], "cat/x.jpg"), "cat/x.jpg", "is no JPEG, PNG", "fetch it again"),
    "bomb in its head": Case(
        with_file(png_claiming(60000, 60000)), "cat/3.png", "claims 3,600 million pixels", "shrink it, or take it out"
    ),
    "bomb below Pillow's own limit": Case(
        with_file(png_claiming(10000, 8001)), "cat/3.png", "claims 80 million pixels", "shrink it, or take it out"
    ),
    "CMYK": Case(
        with_file(lambda: encoded(picture(3).convert("CMYK"), "JPEG"), "cat/x.jpg"),
        "cat/x.jpg", "is in CMYK colours", "save it in RGB",
    ),
    "real numbers": Case(
        with_file(lambda: encoded(Image.new("F", (9, 9), 0.5), "TIFF"), "cat/x.tif"),
        "cat/x.tif", "holds real numbers", "save it with 8 bits a channel",
    ),
    "animated GIF": Case(
        with_file(lambda: frames("GIF"), "cat/x.gif"), "cat/x.gif", "3 frames (animated)", "save the one that is meant"
    ),
    "animated PNG": Case(
        with_file(lambda: frames("PNG")), "cat/3.png", "3 frames (animated)", "save the one that is meant"
    ),
    "animated WebP": Case(
        with_file(lambda: frames("WEBP"), "cat/x.webp"), "cat/x.webp", "3 frames (animated)", "save the one"
    ),
    "TIFF of pages": Case(with_file(lambda: frames("TIFF"), "cat/x.tiff"), "cat/x.tiff", "holds 3 pages", "save the"),
    "PNG named as JPEG": Case(
        with_file(PNG, "cat/x.jpg"), "cat/x.jpg", "is named as JPEG but is PNG", "rename it to end in .png"
    ),
    "line end in a name": Case(with_file(TEXT, "cat/a\nb.png"), "cat/a\\nb.png", "is no JPEG, PNG", "save it as PNG"),
    "colour code in a name": Case(
        with_file(TEXT, "cat/\x1b[31m.png"), "cat/\\x1b[31m.png", "is no JPEG, PNG", "save it as PNG"
    ),
    "name that is not UTF-8": Case(
        with_file(TEXT, "cat/\udcff.png"), "cat/\\udcff.png", "is no JPEG, PNG", "save it as PNG"
    ),
    "a kind that is not read": Case(
        with_file(TEXT, "cat/x.heic"), "cat/x.heic", ".heic pictures are not read", "save it as PNG or JPEG"
    ),
    "a pipe": Case(
        changed(lambda folder: os.mkfifo(folder / "cat" / "pipe.png")), "cat/pipe.png", "it is no ordinary file", "look"
    ),
    "a link to nothing": Case(
        changed(lambda folder: (folder / "cat" / "x.png").symlink_to("absent.png")),
        "cat/x.png", "there is no such file", "correct the path",
    ),
    # folders
    "no class folders": Case(
        changed(lambda folder: [path.rename(folder / path.name) for path in (folder / "cat").iterdir()] and
                [one_class(folder), (folder / "cat").rmdir()]),
        "photos", "12 pictures lie in no class folder", "make a folder for each class",
    ),
    "empty folder": Case(lambda root: root, "", "holds no pictures", "give a folder that holds a folder of pictures"),
    "empty class": Case(
        changed(lambda folder: (folder / "owl").mkdir()), "owl/", "the class folder holds no picture", "put pictures in"
    ),
    "one class": Case(changed(one_class), "photos", "has only one class, cat", "give pictures of at least two classes"),
    "one picture": Case(changed(alone), "class owl", "has one picture", "give it more pictures, or leave it out"),
    "class not in train": Case(empty_splits, "class owl", "is in test but not in train", "give train pictures of it"),
    "no train": Case(lambda root: renamed(root, train="val"), "photos", "has test, val but no train", "add a train"),
    "two trains": Case(two_trains, "photos", "two folders for the same split (test/, train/, training/)", "keep one"),
    "nothing in train": Case(
        lambda root: [(renamed(root, train="old") / "train").mkdir(), root / "photos"][1],
        "train/", "holds no class folders", "make a folder of pictures for each class",
    ),
    "two pictures a class": Case(
        lambda root: image_folder(root / "photos", {"cat": 2, "dog": 2}), "photos", "too few pictures to fill",
        "give more",
    ),
    # tables
    "missing file": Case(
        table([*WHOLE, "photos/cat/99.png,cat"]),
        "photos.csv:26 (photos/cat/99.png)", "there is no such file", "correct the path",
    ),
    "no label column": Case(
        table(["path,kind", *ROWS]), "photos.csv:1", "has no label column, only path, kind", "name it one of label"
    ),
    "no path column": Case(table(["where,label", *ROWS]), "photos.csv:1", "has no path column", "name it one of path"),
    "no header": Case(table(ROWS), "photos.csv:1", "has no path column", "name it one of path, image"),
    "no rows": Case(table(["path,label"]), "photos", "holds no pictures", "put pictures in"),
    "empty table": Case(lambda root: [(root / "a.csv").touch(), root / "a.csv"][1], "a.csv", "is empty", "fetch it"),
    "ragged row": Case(table([*WHOLE, "photos/cat/1.png"]), "photos.csv:26", "has 1 cells, the header 2", "mend"),
    "empty label": Case(table([*WHOLE, "photos/cat/1.png,"]), "photos.csv:26", "has no label", "fill it in"),
    "empty path": Case(table([*WHOLE, ",cat"]), "photos.csv:26", "names no picture", "fill in the path"),
    "not UTF-8": Case(
        table([*WHOLE, "photos/Löwe.png,cat"], coding="latin-1"), "photos.csv:26", "is not UTF-8", "save the file as"
    ),
    "zero bytes in text": Case(table([*WHOLE, "a\0b,cat"]), "photos.csv", "holds zero bytes", "save it as CSV"),
    "unknown split": Case(
        table(["path,label,split", *(f"{row},train" for row in ROWS), "photos/cat/1.png,cat,tain"]),
        "photos.csv:26", "the split 'tain' is none of train, val, test", "write train, val or test",
    ),
    "quote that swallows the file": Case(
        table([*WHOLE, '"photos/cat/1.png,cat', *["x" * 99] * 2000]), "photos.csv:",
        "is no CSV (", "look for a quote",
    ),
    "path to a folder": Case(table([*WHOLE, "photos/cat,cat"]), "photos.csv:26", "no ordinary file", "look"),
    # Parquet
    "no image column": Case(
        parquet(lambda columns: {"label": columns["label"]}),
        "photos.parquet", "has no column image {bytes, path}, only label", "name the column image",
    ),
    "no label in Parquet": Case(
        parquet(lambda columns: {"image": columns["image"], "kind": columns["label"]}),
        "photos.parquet", "has no column label, only image, kind", "name the column label",
    ),
    "null label": Case(parquet(with_value("label", 7, None)), "photos.parquet:7", "has no label", "fill it in"),
    "null picture": Case(
        parquet(with_value("image", 5, None)), "photos.parquet:5", "has no picture", "fill the row in, or take it out"
    ),
    "broken picture in a row": Case(
        parquet(with_value("image", 5, {"bytes": TEXT, "path": None})), "photos.parquet:5", "is no JPEG", "fetch it"
    ),
    "path out of the folder": Case(
        parquet(with_value("image", 5, {"bytes": None, "path": "../../secret.png"})),
        "photos.parquet:5", "leads out of the data's folder", "look at its permissions",
    ),
    "path of zero bytes": Case(
        parquet(with_value("image", 5, {"bytes": None, "path": "a\0b"})), "photos.parquet:5", "no such file", "correct"
    ),
    "path that is a number": Case(
        parquet(lambda columns: {**columns, "image": [
            {"bytes": each["bytes"] if row != 5 else None, "path": row} for row, each in enumerate(columns["image"])
        ]}),
        "photos.parquet:5", "has no picture", "fill the row in",
    ),
    "picture twice": Case(lambda root: two_columns(root, "image"), "photos.parquet", "two columns image", "keep one"),
    "label twice": Case(lambda root: two_columns(root, "label"), "photos.parquet", "two columns label", "keep one"),
    "labels of real numbers": Case(
        parquet(lambda columns: {**columns, "label": [0.5, 1.5] * 12}),
        "photos.parquet", "the column label holds double", "store whole numbers or names",
    ),
    "several labels a row": Case(
        parquet(lambda columns: {**columns, "label": [[0, 1]] * 24}),
        "photos.parquet", "not one class a row", "store whole numbers or names",
    ),
    "no Parquet": Case(
        lambda root: [(root / "a.parquet").write_bytes(TEXT), root / "a.parquet"][1],
        "a.parquet", "is no whole Parquet file", "fetch it again",
    ),
    "Parquet cut off": Case(cut(parquet(same), 0.6), "photos.parquet", "is no whole Parquet file", "fetch it again"),
    "no rows in Parquet": Case(
        parquet(no_rows), "photos", "holds no pictures", "put pictures in"
    ),
    # archives
    "member that climbs": Case(
        archive(("../evil.png", PNG)), "photos.zip:../evil.png", "leads outside the archive", "do not trust this file"
    ),
    "member below a folder that climbs": Case(
        archive(("cat/../../evil.png", PNG)), "cat/../../evil.png", "leads outside", "do not trust this file"
    ),
    "absolute member": Case(
        archive(("/tmp/evil.png", PNG)), "photos.zip:/tmp/evil.png", "leads outside the archive", "do not trust"
    ),
    "member of another drive": Case(archive(("C:\\evil.png", PNG)), "C:\\evil.png", "leads outside", "do not trust"),
    "member that climbs backwards": Case(archive(("..\\evil.png", PNG)), "evil.png", "leads outside", "do not trust"),
    "link in an archive": Case(archive((link(), b"/etc/passwd")), "cat/link.png", "is a link", "pack the file itself"),
    "member twice": Case(archive(("cat/0.png", PNG)), "photos.zip:cat/0.png", "is in the archive twice", "each name"),
    "file that is a folder": Case(
        archive(("cat/0.png/x.png", PNG)), "photos.zip:cat/0.png", "is both a file and a folder", "each name once"
    ),
    "member of a long name": Case(
        archive((f"cat/{'a' * 300}.png", PNG)), "photos.zip",
        "cannot be unpacked (File name too long)", "fetch it again",
    ),
    "password": Case(locked, "photos.zip:cat/0.png", "is locked with a password", "pack it again without one"),
    "archive cut off": Case(cut(archive(), 0.7), "photos.zip", "is no whole zip file", "fetch or pack it again"),
    "zip bomb": Case(claiming(2**32 - 2), "photos.zip", "into 4.0 GiB", "do not trust this file, or unpack it"),
    "a member that is not as it claims": Case(claiming(100), "photos.zip", "cannot be unpacked", "fetch it again"),
    "archive of nothing": Case(archive(whole=False), "photos.zip", "holds no pictures", "give a folder"),
    "table that leads out of its archive": Case(
        archive(("train.csv", b"path,label\n../../../etc/passwd,cat\n"), whole=False),
        "photos.zip:train.csv:2", "leads out of the data", "keep all pictures inside it",
    ),
    # what training lives with
    "clutter": Case(with_file(TEXT, "cat/notes.txt"), "cat/notes.txt", "is no picture by its name", "move", "warning"),
    "loose picture": Case(with_file(PNG, "x.png"), "x.png", "lies beside the class folders", "move it", "warning"),
    "twins": Case(
        changed(lambda folder: (folder / "cat" / "y.png").write_bytes((folder / "cat" / "0.png").read_bytes())),
        "cat/0.png", "is the same picture as cat/y.png", "keep one of them", "warning",
    ),
    "two labels": Case(
        changed(lambda folder: (folder / "dog" / "y.png").write_bytes((folder / "cat" / "0.png").read_bytes())),
        "cat/0.png", "is the same picture as dog/y.png, but the labels differ: cat, dog", "keep the right", "warning",
    ),
    "16 bits": Case(
        with_file(lambda: encoded(Image.new("I;16", (12, 10), 30000))), "cat/3.png", "16 bits", "8 bits", "warning"
    ),
    "see-through": Case(
        with_file(lambda: encoded(Image.new("RGBA", (12, 10), (9, 9, 9, 100)))),
        "cat/3.png", "is transparent in parts", "save it opaque", "warning",
    ),
    "unbalanced": Case(
        lambda root: image_folder(root / "photos", {"cat": 40, "dog": 4}), "photos", "unbalanced", "macro F1", "warning"
    ),
    "sizes": Case(with_file(lambda: encoded(picture(5, (60, 60)))), "photos", "sizes (h x w) differ", "", "warning"),
    "outer space": Case(
        changed(lambda folder: (folder / "cat").rename(folder / "cat ")), "cat /", "outer spaces", "rename", "warning"
    ),
}  # fmt: skip
