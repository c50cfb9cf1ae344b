"""More prompts than places: those that wait take the places of those that have ended, and nobody notices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from support.small import built
from torch import Tensor, nn

import dougong
from dougong.parts.cache import Cache
from dougong.runtime import admitting
from dougong.runtime.writer import Writer

WRITERS = {
    "gpt2": "gpt2", "llama": "llama", "windows": "mistral", "windows in some layers": "gemma2", "experts": "mixtral",
    "a recurrence": "gru that writes", "an encoder": "t5", "an encoder and learned positions": "bart",
}  # fmt: skip
PROMPTS = [[3, 5, 7, 2], [4, 6], [8, 1, 2, 9, 3]]
LATER = [[1, 2, 3], [7, 9, 4, 4, 2, 5, 8]]


@pytest.mark.parametrize("name", WRITERS.values(), ids=list(WRITERS))
def test_rows_that_join_later_are_scored_as_if_they_stood_alone(name: str) -> None:
    """Rows leave and come while others go on; each one's scores are those of the whole text read at once."""
    model = shake(built(name)).eval()
    writer = Writer(model, start=0)
    texts = [list(prompt) for prompt in (*PROMPTS, *LATER)]
    written: list[list[int]] = [[] for _ in texts]
    alive = [0, 1, 2]
    with torch.inference_mode():
        scores = writer.begin(PROMPTS, 5)
        for step in range(4):
            for place, row in enumerate(alive):
                text = ([texts[row]], [[0, *written[row]]]) if writer.reads else ([[*texts[row], *written[row]]],)
                right = model(*map(torch.tensor, text)).logits[0, -1]
                assert_equal_to_rounding(scores[place], right)
                if place:
                    assert_different(scores[place - 1], right)
            if step == 1:  # the longest leaves
                writer.keep(torch.tensor([1, 0]))
                alive = [1, 0]
            for row in alive:
                written[row].append((row + step) % 10)
            scores = writer.step(torch.tensor([written[row][-1] for row in alive]))
            if step == 2:
                scores = torch.cat((scores, writer.join(LATER, 4)))
                alive += [3, 4]


def many(count: int) -> list[list[int]]:
    numbers = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 14, (count,), generator=numbers).tolist()
    return [torch.randint(0, 13, (size,), generator=numbers).tolist() for size in sizes]


