"""Each reader against the source read directly: the same pictures, labels, splits and places, in the same order."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dougong.data import open_data
from dougong.data.images import ImageData, ImageSplit
from dougong.errors import UserError
from tests.support.pictures import encoded, image_folder, picture, pixels

COUNTS = {"cat": 14, "dog": 12, "owl": 10}


def read_directly(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def held(data: ImageData, name: str) -> list[tuple[str, str]]:
    """(place, class) of a split's samples, in order."""
    part = data.splits[name]
    return [(part.where(i), data.classes[part.labels[i]]) for i in range(len(part))]


def found(part: ImageSplit) -> set[str]:
    return {part.key(i) for i in range(len(part))}


def test_digits() -> None:
    from sklearn.datasets import load_digits

    bundle, data = load_digits(), open_data("digits")
    assert data.classes == tuple("0123456789") and data.image_size == (8, 8)
    seen = []
    for part in data.splits.values():
        for i in range(len(part)):
            row = int(part.where(i).removeprefix("digits:"))
            assert part.labels[i] == bundle.target[row]
            grey = part.pixels(i)
            assert grey.dtype == np.uint8 and np.abs(grey / 255 * 16 - bundle.images[row][..., None]).max() < 0.04
            seen.append(row)
    assert sorted(seen) == list(range(1797))


def test_a_folder_with_its_splits(tmp_path: Path) -> None:
    counts = {f"{split}/{name}": n for split, n in (("train", 9), ("validation", 4), ("test", 5)) for name in COUNTS}
    folder = image_folder(tmp_path / "photos", counts)
    data = open_data(folder)
    assert data.classes == ("cat", "dog", "owl") and list(data.splits) == ["train", "val", "test"]
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        files = sorted((folder / name).rglob("*.png"))
        assert held(data, split) == [(path.relative_to(folder).as_posix(), path.parent.name) for path in files]
        for i, path in enumerate(files):
            assert np.array_equal(data.splits[split].pixels(i), read_directly(path))


def test_class_folders_are_divided(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", COUNTS)
    data = open_data(folder, split="60/20/20", seed=3)
    everything = sorted(pair for name in data.splits for pair in held(data, name))
    assert everything == sorted((path.relative_to(folder).as_posix(), path.parent.name) for path in folder.rglob("*.*"))
    assert data.counts()["test"] == {"cat": 3, "dog": 2, "owl": 2} == data.counts()["val"]
    assert "60/20/20 per cent" in data.how and any("no splits" in note for note in data.notes)
    same, other = open_data(folder, split="60/20/20", seed=3), open_data(folder, split="60/20/20", seed=4)
    assert same.fingerprint == data.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tif"), ("GIF", "gif"),
    ],
)  # fmt: skip
def test_every_format(form: str, read: str, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {"cat": 6, "dog": 6})
    path = folder / "cat" / f"9.{read}"
    path.write_bytes(encoded(picture(77, (20, 30)), form))
    data = open_data(folder)
    part, i = next((p, p.places.index(f"cat/9.{read}")) for p in data.splits.values() if f"cat/9.{read}" in p.places)
    assert np.array_equal(part.pixels(i), read_directly(path))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA"])
def test_every_mode(mode: str, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {"cat": 6, "dog": 6})
    image = picture(78).convert(mode)
    image.save(folder / "cat" / "9.png")
    data = open_data(folder)
    part, i = next((p, p.places.index("cat/9.png")) for p in data.splits.values() if "cat/9.png" in p.places)
    assert np.array_equal(part.pixels(i), np.asarray(image.convert("RGB")))


def test_what_is_stored_rotated_is_turned_upright(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {"cat": 6, "dog": 6})
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    (folder / "cat" / "9.png").write_bytes(encoded(picture(79, (8, 20)), exif=exif))
    data = open_data(folder)
    part, i = next((p, p.places.index("cat/9.png")) for p in data.splits.values() if "cat/9.png" in p.places)
    assert np.array_equal(part.pixels(i), np.rot90(pixels(79, (8, 20)), -1))


