"""Settings and YAML files: whatever is written either is read or is refused as a UserError."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dougong.cli.settings import is_setting, merge, parse_settings, parse_value, read_yaml
from dougong.errors import UserError

KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
YAMLISH = st.text() | st.text(alphabet="{}[]:,-&*!|>%@'\"#?~ \n\tabe019._=", max_size=40)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # text in YAML 1.1
        ("010", 10),  # eight in YAML 1.1
        ("1:30", "1:30"),  # ninety in YAML 1.1
        ("no", "no"),  # false in YAML 1.1
        ("2020-01-01", "2020-01-01"),  # a date in YAML 1.1
        ("true", True),
        ("-7", -7),
        (".5", 0.5),
        ("", None),
        ("null", None),
        ("[32, 48]", [32, 48]),
        ("{a: 1, b: [x, 2.5]}", {"a": 1, "b": ["x", 2.5]}),
        ("1e15flops", "1e15flops"),
        ("'007'", "007"),
        ("10min", "10min"),
        ("|", "|"),  # an empty block in YAML
        ("#", "#"),  # a comment
        (",", ","),  # no YAML
        ("-", "-"),  # an empty list
    ],
)
def test_values(text: str, value: Any) -> None:
    found = parse_value(text, where="key")
    assert found == value and type(found) is type(value)


def test_infinity_and_nan() -> None:
    assert parse_value("-.inf", where="x") == -math.inf
    assert math.isnan(parse_value(".nan", where="x"))


def test_dotted_keys_nest() -> None:
    words = ["learning_rate=1e-3", "model.dropout=0.1", "model.n-layers=2", "note=a=b"]
    assert parse_settings(words) == {"learning_rate": 1e-3, "model": {"dropout": 0.1, "n_layers": 2}, "note": "a=b"}


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["=3"], "=3"),
        (["a..b=3"], "a..b=3"),
        (["3a=3"], "3a=3"),
        (["a=1", "a=2"], "a"),
        (["a=1", "a.b=2"], "a.b"),
        (["a.b=2", "a=1"], "a"),
        (["a=["], "a"),
        (["a=*b"], "a"),
        (["a=!!python/object:os.system x"], "a"),
        (["a=!!timestamp 2020-01-01"], "a"),
        (["a={b: 1, b: 2}"], "a"),
        (["a={1: 2}"], "a"),
        (["a=" + "9" * 5000], "a"),
        (["a=" + "[" * 5000], "a"),
        (["a=\x07"], "a"),
    ],
)
def test_bad_settings_are_named(words: list[str], where: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_settings(words)
    assert caught.value.where == where
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.text(max_size=12) | KEYS, YAMLISH), max_size=4))
@settings(max_examples=200)
@example([("a", "- &x [*x]")])
@example([("a", "? [b]\n: c")])
@example([("a", "<<: {b: 1}")])
@example([("a", "!!int x")])
@example([("a", "\x00")])
@example([("a", "!!float ''")])
@example([("a", "!!bool x")])
@example([("a", '"\\ud800"')])
def test_any_words_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        found = parse_settings([f"{key}={value}" for key, value in pairs])
    except UserError as error:
        assert "\n" not in str(error)
        return
    json.dumps(found)  # nothing but plain values


@given(st.text() | YAMLISH | st.binary(max_size=60))
@settings(max_examples=200)
@example("- a")
@example("a: 1\na: 2")
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbfa: 1")
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        found = read_yaml(file)
    except UserError as error:
        assert str(file) in error.where
        assert "\n" not in str(error)
        return
    assert isinstance(found, dict)
    json.dumps(found)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@example({"a": "𐀀"})
@settings(max_examples=200)
def test_what_is_written_as_json_is_read_back(values: dict[str, Any]) -> None:
    words = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    assert parse_settings(words) == values


def test_a_file_names_the_row(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: vit-micro\nbudget: [\n")
    with pytest.raises(UserError, match=r"run.yaml:3: is no YAML"):
        read_yaml(file)


@pytest.mark.parametrize("name", ["absent.yaml", ".", "nul\x00l"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(str(tmp_path / name))


def test_merge_goes_deep() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "e": 4}) == {"a": {"b": 9, "c": 2}, "d": 3, "e": 4}


def test_a_word_with_an_equals_sign_is_a_setting_unless_it_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a=b"
    file.touch()
    assert is_setting("a=b") and is_setting("=b") and is_setting("a.b=")
    assert not is_setting("vit-base") and not is_setting("{a: =}") and not is_setting(str(file))
