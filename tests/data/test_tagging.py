"""Tags in five schemes: entities, conversion, broken sequences; words against pieces of a tokenizer."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dougong.data.tagging import (
    IGNORED,
    LETTERS,
    broken,
    convert,
    joined,
    label_pieces,
    piece_words,
    pieceless,
    recognise,
    spans,
    to_bio,
    word_values,
    write,
)
from dougong.data.tokenizing import Tokenizer
from dougong.data.tokenizing.words import encode_words
from dougong.errors import UserError

SCHEMES = sorted(LETTERS)
RICH = [(0, 1, "x"), (1, 2, "x"), (2, 5, "x"), (6, 8, "y"), (8, 11, "y")]  # of every kind of place, some touching


@st.composite
def sentences(draw: Any) -> tuple[list[tuple[int, int, str]], int]:
    """Entities that do not lie over one another, and the length of the sentence."""
    at, found = 0, []
    for gap, size, kind in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from("xyz")))):
        found.append((at + gap, at + gap + size, kind))
        at += gap + size
    return found, at + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(sentences())
def test_entities_come_back_and_are_whole(scheme: str, sentence: tuple[list[tuple[int, int, str]], int]) -> None:
    entities, length = sentence
    tags = write(entities, length, scheme)
    assert spans(tags) == entities
    assert broken(tags, scheme) == []
    for other in SCHEMES:
        assert convert(convert(tags, other), scheme, other) == tags


@given(st.lists(st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in "xy")]), max_size=9))
def test_any_sequence_is_read_as_an_independent_reader_reads_it(tags: list[str]) -> None:
    """seqeval's default mode is the CoNLL 2000 script."""
    from seqeval.metrics.sequence_labeling import get_entities

    theirs = sorted((start, end + 1, kind) for kind, start, end in get_entities(tags))
    assert sorted(spans(tags)) == theirs


@pytest.mark.parametrize("ours,theirs", [("BIO", "IOB2"), ("IOBES", "IOBES"), ("BILOU", "BILOU")])
def test_what_seqeval_reads_strictly_is_what_is_not_broken(ours: str, theirs: str) -> None:
    from seqeval import scheme

    letters = sorted({*LETTERS[ours], "O"})
    rng = random.Random(0)
    agreed = {True: 0, False: 0}
    for _ in range(600):
        tags = [f"{letter}-x" if letter != "O" else "O" for letter in rng.choices(letters, k=rng.randint(1, 4))]
        strict = [each.to_tuple()[2:] for each in scheme.Entities([tags], getattr(scheme, theirs)).entities[0]]
        lenient = [(start, end) for start, end, _ in spans(tags)]
        if not broken(tags, ours):
            assert strict == lenient
            agreed[True] += 1
        elif strict != lenient:
            agreed[False] += 1
    assert min(agreed.values()) > 20


@pytest.mark.parametrize("scheme", SCHEMES)
def test_recognised(scheme: str) -> None:
    tags = write(RICH, 12, scheme)
    assert recognise([["O"], tags]) == scheme
    assert to_bio(tags) == write(RICH, 12)


def test_recognised_where_little_is_known() -> None:
    assert recognise([]) == recognise([["O", "O"]]) == "BIO"
    assert recognise([["NOUN", "VERB"]]) == "plain"
    assert recognise([["B-x", "I-x"], ["I-x"]]) == "BIO"  # broken BIO, for IOB1 has no such B
    assert recognise([["I-x", "O"], ["I-x", "B-x"]]) == "IOB1"
    assert recognise([list("BMES")]) == "BMES"
    assert spans(list("BESBME")) == [(0, 2, ""), (2, 3, ""), (3, 6, "")]


def test_broken_places_are_named() -> None:
    tags = ["I-x", "O", "B-x", "I-y", "E-y"]
    found = [(one.index, f"{one.tag} {one.what}") for one in broken(tags)]
    assert found == [
        (0, "I-x goes on with an entity that the start of the sentence does not begin"),
        (3, "I-y goes on with an entity that B-x before it does not begin"),
        (4, "E-y is no tag of BIO"),
    ]
    assert [one.index for one in broken(["B-x", "O", "S-x", "B-x"], "IOBES")] == [1, 3]
    assert [one.index for one in broken(["B-x", "I-x", "B-x"], "IOB1")] == [0]
    assert broken(["I-x", "I-y"], "IOB1") == []


