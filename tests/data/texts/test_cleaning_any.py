"""Whatever is planted among good rows, the cleaned copy opens, loses no good row, and has nothing left to mend."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dougong.data import open_data
from dougong.data.texts.cleaning import write_cleaned
from dougong.data.texts.doctor import examine_texts
from tests.support.text_faults import CONLL, LINES, ROWS, csv

SIGNS = st.text(alphabet='",\n\r\0\t ;ab\u00e9\u200b\ufeff\u0430\ufffd中"{}[]:', max_size=25)
NOISE = st.one_of(SIGNS.map(str.encode), SIGNS.map(lambda text: text.encode("gb18030")), st.binary(max_size=25))
VALUES: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)


def copy_of(name: str, content: bytes, folder: Path) -> Path:
    """The cleaned copy of a file, which must have nothing left to mend."""
    source = folder / name
    source.write_bytes(content)
    found = examine_texts(source)
    write_cleaned(source, folder / "copy", found)
    assert source.read_bytes() == content
    left = examine_texts(folder / "copy" / name)
    assert not [fault for fault in left.faults if fault.fix], left.faults
    assert not left.errors, left.faults
    return folder / "copy" / name


@settings(max_examples=60, deadline=None)
@given(st.lists(NOISE, max_size=5), st.integers(0, 40))
@example([b'"open'], 20)
@example([b'"a"b"', b',"', b'","'], 3)
@example([b"text,label", b"\xff\xfe,positive"], 40)
@example([b'"one\rtwo",positive'], 7)
def test_csv(noise: list[bytes], at: int) -> None:
    lines = csv().encode().splitlines(keepends=True)
    content = b"".join([*lines[: at + 1], *(row + b"\n" for row in noise), *lines[at + 1 :]])
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of("a.csv", content, Path(folder))
        data = open_data(copy)
        kept = {row.texts[0] for split in data.splits.values() for row in split}
        assert kept >= {text for text, _ in ROWS}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(
            NOISE,
            st.fixed_dictionaries({}, optional={"text": VALUES, "label": VALUES, "more": VALUES}).map(
                lambda row: json.dumps(row).encode()
            ),
        ),
        max_size=5,
    ),
    st.integers(1, 40),
)
@example([b'{"text": "x", "label": 1e999}'], 5)
@example([b'{"text": "x", "label": "positive", "more": {"a": 1}}', b'{"more": "b"}'], 5)
@example([b'{"text": "x", "label": ["positive"]}'], 40)
def test_json_lines(noise: list[bytes], at: int) -> None:
    lines = [line.encode() for line in LINES]
    content = b"\n".join([*lines[:at], *noise, *lines[at:]])
    with tempfile.TemporaryDirectory() as folder:
        data = open_data(copy_of("a.jsonl", content, Path(folder)))
        kept = {row.texts[0] for split in data.splits.values() for row in split}
        assert kept >= {text for text, _ in ROWS}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(
            NOISE,
            st.tuples(SIGNS, st.sampled_from(["O", "B-per", "I-per", "I-loc", "E-per", "X", "B-", ""])).map(
                lambda pair: "\t".join(pair).encode()
            ),
        ),
        max_size=6,
    ),
    st.integers(0, 30),
)
@example([b"Bob\tI-per", b"\ta\tO", b"x O"], 3)
@example([b"-DOCSTART- -X- O", b"\xe9\tO"], 30)
def test_conll(noise: list[bytes], at: int) -> None:
    sentences = CONLL.encode().split(b"\n\n")[:-1]
    content = b"\n\n".join([*sentences[:at], b"\n".join(noise), *sentences[at:]]) + b"\n\n"
    with tempfile.TemporaryDirectory() as folder:
        data = open_data(copy_of("a.conll", content, Path(folder)))
        kept = {row.texts for split in data.splits.values() for row in split}
        assert len([texts for texts in kept if texts[:1] and texts[0].startswith("Ann")]) >= 30


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
@settings(max_examples=25, deadline=None)
@given(noise=st.lists(NOISE, max_size=6))
@example([b"\xc2\x01\x80"])
def test_plain_text(name: str, noise: list[bytes]) -> None:
    content = b"\n".join([text.encode() for text, _ in ROWS] * 3 + noise)
    with tempfile.TemporaryDirectory() as folder:
        assert len(open_data(copy_of(name, content, Path(folder))).splits["train"]) == 1