def model_of(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(1)
    config = {"architecture": name, "vocab_size": 13, "d_model": 16, "n_layers": 2, "n_heads": 4, "max_length": 40}
    return shake(dougong.build(config | changes), 0.5).eval()


@pytest.mark.parametrize("rules", [{}, {"temperature": 0.4, "samples": 3, "seed": 2}], ids=["best", "drawn"])
@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_many_prompts_are_answered_as_each_alone(
    name: str, rules: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than the places, of many lengths, some of which leave few places to write in."""
    model = model_of(name, **({"window": 5, "n_kv_heads": 2, "d_ff": 24} if name == "mistral" else {}))
    rules = rules | ({"max_new_tokens": 20} if name == "mistral" else {})
    samples = "samples" in rules
    monkeypatch.setattr(admitting, "PLACES", 7)
    monkeypatch.setattr(admitting, "ENOUGH", 2)
    steps: list[int] = []
    step = Writer.step

    def counted(self: Writer, tokens: Tensor) -> Tensor:
        steps.append(len(tokens))
        return step(self, tokens)

    monkeypatch.setattr(Writer, "step", counted)
    prompts = many(25)
    shown: list[int] = []
    found = dougong.generate(model, prompts, end=(5,), show=shown.append, **rules)
    rows = [one for several in found for one in (several if samples else [several])]
    assert sum(shown) == sum(len(one.tokens) for one in rows)
    assert len({len(one.tokens) for one in rows}) > 3  # they end at different times
    assert max(steps) <= 7
    assert sum(steps) / len(steps) > 4  # the batch stays full: without admission it would fall to one again and again
    for prompt, several in zip(prompts, found, strict=True):
        assert dougong.generate(model, prompt, end=(5,), **rules) == several


def test_how_long_a_text_may_be_does_not_depend_on_what_stands_beside_it() -> None:
    model = model_of("gpt2")
    found = dougong.generate(model, [[1] * 38, [2, 3]], end=())
    assert [len(one.tokens) for one in found] == [3, 39]


def test_joining_aligns_the_ends() -> None:
    layers = [nn.Identity(), nn.Identity()]

    def filled(rows: int, length: int, first: float) -> Cache:
        cache = Cache(length + 2)
        for reach, layer in zip((None, 2), layers, strict=True):
            keys = first + torch.arange(length).float()[None, None, :, None].expand(rows, 1, -1, 1)
            cache.extend(layer, keys, -keys, reach)
        cache.advance(length)
        return cache

    cache = filled(2, 3, 10.0)
    cache.starts = torch.tensor([0, 1])
    cache.join(filled(1, 5, 20.0))
    assert cache.length == 5 and cache.max_length == 7 and cache.starts is not None
    assert cache.starts.tolist() == [2, 3, 0]
    whole, windowed = (cache.known(layer) for layer in layers)
    assert whole is not None and windowed is not None
    assert whole.keys[:, 0, :5, 0].tolist() == [[0, 0, 10, 11, 12]] * 2 + [[20, 21, 22, 23, 24]]
    assert whole.values[2, 0, :5, 0].tolist() == [-20, -21, -22, -23, -24] and whole.keys.shape[2] == 7
    assert windowed.keys[:, 0, : windowed.used, 0].tolist() == [[11, 12]] * 2 + [[23, 24]]


@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize("name", WRITERS.values(), ids=list(WRITERS))
def test_places_of_rows_that_left_are_used_again(name: str, spare: int) -> None:
    """Nothing but the row that changes its place and the new ones is copied, until all columns are full."""
    model = shake(built(name)).eval()
    writer = Writer(model, start=0)
    writer.spare = spare
    waiting = [[1, 2], [7], [9, 4], [6, 6, 1], [5]]
    texts, written = [list(prompt) for prompt in PROMPTS], [[] for _ in PROMPTS]  # type: list[list[int]], Any
    alive = [0, 1, 2]
    with torch.inference_mode():
        scores = writer.begin(PROMPTS, 7)
        buffers = [kept.keys.data_ptr() for kept in writer.cache._layers.values()]
        for step in range(11):
            for place, row in enumerate(alive):
                text = ([texts[row]], [[0, *written[row]]]) if writer.reads else ([[*texts[row], *written[row]]],)
                assert_equal_to_rounding(scores[place], model(*map(torch.tensor, text)).logits[0, -1])
            order = {1: [2, 1], 3: [0, 2], 4: [2, 1], 8: [0, 2], 9: [2, 1]}.get(step)
            if order is not None:  # one leaves, and the last takes its place
                writer.settle(order)
                alive = [alive[place] for place in order]
            for row in alive:
                written[row].append((row + step) % 10)
            scores = writer.step(torch.tensor([written[row][-1] for row in alive]))
            if len(alive) < 3:
                scores = torch.cat((scores, writer.join([waiting[0]], 6)))
                texts.append(waiting.pop(0))
                written.append([])
                alive.append(len(texts) - 1)
        if not writer.reads:
            assert [kept.keys.data_ptr() for kept in writer.cache._layers.values()] == buffers
    assert not waiting


def test_rows_that_settle_keep_their_places_or_come_from_behind() -> None:
    cache, layer = Cache(4), nn.Identity()
    keys = torch.arange(4.0)[:, None, None, None].expand(4, 1, 2, 1)
    cache.extend(layer, keys, -keys)
    cache.advance(2)
    kept = cache.known(layer)
    assert kept is not None
    with pytest.raises(ValueError, match="do not keep their places"):
        cache.settle([1, 0, 2])
    before = kept.keys.data_ptr()
    cache.settle([0, 3, 2])
    assert kept.keys[:, 0, :2, 0].tolist() == [[0, 0], [3, 3], [2, 2]] and kept.keys.data_ptr() == before
    assert kept.values[:, 0, 1, 0].tolist() == [0, -3, -2]
    cache.reorder(torch.tensor([2, 0]))
    assert kept.keys[:, 0, 0, 0].tolist() == [2, 0] and kept.keys.data_ptr() != before  # a control
