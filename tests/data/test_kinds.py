"""The kinds of data: each source is of one of them, and a new one is an entry of the table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import cells
from support.pictures import image_folder
from support.scenes import street

from dougong.cli.app import execute
from dougong.data import check, kinds, open_data
from dougong.data.kinds import KINDS, Asked, Kind, kind_for
from dougong.data.listing import Fault


def source_of(kind: str, place: Path) -> Path:
    """A small source of a kind."""
    place.mkdir(exist_ok=True)
    if kind == "detection":
        cells.write(place, "coco", {"train": 6, "val": 2, "test": 2})
    elif kind == "masks":
        street(place, {"train": 4, "val": 2, "test": 2})
    elif kind == "images":
        image_folder(place, {"a": 12, "b": 12})
    elif kind == "texts":
        rows = "".join(f"text number {n},{'good' if n % 2 else 'bad'}\n" for n in range(40))
        (place / "all.csv").write_text("text,label\n" + rows)
    else:
        rows = "".join(f"u{user},i{(user + at) % 7},{at}\n" for user in range(8) for at in range(6))
        (place / "all.csv").write_text("user_id,item_id,timestamp\n" + rows)
    return place / "all.csv" if kind in ("texts", "interactions") else place


@pytest.mark.parametrize("name", [each.name for each in KINDS])
def test_each_source_is_of_its_kind(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = source_of(name, tmp_path / "data")
    found = kind_for(source, Asked())
    assert found.name == name and open_data(source).kind == name
    others = [each.name for each in KINDS[:-1] if each is not found and each.recognises(source, Asked())]
    assert others == (["texts"] if name == "interactions" else [])  # rows of names could be texts: order settles it
    assert check(source) == found.check(source) and not any(each.severity == "error" for each in check(source))
    assert execute(["check", str(source), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["errors"] == 0 and len(said["faults"]) == len(check(source))


def test_what_is_asked_for_comes_before_what_lies_there(tmp_path: Path) -> None:
    source = source_of("interactions", tmp_path / "data")
    assert kind_for(source, Asked(kind="texts")).name == "texts"
    assert kind_for(source, Asked(text="user_id")).name == "texts"
    assert kind_for(source_of("texts", tmp_path / "more"), Asked(columns={"user": "text"})).name == "interactions"
    assert kind_for("digits", Asked(text="x")).name == "images"


@dataclass(frozen=True)
class Heard:
    pictures: int = 3
    counts: dict[str, Any] = field(default_factory=lambda: {"bell": {"all": 3}})
    faults: list[Fault] = field(default_factory=lambda: [Fault("a.wav", "is silent", "take it out")])


def test_a_new_kind_is_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").touch()
    sounds = Kind(
        "sounds", lambda _, asked: asked.kind == "sounds", lambda source, _: any(Path(source).glob("*.wav")),
        lambda source, asked: f"opened {source} {asked.seed}", lambda source: Heard(), "seconds",
    )  # fmt: skip
    monkeypatch.setattr(kinds, "KINDS", (sounds, *KINDS))
    assert open_data(tmp_path, seed=4) == f"opened {tmp_path} 4"
    assert [each.what for each in check(tmp_path)] == ["is silent"]
    assert execute(["check", str(tmp_path)]) == 2
    said = capsys.readouterr().out
    assert "is silent" in said and "seconds" in said
    assert execute(["check", str(tmp_path), "--fix", str(tmp_path / "b")]) == 2
    assert "--fix: is for texts" in capsys.readouterr().err
    monkeypatch.setattr(kinds, "KINDS", KINDS)  # the control
    assert execute(["check", str(tmp_path)]) == 2 and "is silent" not in capsys.readouterr().out
