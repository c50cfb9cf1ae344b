"""Every fault is named with its place and a remedy; what is whole has none; and all of them are named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dougong.data import check, open_data
from dougong.data.doctor import examine
from dougong.errors import UserError
from tests.support.fault_cases import CASES
from tests.support.faults import good
from tests.support.pictures import encoded, image_folder, picture


@pytest.mark.parametrize("name", CASES)
def test_named(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.make(tmp_path)
    faults = check(source)
    found = [
        fault
        for fault in faults
        if case.what in fault.what and case.where in fault.where and case.remedy in fault.remedy
    ]
    assert found and found[0].severity == case.severity, faults
    assert all("\n" not in f"{fault.where}{fault.what}{fault.remedy}" and fault.remedy for fault in faults)
    if case.severity == "warning":
        assert len(open_data(source).classes) == 2
    else:
        with pytest.raises(UserError) as caught:
            open_data(source)
        assert case.what in caught.value.what or len(faults) > 1


def test_nothing_is_wrong_with_what_is_whole(tmp_path: Path) -> None:
    assert check(good(tmp_path)) == []
    assert check("digits") == []


def test_all_faults_at_once(tmp_path: Path) -> None:
    folder, expected = good(tmp_path), {}
    for number, case in enumerate(CASES.values()):
        if case.where in ("cat/3.png", "cat/x.jpg", "cat/x.gif", "cat/x.tif"):
            content = (case.make(tmp_path / str(number)) / case.where).read_bytes()
            name = f"{number}{Path(case.where).suffix}"
            (folder / "cat" / name).write_bytes(content)
            expected[f"cat/{name}"] = case.what
    faults = check(folder)
    assert len(expected) > 15
    for place, what in expected.items():
        assert any(fault.where == place and what in fault.what for fault in faults), place


def test_a_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    good(tmp_path)
    (tmp_path / "train.csv").write_bytes(b"path,label\nphotos/cat/1.png,cat\nphotos/cat/x.png,cat\n")
    (tmp_path / "val.csv").write_bytes(b"path,kind\n")
    (tmp_path / "test.csv").write_bytes(b"path,label\n\xff\xfe,dog\n")
    where = [fault.where for fault in check(tmp_path)]
    assert where == ["val.csv:1", "test.csv:2", "train.csv:3 (photos/cat/x.png)"]


def test_what_is_counted(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {"train/cat": 4, "train/dog": 5, "test/cat": 2, "test/dog": 2})
    (folder / "train" / "dog" / "broken.png").write_bytes(b"")
    found = examine(folder)
    assert found.pictures == 14
    assert found.counts == {"cat": {"train": 4, "test": 2}, "dog": {"train": 6, "test": 2}}


@pytest.mark.parametrize("name", [".DS_Store", ".hidden.png", "Thumbs.db", "desktop.ini", "._1.png"])
def test_what_systems_leave_behind_is_no_picture_and_no_fault(name: str, tmp_path: Path) -> None:
    folder = good(tmp_path)
    for place in (folder, folder / "cat"):
        (place / name).write_bytes(b"\0\1")
    (folder / "__MACOSX").mkdir()
    (folder / ".git").mkdir()
    found = examine(folder)
    assert found.faults == [] and found.pictures == 24


def test_names_in_any_script_and_endings_in_any_case(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "数据", {"猫": 6, "chien 🐶": 6})
    (folder / "猫" / "图片 ñ.PNG").write_bytes(encoded(picture(90)))
    (folder / "猫" / "b.JpEg").write_bytes(encoded(picture(91), "JPEG"))
    found = examine(folder)
    assert found.faults == [] and found.counts["猫"] == {"all": 8}
    assert open_data(folder).classes == ("chien 🐶", "猫")


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos", {"train/café": 6, "train/thé": 6, "test/cafe\u0301": 2, "test/thé": 2})
    assert open_data(folder).classes == ("café", "thé")


def test_what_is_near_is_suggested(tmp_path: Path) -> None:
    good(tmp_path)
    with pytest.raises(UserError, match=r"did you mean .*photos\?"):
        check(tmp_path / "fotos")
    with pytest.raises(UserError, match=r"did you mean digits\?"):
        check("digit")
    (tmp_path / "table.xlsx").write_bytes(b"x")
    with pytest.raises(UserError, match="is no kind of data that is read"):
        open_data(tmp_path / "table.xlsx")
