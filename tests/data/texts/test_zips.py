"""Texts in zip files: read as the folder that was packed; what leads outside or swells is refused."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest

from dougong.data import archives, open_data
from dougong.data.texts import TextData
from dougong.errors import UserError

ROWS = [(f"text {n}, with a comma", "ab"[n % 2]) for n in range(60)]
TAGGED = "".join(f"Ada B-PER\nsaw O\nRome{n} B-LOC\n\n" for n in range(30))


def table(rows: list[tuple[str, str]], mark: str = ",") -> str:
    held = io.StringIO()
    csv.writer(held, delimiter=mark).writerows([("text", "label"), *rows])
    return held.getvalue()


FORMS = {
    "one table": {"reviews.csv": table(ROWS)},
    "splits": {"train.tsv": table(ROWS[:40], "\t"), "dev.tsv": table(ROWS[40:], "\t")},
    "a folder of splits": {"corpus/train.csv": table(ROWS[:40]), "corpus/test.csv": table(ROWS[40:]),
                           "__MACOSX/corpus/._train.csv": "x"},
    "lines of JSON": {"train.jsonl": "".join(f'{{"text": "text {n}", "label": "{n % 2}"}}\n' for n in range(30))},
    "tags": {"a/train.conll": TAGGED, "a/test.conll": TAGGED.replace("Rome", "Oslo")},
    "pairs": {f"{part}.{side}": "".join(f"{side} {part} {n}\n" for n in range(20))
              for part in ("train", "val", "test") for side in ("de", "en")},
    "one text": {"story.txt": "".join(f"line {n} of the story\n" for n in range(400))},
    "texts": {f"{n}.txt": f"story {n}\n" for n in range(40)},
}  # fmt: skip


def pack(file: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file


def rows(data: TextData) -> dict[str, list[tuple[object, ...]]]:
    return {name: [(row.texts, row.labels, row.tags, row.key) for row in part] for name, part in data.splits.items()}


@pytest.mark.parametrize("form", FORMS)
def test_a_zip_is_read_as_the_folder_that_was_packed(form: str, tmp_path: Path) -> None:
    file = pack(tmp_path / "data.zip", FORMS[form])
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "unpacked")
    packed = open_data(file)
    inside = [path for path in (tmp_path / "unpacked").iterdir() if path.name != "__MACOSX"]
    unpacked = open_data(inside[0] if len(inside) == 1 else tmp_path / "unpacked")
    assert packed.name == "data" and packed.kind == unpacked.kind
    assert rows(packed) == rows(unpacked) and packed.fingerprint == unpacked.fingerprint


def test_a_path_out_of_the_archive_is_refused(tmp_path: Path) -> None:
    file = pack(tmp_path / "evil.zip", {"train.csv": table(ROWS), "../escaped.csv": table(ROWS)})
    with pytest.raises(UserError, match=r"evil.zip:../escaped.csv: leads outside the archive"):
        open_data(file)
    assert not (tmp_path.parent / "escaped.csv").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", "text,label\n" + "a,b\n" * 1_000_000)
    with pytest.raises(UserError, match="would unpack"):
        open_data(tmp_path / "bomb.zip")


def test_what_is_wrong_inside_is_said_of_the_archive(tmp_path: Path) -> None:
    file = pack(tmp_path / "a.zip", {"train.csv": "text,label\na,1\nb,\n"})
    with pytest.raises(UserError, match=r"^a.zip:train.csv:3: has no label"):
        open_data(file)
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UserError, match="is no whole zip file"):
        open_data(tmp_path / "b.zip", kind="corpus")


def test_a_zip_of_pictures_stays_one(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "pictures")
        for number in range(8):
            held = io.BytesIO()
            Image.fromarray(np.full((8, 8, 3), 30 * number, np.uint8)).save(held, "PNG")
            archive.writestr(f"{'cat' if number % 2 else 'dog'}/{number}.png", held.getvalue())
    assert open_data(tmp_path / "a.zip").kind == "images"