def write_parquet(path: Path, first: int, n: int, names: list[str] | None = None, kind: str = "struct") -> None:
    """The form that `datasets` writes, with class names in the schema when ``names`` are given."""
    contents = [encoded(picture(first + i)) for i in range(n)]
    values = contents if kind == "bytes" else [{"bytes": content, "path": "x.png"} for content in contents]
    labels = [i % 3 for i in range(n)] if names else [["cat", "dog", "owl"][i % 3] for i in range(n)]
    table = pa.table({"id": list(range(n)), "image": values, "label": labels})
    if names:
        import json

        told = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    pq.write_table(table, path, row_group_size=7)


@pytest.mark.parametrize("kind", ["struct", "bytes"])
def test_a_parquet_file(kind: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / "photos.parquet", 0, 30, kind=kind)
    frame = pq.read_table(tmp_path / "photos.parquet").to_pandas()
    data = open_data(tmp_path / "photos.parquet")
    rows = []
    for name, part in data.splits.items():
        for i, (place, label) in enumerate(held(data, name)):
            row = int(place.removeprefix("photos.parquet:"))
            assert label == frame["label"][row]
            cell = frame["image"][row]
            content = cell["bytes"] if kind == "struct" else cell
            (tmp_path / "one.png").write_bytes(content)
            assert np.array_equal(part.pixels(i), read_directly(tmp_path / "one.png"))
            rows.append(row)
    assert sorted(rows) == list(range(30))


@pytest.mark.parametrize("layout", ["{}.parquet", "data/{}-00000-of-00001.parquet"])
def test_a_folder_of_parquet_files_with_names_in_the_schema(layout: str, tmp_path: Path) -> None:
    names = ["zebra", "ant", "bee"]  # their order is the file's, not the alphabet's
    (tmp_path / "data").mkdir()
    write_parquet(tmp_path / layout.format("train"), 0, 30, names)
    write_parquet(tmp_path / layout.format("test"), 50, 9, names)
    data = open_data(tmp_path)
    assert data.classes == ("zebra", "ant", "bee")
    assert [name for _, name in held(data, "test")] == names * 3
    assert data.splits["test"].labels == [0, 1, 2] * 3
    assert data.counts()["val"] == {"zebra": 1, "ant": 1, "bee": 1} and len(data.splits["train"]) == 27
    assert np.array_equal(data.splits["test"].pixels(4), pixels(54))


def test_parquet_files_that_are_parts_of_one_set(tmp_path: Path) -> None:
    write_parquet(tmp_path / "0000.parquet", 0, 21)
    write_parquet(tmp_path / "0001.parquet", 21, 9)
    data = open_data(tmp_path)
    places = {place for name in data.splits for place, _ in held(data, name)}
    assert places == {*(f"0000.parquet:{i}" for i in range(21)), *(f"0001.parquet:{i}" for i in range(9))}
    assert "no splits" in data.notes[0]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_paths(separator: str, tmp_path: Path) -> None:
    image_folder(tmp_path / "files", {"a b": 15, "c": 15})
    rows = []
    for i, path in enumerate(sorted((tmp_path / "files").rglob("*.png"))):
        label = ["left, of centre", "猫"][i % 2]
        rows.append([path.relative_to(tmp_path).as_posix(), label, ["train", "train", "dev", "test", "train"][i % 5]])
    with (tmp_path / "all.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([["File", "extra", "Class", "Split"]])
        csv.writer(file, delimiter=separator).writerows([row[0], "x", *row[1:]] for row in rows)
    data = open_data(tmp_path / "all.csv")
    for split, words in (("train", ("train",)), ("val", ("dev",)), ("test", ("test",))):
        expected = [(f"all.csv:{i + 2} ({row[0]})", row[1]) for i, row in enumerate(rows) if row[2] in words]
        assert held(data, split) == expected
        for i, (place, _) in enumerate(expected):
            path = tmp_path / place.split("(")[1].rstrip(")")
            assert np.array_equal(data.splits[split].pixels(i), read_directly(path))


def test_numbered_classes_come_in_the_order_of_numbers(tmp_path: Path) -> None:
    image_folder(tmp_path / "files", {"x": 36})
    lines = [f"files/x/{i}.png,{i % 12}" for i in range(36)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *lines]))
    assert open_data(tmp_path / "all.csv").classes == tuple(map(str, range(12)))


