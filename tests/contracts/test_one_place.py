"""What every family with a stack of tokens promises: a token asked for alone is answered as among all."""

from __future__ import annotations

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from support.small import LENGTH, VARIANTS, built, inputs_of, is_picture
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import dougong
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.parts.cache import Cache
from dougong.parts.masks import Explicit
from dougong.parts.output import deferring, place_of

NAMES = [
    name for name, config in VARIANTS.items()
    if isinstance(model := dougong.build(config, device="meta"), Model) and isinstance(model.body, Stack)
]  # fmt: skip
LENGTHS = torch.tensor([LENGTH, 2, 5])


def embedded(model: Model) -> tuple[Tensor, dict[str, object]]:
    found = model.embedding(*inputs_of(model))
    return found.x, {"grid": found.grid, "prefix": found.prefix}


def at(hidden: Tensor, only: int, lengths: Tensor | None) -> Tensor:
    places = torch.zeros(len(hidden), dtype=torch.long)
    if only:
        places = (torch.full((len(hidden),), hidden.shape[1]) if lengths is None else lengths) - 1
    return hidden[torch.arange(len(hidden)), places][:, None]


@pytest.mark.parametrize("only", [0, -1])
@pytest.mark.parametrize("name", NAMES)
def test_one_token_alone_is_the_one_among_all(name: str, only: int) -> None:
    model = shake(built(name))
    assert isinstance(model, Model) and isinstance(model.body, Stack)
    x, others = embedded(model)
    for lengths in (None,) if is_picture(model) else (None, LENGTHS, torch.tensor([5, 5, 2])):
        with torch.no_grad():
            whole = model.body(x, lengths=lengths, **others)
            found = model.body(x, lengths=lengths, only=only, **others)
        assert found.shape == (3, 1, whole.shape[-1])
        assert_equal_to_rounding(found, at(whole, only, lengths))
        assert_different(found, at(whole, -1 - only, lengths))
    table = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    with torch.no_grad():
        whole = model.body(x, mask=Explicit(table), **others)
        assert_equal_to_rounding(model.body(x, mask=Explicit(table), only=only, **others), at(whole, only, None))


@pytest.mark.parametrize("name", [name for name in NAMES if VARIANTS[name]["architecture"] in ("bert", "vit", "llama")])
def test_the_last_block_does_less_for_it(name: str) -> None:
    """And the whole, where somebody watches it."""
    model = built(name)
    assert isinstance(model, Model) and isinstance(model.body, Stack)
    x, others = embedded(model)

    def flops(**given: object) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.body(x, **others, **given)
        return int(counter.get_total_flops())

    assert flops(only=-1) < 0.9 * flops()
    seen: list[Tensor] = []
    watch = model.body.blocks[-1].register_forward_hook(lambda _, given, answer: seen.append(answer))
    assert flops(only=-1) == flops() and seen[0].shape == x.shape
    watch.remove()
    assert flops(only=-1) < 0.9 * flops()


@pytest.mark.parametrize("name", NAMES)
def test_logits_alone_are_those_of_the_whole_answer(name: str) -> None:
    model = shake(built(name))
    assert isinstance(model, Model)
    inputs = inputs_of(model) + (() if is_picture(model) else (LENGTHS,))
    with torch.no_grad():
        whole = model(*inputs)
        with deferring(alone=True):
            found, place = model(*inputs), place_of(model.head)
        assert place_of(model.head) is None, "outside nobody asked"
    if whole.logits is not None:
        assert_equal_to_rounding(found.logits, whole.logits)
    assert (found.hidden is None) == (place is not None)


@pytest.mark.parametrize("only", [0, -1])
def test_what_is_learnt_from_one_token_is_the_same(only: int) -> None:
    model = shake(built("llama"))
    assert isinstance(model, Model) and isinstance(model.body, Stack)
    x, others = embedded(model)

    def gradients(hidden: Tensor) -> list[Tensor]:
        model.zero_grad()
        hidden.square().sum().backward()
        return [each.grad.clone() for each in model.body.parameters() if each.grad is not None]

    x = x.detach()
    pairs = zip(
        gradients(model.body(x, lengths=LENGTHS, only=only, **others)),
        gradients(at(model.body(x, lengths=LENGTHS, **others), only, LENGTHS)),
        strict=True,
    )
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma2"])
def test_a_prompt_whose_last_token_alone_is_asked_leaves_the_same_cache(name: str) -> None:
    model = shake(built(name))
    assert isinstance(model, Model) and isinstance(model.body, Stack)
    x, others = embedded(model)
    new = x[:, :1].detach()
    with torch.no_grad():
        caches = [Cache(LENGTH + 1), Cache(LENGTH + 1)]
        model.body(x, lengths=LENGTHS, cache=caches[0], **others)
        model.body(x, lengths=LENGTHS, cache=caches[1], only=-1, **others)
        after = [model.body(new, cache=cache, **others) for cache in caches]
    assert_equal_to_rounding(after[1], after[0])


def test_heads_say_what_they_look_at() -> None:
    found: dict[str, set[int | None]] = {}
    for name in NAMES:
        head: nn.Module | None = dougong.build(VARIANTS[name], device="meta").head
        found.setdefault(type(getattr(head, "pool", head)).__name__, set()).add(getattr(head, "place", None))
    assert found["First"] == {0} and found["Pooler"] == {0}
    assert all(places == {None} for kind, places in found.items() if kind not in ("First", "Pooler", "Last"))
