"""File names that no terminal shows as they are: told on one line, and no hindrance when the pictures are good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dougong.cli.app import execute
from dougong.data import check, open_data
from dougong.data.names import plain
from dougong.errors import UserError
from tests.support.faults import good
from tests.support.pictures import encoded, image_folder, picture

NAMES = ("a\nb.png", "\x1b[31m.png", "\udcff\udcfe.png", "[red].png", "[x.png", "\u202egnp.png", "猫　猫.png")


def test_plain_text_is_left_as_it_is() -> None:
    for text in ("", "cat/1.png: is empty", "猫　猫", "Löwe", "a b"):
        assert plain(text) == text
    for odd in ("\n", "\x1b", "\udcff", "\u202e", "\0"):
        told = plain(f"a{odd}b")
        assert told.isprintable() and told.encode() and told[0] + told[-1] == "ab" and len(told) > 3


def test_good_pictures_of_any_name_are_learnt_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, run = good(tmp_path), tmp_path / "run"
    for number, name in enumerate(NAMES, 900):
        (folder / "cat" / name).write_bytes(encoded(picture(number)))
    assert [fault.severity for fault in check(folder) if fault.severity == "error"] == []
    words = ["train", "rnn-micro", "--data", str(folder), "--budget", "1steps", "--out", str(run)]
    assert execute(words) == 0, capsys.readouterr().err
    samples = (run / "data.json").read_text(encoding="utf-8")
    for name in NAMES:
        assert json.dumps(plain(f"cat/{name}"), ensure_ascii=False) in samples or json.dumps(f"cat/{name}") in samples


@pytest.mark.parametrize("name", ["ow\nl", "\udcff", "[red]", "ow\x1b[31ml"])
def test_classes_of_any_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = good(tmp_path)
    image_folder(folder, {name: 12}, 500)
    assert execute(["check", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["classes"]
    assert len(found) == 3 and all(each.isprintable() for each in found)
    assert open_data(folder).classes == tuple(sorted(found))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "is an empty name"),
        (" ", "is an empty name"),
        ("a\nb", "there is no such data"),
        ("a\0b", "there is no such data"),
        ("\udcff", "has a name that is not UTF-8"),
        ("a" * 5000, "there is no such data"),
        ("~nobody-of-this-name/x", "there is no such data"),
    ],
)
def test_sources_that_cannot_be(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(good(tmp_path))  # an empty name is not the folder one happens to be in
    with pytest.raises(UserError, match=said):
        open_data(source)
    for words in (["train", "vit-micro", "--data", source, "--budget", "1steps"], ["check", source]):
        assert execute(words) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1 and err[:-1].isprintable()


def test_check_refuses_what_cannot_be_divided(tmp_path: Path) -> None:
    """Copies count once, so that eighteen files can be two pictures."""
    folder = tmp_path / "photos"
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for copy in range(9):
            (folder / name / f"{copy}.png").write_bytes(encoded(picture(number)))
    with pytest.raises(UserError) as refused:
        open_data(folder)
    errors = [fault for fault in check(folder) if fault.severity == "error"]
    assert [fault.what for fault in errors] == [refused.value.what]
    assert all(fault.severity == "warning" for fault in check(image_folder(tmp_path / "few", {"cat": 3, "dog": 3})))


def test_a_gif_with_something_behind_it_is_whole(tmp_path: Path) -> None:
    folder, content = good(tmp_path), encoded(picture(950), "GIF")
    (folder / "cat" / "x.gif").write_bytes(content + b"made by a program" * 3)
    assert not [fault for fault in check(folder) if fault.severity == "error"]
    (folder / "cat" / "x.gif").write_bytes(content[:-1])
    assert [fault.what for fault in check(folder) if fault.severity == "error"] == ["is cut off: its end is missing"]