def source_of(kind: str, root: Path) -> Path:
    """One of each kind of source, in a folder of its own."""
    if kind == "folder":
        return image_folder(root, COUNTS)
    if kind == "splits":
        return image_folder(root, {f"{split}/{name}": 6 for split in ("train", "val", "test") for name in COUNTS})
    root.mkdir()
    if kind == "parquet":
        write_parquet(root / "photos.parquet", 0, 30)
        return root / "photos.parquet"
    if kind == "parquets":
        write_parquet(root / "train.parquet", 0, 30)
        write_parquet(root / "test.parquet", 60, 9)
        return root
    image_folder(root / "files", COUNTS)
    paths = sorted((root / "files").rglob("*.png"))
    lines = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in paths]
    (root / "photos.csv").write_text("\n".join(["path,label", *lines]))
    return root / "photos.csv"


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["folder", "splits", "parquet", "parquets", "table"])
def test_a_zip_holds_what_was_packed(kind: str, wrapped: bool, tmp_path: Path) -> None:
    source = source_of(kind, tmp_path / "source")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for path in sorted((tmp_path / "source").rglob("*")):
            inner = path.relative_to(tmp_path / "source")
            archive.write(path, Path("outer", inner) if wrapped else inner)
        archive.writestr("__MACOSX/._x", b"clutter")
    data, packed = open_data(source), open_data(tmp_path / "packed.zip")
    assert packed.fingerprint == data.fingerprint and packed.name == "packed"
    for name, part in data.splits.items():
        for i in range(len(part)):
            assert np.array_equal(part.pixels(i), packed.splits[name].pixels(i))
            place = packed.splits[name].where(i)
            assert place.startswith("packed.zip:") and place.endswith(part.where(i).split("/")[-1])


def test_names_packed_on_windows(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", COUNTS)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            member = zipfile.ZipInfo("x")
            member.filename = str(path.relative_to(folder)).replace("/", "\\")
            archive.writestr(member, path.read_bytes())
    assert open_data(tmp_path / "packed.zip").fingerprint == open_data(folder).fingerprint


def test_names_packed_on_macos(tmp_path: Path) -> None:
    """UTF-8 that the archive does not declare: the bit is taken out of the packed file."""
    folder = image_folder(tmp_path / "photos", {"猫": 12, "café": 12})
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    content = bytearray((tmp_path / "packed.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        place = content.find(mark)
        while place >= 0:
            content[place + offset] &= ~0x08
            place = content.find(mark, place + 1)
    (tmp_path / "packed.zip").write_bytes(bytes(content))
    assert zipfile.ZipFile(tmp_path / "packed.zip").namelist()[0].split("/")[0] not in ("猫", "café")
    assert open_data(tmp_path / "packed.zip").classes == ("café", "猫")


def test_paths_written_on_windows(tmp_path: Path) -> None:
    image_folder(tmp_path / "files", {"cat": 12, "dog": 12})
    lines = [f"files\\{name}\\{i}.png,{name}" for name in ("cat", "dog") for i in range(12)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *lines]))
    assert sum(len(part) for part in open_data(tmp_path / "all.csv").splits.values()) == 24


def test_what_is_not_kept_in_memory_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dougong.data import opening
    from dougong.data.looking import look_through

    folder = image_folder(tmp_path / "photos", COUNTS)
    kept = open_data(folder)
    monkeypatch.setattr(opening, "look_through", lambda listing: look_through(listing, room=1000))
    again = open_data(folder)
    assert again.fingerprint == kept.fingerprint
    assert np.array_equal(again.splits["train"].pixels(3), kept.splits["train"].pixels(3))
    path = folder / again.splits["train"].where(3)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"is empty .*, since the data was opened"):
        again.splits["train"].pixels(3)
    assert found(again.splits["train"]) == found(kept.splits["train"])
