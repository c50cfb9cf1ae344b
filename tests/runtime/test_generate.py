"""What a user holds: texts in, texts out, stop strings, streams, samples, and refusals in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.writers import PROMPTS, pair, with_tokenizer
from torch import nn

import dougong
from dougong.errors import UserError
from dougong.runtime.kernels import FastLinears
from dougong.runtime.reading import Reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizer(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def model(folder: Path) -> nn.Module:
    return dougong.load(folder)


def test_text_in_text_out(model: nn.Module, folder: Path) -> None:
    from dougong.data.tokenizing import Tokenizer

    found = dougong.generate(model, "the quick", max_new_tokens=20)
    tokenizer = Tokenizer.open(folder)
    assert found.prompt == tuple(tokenizer.encode("the quick").ids) and len(found.tokens) == 20
    whole = tokenizer.decode([*found.prompt, *found.tokens])
    assert "the quick" + found.text == whole and str(found) == found.text
    several = dougong.generate(model, ["the quick", "木构", [5, 6]], max_new_tokens=20)
    assert several[0] == found and len(several) == 3
    assert dougong.generate(model, [5, 6], max_new_tokens=20) == several[2]
    assert dougong.generate(model, torch.tensor([5, 6]), max_new_tokens=20) == several[2]
    talk = dougong.generate(model, [{"role": "user", "content": "fox"}], max_new_tokens=5)
    assert tokenizer.decode(talk.prompt) == "user: fox\nassistant:"


@pytest.mark.parametrize("rules", [{}, {"top_p": 0.9, "seed": 3}, {"temperature": 1.5, "repetition_penalty": 1.2}])
def test_a_batch_writes_what_each_prompt_alone_does(model: nn.Module, rules: dict[str, Any]) -> None:
    prompts = ["the", "木构件不用一根钉子", "quick brown fox jumps over the lazy dog", "é"]
    together = dougong.generate(model, prompts, max_new_tokens=30, **rules)
    assert together == [dougong.generate(model, prompt, max_new_tokens=30, **rules) for prompt in prompts]
    if rules:
        assert together != dougong.generate(model, prompts, max_new_tokens=30)


def test_samples_differ_and_come_again_with_their_seed(model: nn.Module) -> None:
    found = dougong.generate(model, ["the", "fox"], temperature=1.0, samples=4, max_new_tokens=12, seed=7)
    assert [len(row) for row in found] == [4, 4] and len({one.tokens for one in found[0]}) == 4
    again = dougong.generate(model, "fox", temperature=1.0, samples=4, max_new_tokens=12, seed=7)
    assert again == found[1]
    assert dougong.generate(model, "fox", temperature=1.0, samples=4, max_new_tokens=12, seed=8) != again
    assert dougong.generate(model, "fox", temperature=1.0, samples=2, max_new_tokens=12, seed=7) == again[:2]


def test_prompts_draw_from_streams_of_their_own(model: nn.Module) -> None:
    told: dict[str, Any] = {"temperature": 1.0, "max_new_tokens": 12, "seed": 7, "end": ()}
    one, two, again = dougong.generate(model, ["the", "fox", "the"], **told)
    assert again.tokens != one.tokens  # the same prompt gets another text each time
    assert dougong.generate(model, "the", **told).tokens == one.tokens
    both = dougong.generate(model, "the", samples=2, **told)
    assert [each.tokens for each in both] == [one.tokens, again.tokens]
    from dougong.runtime.job import streams

    assert len(set(streams([[1, 2], [2, 1], [1], [1, 2], [12]], 2))) == 10  # none draws as another does
    assert two.tokens == dougong.generate(model, ["fox", "dog"], **told)[0].tokens


@pytest.mark.parametrize("rules", [{}, {"top_k": 20, "seed": 2}])
def test_a_stream_gives_the_same_text_piece_by_piece(model: nn.Module, rules: dict[str, Any]) -> None:
    whole = dougong.generate(model, "木构", max_new_tokens=40, **rules).text
    pieces = list(dougong.stream(model, "木构", max_new_tokens=40, **rules))
    assert "".join(pieces) == whole and len(pieces) > 5 and all(pieces)


@pytest.mark.parametrize("beams", [1, 3])
def test_writing_ends_at_a_stop_string(model: nn.Module, beams: int) -> None:
    free = dougong.generate(model, "the", max_new_tokens=40, beams=beams)
    stop = free.text[9:13]
    found = dougong.generate(model, "the", max_new_tokens=40, beams=beams, stop=["never there", stop])
    assert stop not in found.text and found.reason == "stop" and len(found.tokens) < 40
    if beams == 1:
        assert found.text == free.text[: free.text.index(stop)]
        assert "".join(dougong.stream(model, "the", max_new_tokens=40, stop=stop)) == found.text


def test_pieces_that_may_begin_a_stop_string_are_held_back() -> None:
    class Letters:
        def stream(self) -> Any:
            return type("S", (), {"push": lambda _, token: chr(token), "close": lambda _: ""})()

    reader = Reader(Letters(), stops=["abc", "zz"])  # type: ignore[arg-type]
    assert [reader.push(ord(letter)) for letter in "xababz"] == ["x", "", "", "ab", "", "ab"]  # the z may begin "zz"
    assert not reader.stopped
    assert reader.push(ord("z")) == "" and reader.stopped and reader.text == "xabab"
    assert reader.push(ord("a")) == reader.close() == ""


def test_a_model_in_training_stays_there_and_is_as_it_was(model: nn.Module) -> None:
    model.train()
    try:
        before = model(torch.tensor([[1, 2, 3]])).logits
        for _ in dougong.stream(model, "the", max_new_tokens=3):
            assert model.training and not torch.is_inference_mode_enabled()
        after = model(torch.tensor([[1, 2, 3]])).logits
        after.sum().backward()
        assert model.training and before.shape == after.shape and model.embedding.weight.grad is not None
    finally:
        model.zero_grad()
        model.eval()


def test_fast_linear_layers_compute_the_same(model: nn.Module) -> None:
    tokens, fast = torch.randint(0, 200, (2, 7)), FastLinears(model)
    assert fast.layers and fast.heads
    with torch.inference_mode():
        plain = model(tokens).logits
        with fast:
            quick = model(tokens).logits
        assert torch.equal(model(tokens).logits, plain)
    torch.testing.assert_close(quick, plain, rtol=1e-5, atol=1e-5)
    assert not any("forward" in vars(layer) for layer in fast.layers)


def test_as_many_tokens_as_there_are_places(model: nn.Module) -> None:
    found = dougong.generate(model, [1] * 90, end=())
    assert len(found.tokens) == 7  # 96 places; the last token needs none


def lines() -> list[tuple[Any, dict[str, Any], str]]:
    return [
        ([], {}, "holds no prompt"),
        (5, {}, "holds no prompt"),
        ([[]], {}, "has no tokens"),
        ("", {}, "has no tokens"),
        ([[900]], {}, "tokens outside 0.."),
        ([[-1]], {}, "tokens outside 0.."),
        ([["a", 3]], {}, "neither a text nor token ids"),
        ([1] * 97, {}, "has 97 tokens, and the model reads 96; shorten it"),
        ([1] * 50, {"max_new_tokens": 60}, "ask for at most 47 new tokens"),
        ("the", {"max_new_tokens": 0}, "whole number of 1 or more"),
        ("the", {"temperature": -1.0}, "0 or more"),
        ("the", {"temperature": float("nan")}, "0 or more"),
        ("the", {"top_p": 0.0}, "above 0"),
        ("the", {"top_p": 1.5}, "at most 1"),
        ("the", {"min_p": 2}, "from 0 to 1"),
        ("the", {"top_k": 0}, "1 or more"),
        ("the", {"top_k": 2.5}, "1 or more"),
        ("the", {"temperature": 0, "top_k": 3}, "0 draws nothing"),
        ("the", {"beams": 2, "top_k": 3}, "do not go with drawn tokens"),
        ("the", {"samples": 3}, "would be equal"),
        ("the", {"samples": 3, "beams": 2}, "would be equal"),
        ("the", {"stop": ""}, "empty text"),
        ("the", {"end": 900}, "is no token"),
        ("the", {"banned": [900]}, "is no token"),
        ("the", {"min_new_tokens": 9, "max_new_tokens": 3}, "more than max_new_tokens"),
        ("the", {"early_stopping": "soon"}, "no such rule"),
        ("the", {"repetition_penalty": 0}, "above 0"),
        ("the", {"seed": -1}, "0 or more"),
        ("the", {"temprature": 1}, "did you mean 'temperature'"),
    ]


@pytest.mark.parametrize(("prompts", "rules", "said"), lines())
def test_what_cannot_be_is_refused_in_one_line(
    model: nn.Module, prompts: Any, rules: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        dougong.generate(model, prompts, **rules)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("bert-base", {"head": "masked-language", "vocab_size": 50}, "reads texts from both sides"),
        ("vit-micro", {}, "it reads no tokens"),
        ("lstm-micro", {"vocab_size": 50, "image_size": None, "n_classes": 3}, "does not write"),
    ],
)
def test_models_that_do_not_write_are_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        dougong.generate(dougong.build(name, **changes), [1, 2])


def test_an_encoder_decoder_says_how_it_begins(tmp_path: Path) -> None:
    pair("t5", tmp_path)
    ours = dougong.load(tmp_path)
    ours.card = {}
    with pytest.raises(UserError, match="does not say with which token it begins"):
        dougong.generate(ours, PROMPTS)
    found = dougong.generate(ours, PROMPTS, start=0, max_new_tokens=5)
    assert [len(one.tokens) for one in found] == [5] * 4
    with pytest.raises(UserError, match="no tokenizer beside the model"):
        dougong.generate(ours, "a text", start=0)
    with pytest.raises(UserError, match="one text is streamed"):
        dougong.stream(ours, PROMPTS, start=0)


@pytest.mark.parametrize("content", ["{", "[]", '{"bad_words_ids": [[1, 2]]}'])
def test_a_broken_generation_config_is_named(content: str, tmp_path: Path) -> None:
    pair("gpt2", tmp_path)
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(UserError, match=r"generation_config\.json"):
        dougong.generate(dougong.load(tmp_path), PROMPTS)


@pytest.mark.parametrize("family", ["gru", "lstm", "transformer"])
def test_models_of_our_own_write_what_they_score_highest(family: str) -> None:
    if family == "transformer":
        model = dougong.build(family, vocab_size=61, d_model=16, n_layers=1, n_heads=2, d_ff=20, seed=2)
    else:
        model = dougong.build(family, vocab_size=61, d_model=16, n_layers=2, head="causal-language", seed=2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.7 if weight.dim() > 1 else weight)
    rules: dict[str, Any] = {"start": 3, "end": ()} if family == "transformer" else {"end": ()}
    found = dougong.generate(model.eval(), PROMPTS, max_new_tokens=15, **rules)
    for prompt, one in zip(PROMPTS, found, strict=True):
        text = [3] if family == "transformer" else list(prompt)
        for _ in range(15):
            inputs = (torch.tensor([prompt]),) if family == "transformer" else ()
            text.append(int(model(*inputs, torch.tensor([text])).logits[0, -1].argmax()))
        assert list(one.tokens) == text[-15:]
