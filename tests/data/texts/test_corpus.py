"""Plain documents: cut in three or drawn whole, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dougong.data import open_data
from dougong.data.texts import TextRow
from dougong.data.texts.corpus import cut
from dougong.errors import UserError


def test_one_document_is_cut_at_line_ends(tmp_path: Path) -> None:
    text = "".join(f"line {number} of the story\n" for number in range(400))
    (tmp_path / "story.txt").write_text(text, encoding="utf-8")
    data = open_data(tmp_path / "story.txt")
    assert data.kind == "corpus" and data.classes == ()
    parts = [data.splits[name][0].texts[0] for name in ("train", "val", "test")]
    assert "".join(parts) == text and all(part.endswith("\n") for part in parts)
    assert abs(len(parts[0]) / len(text) - 0.9) < 0.01
    other = open_data(tmp_path / "story.txt", "50/25/25")
    assert abs(len(other.splits["train"][0].texts[0]) / len(text) - 0.5) < 0.01


@given(st.text(alphabet="ab\n猫", min_size=1, max_size=300), st.sampled_from([(0.9, 0.05, 0.05), (0.4, 0.3, 0.3)]))
def test_pieces_are_the_whole(text: str, shares: tuple[float, float, float]) -> None:
    try:
        pieces = cut(TextRow((text,), where="x"), shares)
    except UserError:
        return
    assert "".join(piece.texts[0] for piece in pieces) == text and all(piece.texts[0].strip() for piece in pieces)


def test_many_documents_are_drawn_whole(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"story {number}\nof something", encoding="utf-8")
    data = open_data(tmp_path)
    texts = [row.texts[0] for split in data.splits.values() for row in split]
    assert sorted(texts) == sorted(f"story {n}\nof something" for n in range(40)) and len(data.splits["test"]) == 2


def test_the_text_column_of_a_table(tmp_path: Path) -> None:
    lines = [f'"{"word " * 9}{number}",{number % 2}' for number in range(40)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    assert open_data(tmp_path / "a.csv").kind == "texts"
    data = open_data(tmp_path / "a.csv", kind="corpus")
    assert data.kind == "corpus" and data.columns == {"text": "text"}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"caf\xe9 au lait\n", "a.txt:1: is not UTF-8"),
        ("drei Wörter hier".encode("utf-16"), "is UTF-16"),
        (b"one\ntwo\0three", "a.txt:2: holds a NUL byte"),
        (b"a", "too short to be cut in three"),
        (b" \n \n", "holds no text"),
    ],
)
def test_what_is_no_text_is_said(tmp_path: Path, held: bytes, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(held)
    with pytest.raises(UserError, match=said):
        open_data(tmp_path / "a.txt")
