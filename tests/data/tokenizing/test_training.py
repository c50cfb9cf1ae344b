"""Trained tokenizers: what they promise of texts, the same in Transformers, the same each time."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dougong.data.tokenizing import Tokenizer
from dougong.data.tokenizing.training import ENDS, KINDS, train_tokenizer
from dougong.errors import UserError

ENGLISH = [
    f"{who} {what} {where}." for who, what, where in itertools.product(
        ["A man", "Two young women", "The old dog", "A child in a Red jacket"],
        ["runs", "is running", "jumps", "was sleeping", "plays the guitar"],
        ["in the park", "on the street", "near a river at night", "by the house"],
    )
]  # fmt: skip
CHINESE = [
    f"{what}{how}，{end}。" for what, how, end in itertools.product(
        ["酒店房间", "早餐", "服务员的态度", "酒店的位置", "大堂装修"],
        ["非常好", "不错", "很差", "一般", "干净整洁"],
        ["下次还会来", "不会再住了", "推荐给大家", "价格太贵", "总体满意"],
    )
]  # fmt: skip
BOTH = ENGLISH + CHINESE
SIZE = 420


@pytest.fixture(scope="module")
def trained() -> dict[tuple[str, str], Tokenizer]:
    """One of every kind with every ending."""
    return {(kind, ends): train_tokenizer(BOTH, kind, SIZE, ends=ends) for kind in KINDS for ends in ENDS}


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_opened_by_transformers(
    trained: dict[tuple[str, str], Tokenizer], kind: str, ends: str, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    ours = trained[kind, ends]
    ours.save(tmp_path)
    again = Tokenizer.open(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened: list[Any] = [each.from_pretrained(tmp_path) for each in (AutoTokenizer, PreTrainedTokenizerFast)]
    texts = [*BOTH[::9], "Unseen words, 没有见过的字 ♥", "", " two  blanks ", "line\nend"]
    for theirs in opened:
        for text in texts:
            assert ours.encode(text).ids == theirs(text)["input_ids"] == again.encode(text).ids
            assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs(text)["input_ids"], True)
        pair = theirs(BOTH[0], BOTH[-1])
        encoding = ours.encode(BOTH[0], BOTH[-1])
        assert encoding.ids == pair["input_ids"]
        assert ("token_type_ids" in pair) == (ends == "cls-sep")
        assert encoding.type_ids == pair.get("token_type_ids", encoding.type_ids)
        assert theirs.pad_token_id == ours.special_ids["pad"] == 0
        assert {theirs.convert_tokens_to_ids(token) for token in theirs.all_special_tokens} == set(
            ours.special_ids.values()
        )
    assert ours.special_ids == again.special_ids


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_stand_where_they_should(trained: dict[tuple[str, str], Tokenizer], kind: str) -> None:
    around = {ends: trained[kind, ends].encode(BOTH[0]).tokens for ends in ENDS}
    assert around["bos-eos"][0] == "<s>" and around["bos-eos"][-1] == "</s>"
    assert around["cls-sep"][0] == "[CLS]" and around["cls-sep"][-1] == "[SEP]"
    assert not set(around["none"]) & set(trained[kind, "none"].special.values())
    assert set(trained[kind, "none"].special) | {"unk"} == {"pad", "unk", "bos", "eos"}
    assert set(trained[kind, "cls-sep"].special) | {"unk"} == {"pad", "unk", "cls", "sep", "mask"}
    assert ("unk" in trained[kind, "none"].special) == (kind != "bpe")


@given(st.text(max_size=30))
def test_bytes_give_every_text_back(trained: dict[tuple[str, str], Tokenizer], text: str) -> None:
    for ends in ENDS:
        tokenizer = trained["bpe", ends]
        if not any(token in text for token in tokenizer.special.values()):
            assert tokenizer.decode(tokenizer.encode(text).ids) == text


@given(st.lists(st.sampled_from(sorted(set("".join(BOTH)) - set("<>")))).map("".join))
def test_characters_are_one_id_each(trained: dict[tuple[str, str], Tokenizer], text: str) -> None:
    tokenizer = trained["characters", "none"]
    ids = tokenizer.encode(text).ids
    assert len(ids) == len(text) and tokenizer.decode(ids) == text
    assert tokenizer.special_ids["unk"] not in ids


def test_what_was_trained_on_is_known_and_short(trained: dict[tuple[str, str], Tokenizer]) -> None:
    for kind in ("wordpiece", "unigram"):
        tokenizer = trained[kind, "none"]
        for text in BOTH:
            encoding = tokenizer.encode(text)
            assert tokenizer.special_ids["unk"] not in encoding.ids
            assert len(encoding) <= len(text) + 1
    assert trained["wordpiece", "none"].encode("The old dog").tokens == ["The", "old", "dog"]
    assert "酒店房间" in "".join(trained["unigram", "none"].encode("酒店房间").tokens)
    size = sum(len(text.encode()) for text in BOTH)
    assert sum(len(trained["bpe", "none"].encode(text)) for text in BOTH) < size / 2
    assert trained["wordpiece", "none"].encode("酒店").tokens == ["酒", "店"]
    unseen = trained["wordpiece", "none"].encode("龘").ids
    assert unseen == [trained["wordpiece", "none"].special_ids["unk"]]


CODE = """
import sys
from dougong.data.tokenizing.training import KINDS, train_tokenizer
texts = sys.stdin.read().split("\\n")
print([hash_ for kind in KINDS for hash_ in [__import__("hashlib").sha256(
    train_tokenizer(texts, kind, 420).opened.core.to_str().encode()).hexdigest()]])