def test_refused() -> None:
    for tags in (["B-"], ["person"], ["X-person"], [""], ["o"]):
        with pytest.raises(UserError, match="written in no scheme"):
            spans(tags)
    with pytest.raises(UserError, match=r"E-x.*none of BIO"):
        to_bio(["B-x", "E-x"], "BIO")
    with pytest.raises(UserError, match="did you mean 'BIO'"):
        write([], 0, "BIOO")
    with pytest.raises(ValueError, match="lies over"):
        write([(0, 2, "x"), (1, 3, "x")], 3)
    with pytest.raises(ValueError):
        write([(0, 4, "x")], 3)


WORDS = st.lists(st.text("abc北京é👍'.", min_size=1, max_size=5), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """BERT's kind, with a vocabulary of some signs and pairs."""
    folder = tmp_path_factory.mktemp("vocabulary")
    signs = ["a", "b", "c", "ab", "bc", "abc", "é", "e", "北", "京", "'", "."]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *(f"##{sign}" for sign in signs)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return Tokenizer.open(folder)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """GPT-2's kind, trained by the library itself, with pieces over several Chinese characters."""
    from tokenizers import ByteLevelBPETokenizer

    folder = tmp_path_factory.mktemp("bytes")
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(["北京 ab abc 北京北京", "ab abc 北京"] * 9, 290, special_tokens=["<|endoftext|>"])
    made.save_model(str(folder))
    return Tokenizer.open(folder)


@given(WORDS, st.booleans(), st.booleans())
def test_labels_go_to_pieces_and_back(
    tokenizer: Tokenizer, byte_level: Tokenizer, words: list[str], bytes_: bool, every: bool
) -> None:
    encoding = encode_words(byte_level if bytes_ else tokenizer, words)
    belongs = encoding.words
    labels = [10 + index for index in range(len(words))]
    pieces = label_pieces(belongs, labels, every)
    lost = set(pieceless(belongs, len(words)))
    assert word_values(belongs, pieces, len(words), -1) == [
        -1 if index in lost else label for index, label in enumerate(labels)
    ]
    shown = [label for label in pieces if label != IGNORED]
    assert (sorted(set(shown)) if every else shown) == [label for i, label in enumerate(labels) if i not in lost]
    assert [one is None for one in belongs] == encoding.special_mask
    if bytes_:  # nothing is left out at the level of bytes, and no piece reaches over a word
        assert not lost
        assert byte_level.decode(encoding.ids) == " ".join(words)


def test_pieces_of_words_from_offsets(byte_level: Tokenizer) -> None:
    words = ["abc", "北", "京", "ab"]
    text, places = joined(words)
    encoding = byte_level.encode(text)
    by_offset, by_word = piece_words(encoding.offsets, places), encode_words(byte_level, words).words
    assert [one for one, token in zip(by_offset, encoding.tokens, strict=True) if token == "Ġ"] == [None, None]
    assert all(a in (b, None) for a, b in zip(by_offset, by_word, strict=True)) and by_offset != by_word
    text, places = joined(words, "")
    together = piece_words(byte_level.encode(text).offsets, places)
    assert pieceless(together, 4) == [2]  # one piece is 北京
    assert pieceless(encode_words(byte_level, words, separator="").words, 4) == []
    assert piece_words([(0, 0), (3, 4), (4, 5), (0, 1)], [(0, 3), (4, 5)]) == [None, None, 1, 0]


def test_cut_words_are_counted(tokenizer: Tokenizer) -> None:
    encoding = encode_words(tokenizer, ["abc", "ab", "c", "a"], max_length=4)
    assert len(encoding) == 4 and encoding.words == [None, 0, 1, None]
    assert pieceless(encoding.words, 4) == [2, 3]
    with pytest.raises(UserError, match="max_length"):
        encode_words(tokenizer, ["a"], max_length=2)


def test_later_pieces_lie_inside() -> None:
    words = [None, 0, 0, 1, None]
    assert label_pieces(words, [1, 0]) == [IGNORED, 1, IGNORED, 0, IGNORED]
    assert label_pieces(words, [1, 0], every=True, inside=[0, 2]) == [IGNORED, 1, 2, 0, IGNORED]
    with pytest.raises(ValueError, match="word 1"):
        label_pieces(words, [1])
