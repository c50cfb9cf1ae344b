"""Text as its ids arrive: the same as decoding all of them, never half a character."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dougong.data.tokenizing import Tokenizer

ALL = ["bert-uncased", "gpt2", "roberta", "qwen2", "clip", "t5", "xlm-roberta", "llama", "gemma", "marian"]


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("family", ALL)
def test_the_pieces_make_the_text(family: str, skip: bool, layouts: Path, texts: list[str]) -> None:
    tokenizer = Tokenizer.open(layouts / family)
    stream = tokenizer.stream(skip)
    wrong = []
    for text in texts:
        ids = tokenizer.encode(text[:300]).ids
        whole = tokenizer.decode(ids, skip)
        pieces = [stream.push(index) for index in ids]
        wrong += [text[:40]] if "".join(pieces) + stream.close() != whole else []
        broken = [piece for piece in pieces if piece.endswith("\ufffd")]
        wrong += [text[:40]] if broken and "\ufffd" not in whole else []
    assert wrong == []


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma"])
def test_characters_of_several_tokens_come_whole(family: str, layouts: Path) -> None:
    tokenizer = Tokenizer.open(layouts / family)
    ids = tokenizer.encode("x🧿𓀀y", special=False).ids
    naive = [tokenizer.decode([index]) for index in ids]
    assert any("\ufffd" in piece for piece in naive)  # what a stream without memory would show
    pieces = list(tokenizer.stream().over(ids))
    assert all("\ufffd" not in piece for piece in pieces) and "".join(pieces).strip() == "x🧿𓀀y"
    assert len(pieces) >= 3  # and they come as soon as they can


def test_what_never_becomes_a_character_comes_at_the_end(layouts: Path) -> None:
    tokenizer = Tokenizer.open(layouts / "gpt2")
    half = tokenizer.encode("🧿", special=False).ids[:-1]
    stream = tokenizer.stream()
    assert [stream.push(index) for index in half] == [""] * len(half)
    assert stream.close() == tokenizer.decode(half) and "\ufffd" in tokenizer.decode(half)
    assert stream.close() == ""


def test_only_the_end_is_decoded(layouts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text costs no more per token than a short one."""
    from dougong.data.tokenizing import streaming

    sizes = []
    real = streaming.decode
    monkeypatch.setattr(
        streaming, "decode", lambda tokenizer, ids, skip: (sizes.append(len(ids)), real(tokenizer, ids, skip))[1]
    )
    tokenizer = Tokenizer.open(layouts / "gpt2")
    ids = tokenizer.encode("Two young men are outside near many bushes. " * 50).ids
    assert "".join(tokenizer.stream().over(ids)) == tokenizer.decode(ids)
    assert max(sizes) < 8 < len(ids)


def test_batches_are_what_models_take(layouts: Path) -> None:
    import dougong

    tokenizer = Tokenizer.open(layouts / "bert-uncased")
    tokens, lengths = tokenizer.batch(["two men", "a man in a hat", ""])
    assert tokens.dtype == lengths.dtype == torch.long
    for row, (size, text) in enumerate(zip(lengths.tolist(), ["two men", "a man in a hat", ""], strict=True)):
        assert tokens[row, :size].tolist() == tokenizer.encode(text).ids
        assert tokens[row, size:].tolist() == [tokenizer.special_ids["pad"]] * (tokens.shape[1] - size)
    left, _ = tokenizer.batch(["two men", "a man in a hat"], side="left")
    assert left[0, 0] == tokenizer.special_ids["pad"] and left[0, -1] == tokenizer.special_ids["sep"]
    model = dougong.build(
        {"architecture": "lstm", "d_model": 8, "n_layers": 1, "vocab_size": tokenizer.vocab_size, "n_classes": 3}
    )
    assert model(tokens, lengths).logits.shape == (3, 3)