"""


def test_the_same_in_every_process() -> None:
    """Hash tables are seeded anew in each."""
    runs = [
        subprocess.run([sys.executable, "-c", CODE], input="\n".join(BOTH), capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert len({run.stdout for run in runs}) == 1


def test_other_texts_give_another() -> None:
    assert train_tokenizer(ENGLISH, "bpe", 400).vocabulary != train_tokenizer(CHINESE, "bpe", 400).vocabulary


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase(kind: str) -> None:
    folded = train_tokenizer(ENGLISH, kind, 300, lowercase=True)  # type: ignore[arg-type]
    assert folded.encode("The OLD dog").ids == folded.encode("the old dog").ids
    kept = train_tokenizer(ENGLISH, kind, 300)  # type: ignore[arg-type]
    assert kept.encode("The Old dog").ids != kept.encode("the old dog").ids


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_ids_than_asked_for(kind: str) -> None:
    for size in (270, 300):
        assert len(train_tokenizer(BOTH, kind, size)) <= size  # type: ignore[arg-type]
    many = [chr(0x4E00 + index) + "x" + chr(0x5000 + index % 40) for index in range(300)]
    if kind == "wordpiece":  # the rarest characters are unknown to a small vocabulary
        small = train_tokenizer(many, kind, 100)
        assert len(small) <= 100 and small.special_ids["unk"] not in small.encode("x" + chr(0x5000)).ids


def test_an_iterator_is_enough() -> None:
    for kind in KINDS:
        assert train_tokenizer(iter(BOTH), kind, SIZE).vocabulary == train_tokenizer(BOTH, kind, SIZE).vocabulary


def test_a_long_text_and_broken_ones() -> None:
    odd = ["word " * 5000, "lone \ud800 surrogate", "nul \0 here", "", *ENGLISH]
    for kind in KINDS:
        assert train_tokenizer(odd, kind, 300).encode("word").ids  # type: ignore[arg-type]


def test_refused() -> None:
    for texts in ([], [""], [" \n"]):
        for kind in KINDS:
            with pytest.raises(UserError, match="no text to train on"):
                train_tokenizer(texts, kind)
    with pytest.raises(UserError, match="did you mean 'wordpiece'"):
        train_tokenizer(BOTH, "wordpeice")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown ends"):
        train_tokenizer(BOTH, "bpe", ends="both")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="ask for more than 259"):
        train_tokenizer(BOTH, "bpe", 259)
    with pytest.raises(UserError, match="vocab_size"):
        train_tokenizer(CHINESE, "unigram", 20)
    for kind in KINDS:
        with pytest.raises(UserError, match="a int where a text"):
            train_tokenizer([1], kind)  # type: ignore[list-item]


@pytest.mark.parametrize("pairs", [False, True])
def test_many_texts_are_encoded_a_few_at_a_time(
    pairs: bool, trained: dict[tuple[str, str], Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dougong.data.tokenizing import tokenizer as module

    one, second = trained["bpe", ENDS[0]], BOTH[::-1] if pairs else None
    right = [each.ids for each in one.encode(BOTH, second, max_length=9)]
    monkeypatch.setattr(module, "AT_ONCE", 7)
    sizes, run = [], Tokenizer._run
    monkeypatch.setattr(
        Tokenizer, "_run", lambda self, texts, *how: (sizes.append(len(texts)), run(self, texts, *how))[1]
    )
    assert [each.ids for each in one.each(BOTH, second, max_length=9)] == right
    assert max(sizes) == 7 and sum(sizes) == len(BOTH)
    assert not list(one.each([]))
