"""Guessed tokens, judged by the model: the same texts as without, and the same distribution where they are drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from support.numbers import shake
from support.writers import with_tokenizer
from torch import nn

import dougong
from dougong.errors import UserError
from dougong.runtime.admitting import Request
from dougong.runtime.choosing import Chooser, Rules
from dougong.runtime.settings import Settings
from dougong.runtime.speculating import Guess, Lookup, Place, Speculation
from dougong.runtime.writer import Writer

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"architecture": "gpt2", "max_length": 96},
    "llama": {"architecture": "llama", "n_kv_heads": 2, "max_length": 96},
    "mistral": {"architecture": "mistral", "n_kv_heads": 2, "window": 3, "max_length": 96},
    "transformer": {"architecture": "transformer"},
}
PROMPTS = [[5, 9, 3, 5, 9], [7], [8, 3, 4, 1, 2, 8, 3, 4, 6]]


def model_of(name: str, seed: int, vocab_size: int = 13, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    layers = 1 if name == "transformer" else 2
    config = {"vocab_size": vocab_size, "d_model": 16, "n_layers": layers, "n_heads": 4, "d_ff": 24, **SIZES[name]}
    return shake(dougong.build(config | changes)).eval()


def near(model: nn.Module, scale: float) -> nn.Module:
    """A draft that is often right: the same model with weights that are a little off."""
    torch.manual_seed(5)
    draft = dougong.build(dict(model.config)).eval()
    draft.load_state_dict(model.state_dict())
    with torch.no_grad():
        for weight in draft.parameters():
            weight.add_(torch.randn_like(weight) * scale)
    return draft


@pytest.mark.parametrize("how", ["good draft", "bad draft", "lookup"])
@pytest.mark.parametrize("name", SIZES)
def test_the_texts_are_those_without_guesses(name: str, how: str) -> None:
    """Prompts of any length, windows that have long been left behind, rows that end at different times."""
    model = model_of(name, 1)
    rules: dict[str, Any] = {
        "max_new_tokens": 40,
        "end": (2, 8),
        "repetition_penalty": 1.2,
        "min_new_tokens": 5,
        **({"start": 0} if name == "transformer" else {}),
    }
    guess: dict[str, Any] = {"lookup": 3}
    if how != "lookup":
        guess = {"draft": near(model, 0.002) if how == "good draft" else model_of(name, 2)}
    plain = dougong.generate(model, PROMPTS, **rules, banned=[4])
    found = dougong.generate(model, PROMPTS, **rules, banned=[4], **guess)
    assert [one.tokens for one in found] == [one.tokens for one in plain]
    assert all(one.proposed == one.accepted == 0 for one in plain)
    proposed, accepted = (sum(getattr(one, name) for one in found) for name in ("proposed", "accepted"))
    assert 0 <= accepted <= proposed > 0
    if how == "good draft":
        assert accepted > proposed / 2


@pytest.mark.parametrize("rules", [{"temperature": 0.8}, {"top_k": 4, "samples": 2}, {"top_p": 0.8, "seed": 3}])
def test_a_lookup_draws_the_very_tokens_that_are_drawn_without(rules: dict[str, Any]) -> None:
    model = model_of("llama", 1)
    plain = dougong.generate(model, PROMPTS, max_new_tokens=30, end=(), **rules)
    assert dougong.generate(model, PROMPTS, max_new_tokens=30, end=(), lookup=2, **rules) == plain


def pairs(found: list[Any]) -> torch.Tensor:
    """How often each pair of a second and third token was written, (4 * 4,)."""
    return torch.bincount(torch.tensor([one.tokens[1] * 4 + one.tokens[2] for one in found]), minlength=16).double()


def surprise(counts: torch.Tensor, shares: torch.Tensor) -> float:
    """Pearson's chi-square of counts against probabilities."""
    expected = shares * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_drawn_tokens_have_the_models_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi-square with 15 degrees of freedom: above 50 once in 80,000 times."""
    model, draft = model_of("llama", 1, vocab_size=4), model_of("llama", 2, vocab_size=4)
    prompt, rules = [1, 2, 3], {"temperature": 0.7, "max_new_tokens": 4, "end": (), "seed": 1}
    texts = torch.tensor([[*prompt, *rest] for rest in product(range(4), repeat=3)])
    with torch.no_grad():
        shares = (model(texts).logits.double() / 0.7).softmax(-1)
    steps = torch.stack([shares[torch.arange(64), 2 + step, texts[:, 3 + step]] for step in range(3)])
    exact = steps.prod(0).view(4, 16).sum(0)
    assert exact.sum() == pytest.approx(1)
    found = dougong.generate(model, prompt, samples=1000, draft=draft, **rules)
    rejected = sum(one.proposed - one.accepted for one in found)
    assert 100 < rejected < sum(one.proposed for one in found) - 100
    assert surprise(pairs(found), exact) < 50
    with monkeypatch.context() as patched:  # the control: whatever is guessed is taken
        patched.setattr(Chooser, "judge", lambda self, shares, guess, guessed, row: guess)
        assert surprise(pairs(dougong.generate(model, prompt, samples=1000, draft=draft, **rules)), exact) > 100


def test_a_guess_is_taken_as_often_as_it_should_be() -> None:
    p, q = torch.tensor([0.5, 0.2, 0.3, 0.0]).double(), torch.tensor([0.1, 0.6, 0.2, 0.1]).double()
    choose = Chooser(Settings(temperature=1.0), [0])
    counts = torch.zeros(4)
    taken = 0
    for _ in range(4000):
        guess = int(choose.draw(q[None], [0])[0])
        token = choose.judge(p, guess, q, 0)
        counts[token] += 1
        taken += token == guess
    assert (counts / 4000 - p).abs().max() < 0.03 and counts[3] == 0
    assert abs(taken / 4000 - float(torch.minimum(p, q).sum())) < 0.03  # corollary 3.6
    assert (counts / 4000 - q).abs().max() > 0.3


def test_the_same_seed_gives_the_same_text_alone_as_among_others() -> None:
    model = model_of("gpt2", 1)
    rules: dict[str, Any] = {"draft": near(model, 0.1), "temperature": 1.0, "max_new_tokens": 20, "end": ()}
    found = dougong.generate(model, PROMPTS, samples=2, seed=4, **rules)
    assert dougong.generate(model, PROMPTS[2], samples=2, seed=4, **rules) == found[2]
    assert found[2][0].tokens != found[2][1].tokens
    assert dougong.generate(model, PROMPTS, samples=2, seed=5, **rules) != found


def test_samples_share_the_reading_of_their_prompt() -> None:
    model, prompt = model_of("mistral", 1), [3, 1, 4, 1, 5, 9, 2, 6] * 4
    rules: dict[str, Any] = {"temperature": 1.0, "max_new_tokens": 12, "end": (), "samples": 3}
    plain = dougong.generate(model, prompt, **rules)
    found = dougong.generate(model, prompt, lookup=2, **rules)
    assert found == plain and [one.read for one in found] == [32, 1, 1] and [one.read for one in plain] == [32, 0, 0]


def test_stop_strings_and_streams(tmp_path: Any) -> None:
    model = dougong.load(with_tokenizer(tmp_path))
    for guess in ({"lookup": 2}, {"draft": near(model, 0.05)}):
        free = dougong.generate(model, "the", max_new_tokens=40)
        assert dougong.generate(model, "the", max_new_tokens=40, **guess) == free
        stop = free.text[9:13]
        found = dougong.generate(model, "the", max_new_tokens=40, stop=stop, **guess)
        assert found == dougong.generate(model, "the", max_new_tokens=40, stop=stop) and found.reason == "stop"
        writing = dougong.stream(model, "the", max_new_tokens=40, **guess)
        assert "".join(writing) == free.text and writing.generation == free and writing.generation.proposed
        whole = dougong.generate(model, [1] * 80, **guess)  # up to the last of 96 places
        assert whole == dougong.generate(model, [1] * 80) and len(whole.tokens) == 17


def test_a_draft_with_as_many_tokens_that_are_others_is_refused(tmp_path: Path) -> None:
    model = dougong.load(with_tokenizer(tmp_path))
    other = tmp_path / "other"
    dougong.save(model, other)
    assert dougong.generate(model, "the", max_new_tokens=3, draft=dougong.load(other)).proposed
    said = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = said["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    (other / "tokenizer.json").write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(UserError, match="draft: has another vocabulary: other tokens; give a model with the same"):
        dougong.generate(model, "the", max_new_tokens=3, draft=dougong.load(other))


def test_a_draft_with_fewer_places_guesses_as_long_as_it_can() -> None:
    model = model_of("gpt2", 1)
    draft = model_of("gpt2", 2, max_length=16)
    found = dougong.generate(model, PROMPTS, max_new_tokens=40, end=(), draft=draft)
    assert found == dougong.generate(model, PROMPTS, max_new_tokens=40, end=())
    with pytest.raises(UserError, match="has 17 tokens, and the draft reads 16; leave the draft out"):
        dougong.generate(model, [1] * 17, draft=draft)


def test_a_lookup_finds_what_followed_the_newest_tokens() -> None:
    lookup = Lookup(2, reads=False)
    text = [1, 2, 3, 4, 1, 2]
    place = Place(0, text, 0, 9)
    lookup.begin(text, place)
    assert lookup.guess(place, 3).tokens == [3, 4, 1] and lookup.guess(place, 1).tokens == [3]
    text += [9, 2]  # "9 2" is new; after a 2, the newest was 9
    assert lookup.guess(place, 2).tokens == [9, 2]
    text += [5]
    assert lookup.guess(place, 2).tokens == []
    reads = Lookup(2, reads=True)
    reads.begin([6, 7, 8], Place(0, [0], 0, 9))
    assert reads.guess(Place(0, [0, 6], 1, 9), 4).tokens == [7, 8, 0, 6]


def test_what_is_always_wrong_is_asked_less_and_less_often() -> None:
    class Wrong:
        asked: list[int] = []  # noqa: RUF012

        def begin(self, prompt: Sequence[int], place: Place) -> None:
            pass

        def guess(self, place: Place, count: int) -> Guess:
            self.asked.append(count)
            return Guess([4] * count)  # which is banned

    writer, settings, wrong = Writer(model_of("llama", 1), whole=True), Settings(banned=[4]), Wrong()
    rules, choose = Rules(settings), Chooser(settings, [0])
    writing = Speculation(writer, wrong, rules, choose, [Request([1, 2], [0], 60)])
    found: list[int] = []
    with torch.inference_mode():
        while len(found) < 60:
            found += [token for _, token in writing.advance()]
    assert wrong.asked == [4, 3, 2, *[1] * 7]  # pauses of 1, 2, 4, 8, 16 and 16 steps between the last ones
    assert found == list(dougong.generate(writer.model, [1, 2], max_new_tokens=60, end=(), banned=[4]).tokens)


def test_the_same_weights_in_fewer_bits_are_a_draft() -> None:
    model = model_of("llama", 1, d_model=32, d_ff=64)
    draft = dougong.prepare(near(model, 0.0), "int8")
    found = dougong.generate(model, PROMPTS, max_new_tokens=30, end=(), draft=draft)
    assert found == dougong.generate(model, PROMPTS, max_new_tokens=30, end=())
    assert sum(one.accepted for one in found) > 0.5 * sum(one.proposed for one in found)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"draft": "small"}, "draft: str is no model"),
        ({"lookup": -1}, "whole number of 0 or more"),
        ({"lookup": 2, "beams": 2}, "beams: do not go with lookup"),
        ({"lookup": 2, "draft": nn.Identity()}, "draft: and lookup both guess"),
        ({"draft": nn.Identity()}, "does not write"),
    ],
)
def test_what_cannot_guess_is_refused_in_one_line(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        dougong.generate(model_of("gpt2", 1), PROMPTS, **rules)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_drafts_that_do_not_fit_are_refused() -> None:
    model, recurrent = model_of("gpt2", 1), {"head": "causal-language", "vocab_size": 13, "d_model": 8, "n_layers": 1}
    for draft, said in (
        (model_of("gpt2", 1, vocab_size=14), "draft: has another vocabulary: 14 tokens, and the model has 13"),
        (dougong.build("gru", **recurrent), "draft: takes tokens back, and this one's recurrence cannot"),
    ):
        with pytest.raises(UserError, match=said):
            dougong.generate(model, PROMPTS, draft=draft)
    with pytest.raises(UserError, match="draft: is a decoder and the model an encoder-decoder"):
        dougong.generate(model_of("transformer", 1), PROMPTS, start=0, draft=model)
    with pytest.raises(UserError, match="lookup: takes tokens back, and this model's recurrence cannot"):
        dougong.generate(dougong.build("gru", **recurrent), PROMPTS, lookup=2)
