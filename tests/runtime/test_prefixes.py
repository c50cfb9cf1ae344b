"""What prompts begin with is read once, and every answer is the one without that."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.numbers import assert_different, assert_equal_to_rounding, shake
from support.writers import with_tokenizer
from torch import nn

import dougong
from dougong.errors import UserError
from dougong.parts.cache import Cache
from dougong.runtime.prefixes import LEAST, common, worth_reading_once
from dougong.runtime.writer import Writer

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_heads": 4, "max_length": 120},
    "llama": {"n_heads": 4, "n_kv_heads": 2, "d_ff": 24, "max_length": 120},
    "mistral": {"n_heads": 4, "n_kv_heads": 2, "d_ff": 24, "window": 6, "max_length": 120},
    "gru": {"head": "causal-language"},
}
BEGINNING = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]  # 20 tokens
PROMPTS = [
    [*BEGINNING, 1], [*BEGINNING, 2, 2, 7], [7, 7], [*BEGINNING[:17], 11, 12], [*BEGINNING, *BEGINNING, *BEGINNING, 4],
    BEGINNING, [*BEGINNING, 2, 2, 8, 1],
]  # fmt: skip


def model_of(name: str) -> nn.Module:
    torch.manual_seed(1)
    config = {"architecture": name, "vocab_size": 13, "d_model": 16, "n_layers": 2, **SIZES[name]}
    return shake(dougong.build(config)).eval()


@pytest.mark.parametrize("name", SIZES)
def test_scores_after_a_prefix_are_those_of_the_whole_prompt(name: str) -> None:
    """Prompts with all of it, a part of it or nothing of it, longer and shorter ones, and steps after them."""
    model = model_of(name)
    writer, plain = Writer(model), Writer(model)
    with torch.inference_mode():
        prefix = writer.prefix(BEGINNING)
        found, right = writer.begin(PROMPTS, 6, prefix=prefix), plain.begin(PROMPTS, 6)
        assert_equal_to_rounding(found, right)
        for step in range(4):
            tokens = torch.arange(len(PROMPTS)) + step
            found, right = writer.step(tokens), plain.step(tokens)
            assert_equal_to_rounding(found, right)
        assert_different(found[1:], right[:-1])
        if name != "gru":  # a state cannot be taken from the middle
            assert writer.read[0] < 21 and sum(writer.read) < sum(map(len, PROMPTS)) - 60
        other = writer.prefix([*BEGINNING[:-1], 5])  # the control: keys of other tokens would be seen
        other.tokens = prefix.tokens
        assert_different(writer.begin(PROMPTS[:1], 6, prefix=other), plain.begin(PROMPTS[:1], 6))


@pytest.mark.parametrize("name", ["llama", "mistral", "gru"])
def test_one_call_reads_what_its_prompts_share_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(name)
    rules: dict[str, Any] = {"max_new_tokens": 12, "end": (), "temperature": 1.0}
    found = dougong.generate(model, PROMPTS, **rules)
    assert found == [dougong.generate(model, prompt, **rules) for prompt in PROMPTS]
    assert 0 < sum(one.read for one in found) < sum(map(len, PROMPTS))
    monkeypatch.setattr("dougong.runtime.job.worth_reading_once", lambda prompts: [])
    plain = dougong.generate(model, PROMPTS, **rules)
    assert plain == found and [one.read for one in plain] == [len(prompt) for prompt in PROMPTS]


def test_a_prefix_serves_many_calls(tmp_path: Any) -> None:
    model = dougong.load(with_tokenizer(tmp_path))
    text = "the quick brown fox jumps over the lazy dog. 木构件不用"
    rules = dougong.prefix(model, text)
    assert len(rules) >= LEAST and rules.n_bytes > 0
    for kind in ({}, {"top_k": 5, "samples": 2}, {"lookup": 2}):
        plain = dougong.generate(model, text + "一根钉子", max_new_tokens=10, **kind)
        found = dougong.generate(model, text + "一根钉子", max_new_tokens=10, prefix=rules, **kind)
        assert found == plain
        one, two = (each[0] if isinstance(each, list) else each for each in (found, plain))
        assert one.read <= len(one.prompt) - LEAST and two.read == len(two.prompt)
    writing = dougong.stream(model, text + "é", max_new_tokens=10, prefix=rules)
    assert "".join(writing) == dougong.generate(model, text + "é", max_new_tokens=10).text
    assert writing.generation is not None and writing.generation.read < len(writing.generation.prompt)
    talk = [{"role": "system", "content": "木构件不用一根钉子。 the quick brown fox"}, {"role": "user", "content": "é"}]
    known = dougong.prefix(model, talk[:1])
    found = dougong.generate(model, talk, max_new_tokens=5, prefix=known)
    assert found == dougong.generate(model, talk, max_new_tokens=5) and found.read < len(found.prompt)
    plain = dougong.generate(model, "fox", max_new_tokens=5)
    assert dougong.generate(model, "fox", max_new_tokens=5, prefix=known) == plain


def test_what_is_no_prefix_is_refused(tmp_path: Any) -> None:
    model, other = model_of("llama"), dougong.prefix(model_of("llama"), BEGINNING)
    for said, call in {
        "prefix: was read by another model": lambda: dougong.generate(model, [1], prefix=other),
        "prefix: str is none": lambda: dougong.generate(model, [1], prefix="the"),
        "beams: do not go with prefix": lambda: dougong.generate(
            model, [1], beams=2, prefix=dougong.prefix(model, BEGINNING)
        ),
        "prefix: is several texts": lambda: dougong.prefix(model, [[1], [2]]),
        "has no tokens": lambda: dougong.generate(model, [[]], prefix=dougong.prefix(model, BEGINNING)),
        "reads a prompt from both sides": lambda: dougong.prefix(
            dougong.build("transformer", vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8), [1, 2]
        ),
    }.items():
        with pytest.raises(UserError, match=said):
            call()


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=24), min_size=1, max_size=6), st.integers(0, 23))
def test_the_beginning_that_saves_most_is_found(ends: list[list[int]], cut: int) -> None:
    """Against every beginning of every prompt."""
    prompts = [[0] * (LEAST + cut - row) + end for row, end in enumerate(ends)]

    def saved(beginning: list[int]) -> int:
        having = sum(prompt[: len(beginning)] == beginning and len(prompt) > len(beginning) for prompt in prompts)
        return max(0, having - 1) * len(beginning) if len(beginning) >= LEAST else 0

    best = max(saved(prompt[:size]) for prompt in prompts for size in range(len(prompt) + 1))
    found = worth_reading_once(prompts)
    assert saved(found) == best and bool(found) == (best > 0)
    assert common([1, 2, 3], [1, 2, 4]) == 2 and common([], [1]) == 0


def test_tokens_are_taken_back_as_if_they_had_not_been_read() -> None:
    writer, plain = Writer(model_of("mistral"), whole=True), Writer(model_of("mistral"))
    with torch.inference_mode():
        writer.begin([BEGINNING], 30), plain.begin([BEGINNING], 30)
        for _ in range(3):
            writer.steps(torch.tensor([[1, 2, 3, 4, 5]]))
            writer.take_back(5)
        assert_equal_to_rounding(writer.step(torch.tensor([6])), plain.step(torch.tensor([6])))
        plain.step(torch.tensor([1]))
        assert_different(writer.step(torch.tensor([2])), plain.step(torch.tensor([2])))


def test_what_is_forgotten_cannot_be_taken_back() -> None:
    layer, keys = nn.Identity(), torch.zeros(1, 1, 9, 2)
    cache = Cache(20)
    cache.extend(layer, keys, keys, 2)
    cache.advance(9)
    with pytest.raises(ValueError, match="what stood before them is forgotten"):
        cache.rewind(3)
    with pytest.raises(ValueError, match="does not hold"):
        cache.first([4], 20)
    cache.leave(layer, (torch.zeros(1, 1, 2),))
    with pytest.raises(ValueError, match="a recurrence cannot take back"):
        cache.rewind(1)
