"""What every family promises still holds of prepared models: packed, in bfloat16, in whole numbers, compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.numbers import assert_different, gap, shake
from support.small import LENGTH, TARGET_LENGTH, VARIANTS, inputs_of, is_pair, is_picture, is_towers, run
from torch import nn

import dougong
from dougong.errors import UserError
from dougong.heads.losses import token_losses
from dougong.parts.output import deferring
from dougong.runtime import kernels
from dougong.runtime.kernels import Packed
from dougong.runtime.quantised import Codes, Quantised, rounded

LENGTHS, TARGET_LENGTHS = torch.tensor([LENGTH, 2, 5]), torch.tensor([3, TARGET_LENGTH, 1])
# One variant of each family; widths that whole numbers can be made of.
FIRST = {config["architecture"]: name for name, config in reversed(VARIANTS.items())}
FIRST |= {name: name for name in VARIANTS if name in FIRST}
WIDER = {"d_model": 32, "d_ff": 64}
# Of the largest answer: how far what is computed in other ways may lie apart.
WITHIN = {"float32": 2e-5, "bf16": 0.04, "int8": 2e-5, "int4": 2e-5}
NO_GROUPS = {"clip", "gru4rec", "segformer", "textcnn", "unet"}
"""Families none of whose layers, at these sizes, has whole groups of 32 inputs."""
EACH = pytest.mark.parametrize("family", sorted(FIRST))
PRECISIONS = pytest.mark.parametrize("precision", list(WITHIN))


def built(family: str, precision: str, monkeypatch: pytest.MonkeyPatch | None = None, **given: Any) -> nn.Module:
    config = {**VARIANTS[FIRST[family]]}
    config |= {key: value for key, value in WIDER.items() if key in config}
    torch.manual_seed(0)
    model = shake(dougong.build(config, seed=0).eval(), 0.1)
    if monkeypatch is not None:  # packed wherever it can be, whether it pays or not
        monkeypatch.setattr("dougong.runtime.preparing.gains", lambda layer: kernels.there())
        monkeypatch.setenv("DOUGONG_NATIVE", "0")
    try:
        return dougong.prepare(model, precision, **given)
    except UserError as refused:
        if "multiple of 32" in refused.what and family in NO_GROUPS:
            pytest.skip(f"no layer of {family} at this size has whole groups of 32 inputs")
        raise


@EACH
@PRECISIONS
def test_a_batch_equals_one_by_one_and_padding_changes_nothing(
    family: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(family, precision, monkeypatch)
    inputs = inputs_of(model)
    if any(side.dtype == torch.bfloat16 for side in inputs):
        inputs = tuple(side.float() if side.is_floating_point() else side for side in inputs)
    with torch.inference_mode():
        if is_picture(model) or is_towers(model):
            alone = torch.cat([run(model, tuple(side[row : row + 1] for side in inputs)) for row in range(3)])
            assert gap(run(model, inputs), alone) < WITHIN[precision]
            return
        sides = (LENGTHS, TARGET_LENGTHS) if is_pair(model) else (LENGTHS, None)
        together = run(model, inputs, *sides)
        for row in range(3):
            lengths = [int(lengths[row]) for lengths in sides if lengths is not None]
            cut = tuple(side[row : row + 1, :length] for side, length in zip(inputs, lengths, strict=True))
            alone = run(model, cut)[0]
            same = together[row] if alone.dim() == 1 else together[row, : len(alone)]
            assert gap(same, alone) < WITHIN[precision]


@EACH
@PRECISIONS
def test_saved_and_loaded_it_answers_the_same(family: str, precision: str, tmp_path: Path) -> None:
    model = built(family, precision)
    inputs = tuple(side.float() if side.is_floating_point() else side for side in inputs_of(model))
    loaded = dougong.load(dougong.save(model, tmp_path, layout="dougong"))
    with torch.inference_mode():
        found = run(model, inputs)
        plain = run(loaded.float(), inputs)
        assert found.dtype == torch.float32
        assert gap(plain, found) < WITHIN[precision]
        assert gap(run(dougong.prepare(loaded, precision), inputs), found) < WITHIN[precision]


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen3", "gemma2", "mixtral", "t5", "bart"])
@PRECISIONS
def test_generation_with_a_cache_equals_reading_anew(name: str, precision: str) -> None:
    model = built(name, precision)
    prompts, start = [[3, 5, 7], [4, 6, 1]], {"start": 1} if is_pair(model) else {}
    found = dougong.generate(model, prompts, max_new_tokens=5, end=(), **start)
    with torch.inference_mode():
        for prompt, one in zip(prompts, found, strict=True):
            for count, token in enumerate(one.tokens):
                if is_pair(model):
                    answer = model(torch.tensor([prompt]), torch.tensor([[1, *one.tokens[:count]]])).logits[0, -1]
                else:
                    answer = model(torch.tensor([[*prompt, *one.tokens[:count]]])).logits[0, -1]
                # rounding may choose among equals
                assert answer.max() - answer[token] <= 2 * WITHIN[precision] * answer.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "bert", "t5"])
@PRECISIONS
def test_losses_in_chunks_are_those_of_the_scores(name: str, precision: str) -> None:
    """What `dougong evaluate --precision` counts: the scores are left to the loss, which makes some at a time."""
    config = VARIANTS[FIRST[name]]
    head = {"head": "masked-language"} if name == "bert" else {}
    model = dougong.prepare(shake(dougong.build({**config, **WIDER, **head}, seed=0).eval(), 0.1), precision)
    inputs = inputs_of(model)
    targets = torch.randint(0, config["vocab_size"], inputs[-1].shape)
    with torch.inference_mode():
        plain = model(*inputs).logits
        with deferring():
            waiting = model(*inputs)
        found = token_losses(waiting, targets, chunk=2)
        right = nn.functional.cross_entropy(plain.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    assert gap(found, right) < WITHIN[precision]
    assert_different(found, right.roll(1, 1))


def test_float32_stays_float32_and_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = built("bert", "float32")
    model = built("bert", "float32", monkeypatch)
    assert any(isinstance(part, Packed) for part in model.modules())
    tokens = torch.randint(0, 17, (3, 9))
    with torch.inference_mode():
        assert gap(model(tokens).hidden, plain(tokens).hidden) < WITHIN["float32"]
    assert model.prepared.n_bytes == model.prepared.before, "one copy of each weight"
    state = plain.state_dict()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("precision", "share"), [("bf16", 0.5), ("int8", 0.267), ("int4", 0.142)])
def test_weights_take_the_room_that_is_said(precision: str, share: float) -> None:
    config = {"architecture": "llama", "vocab_size": 512, "d_model": 128, "n_layers": 2, "n_heads": 4, "d_ff": 256}
    model = dougong.prepare(dougong.build(config, seed=0), precision)
    assert share * 0.95 < model.prepared.n_bytes / model.prepared.before < share * 1.05


@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_is_to_the_nearest_and_again_changes_nothing(bits: int) -> None:
    weight = torch.randn(20, 64) * torch.rand(20, 1)
    weight[3, :32] = 0
    once = Codes(weight, bits).table()
    step = weight.unflatten(-1, (-1, 32)).abs().amax(-1, keepdim=True) / (127 if bits == 8 else 8)
    error = (once - weight).unflatten(-1, (-1, 32)).abs()
    clipped = 2.0 if bits == 4 else 0.51  # where a smaller scale is better as a whole, the largest are cut
    assert (error <= step * clipped + 1e-7).all()
    assert (once[3, :32] == 0).all()
    assert 0.5 < (error**2).mean() / (step**2 / 12).mean() < 1.35, "as of numbers that fall anywhere between two steps"
    if bits == 8:
        assert torch.equal(Codes(once, bits).table(), once)
    values, scale = rounded(weight, bits)
    assert scale.dtype == torch.bfloat16 and values.dtype == torch.int8


def test_scales_of_four_bits_are_better_than_the_largest_weights_alone() -> None:
    weight = torch.randn(200, 64)
    groups = weight.unflatten(-1, (-1, 32))
    largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True)) / -8
    plain = (groups / largest).round().clamp(-8, 7) * largest
    assert ((Codes(weight, 4).table() - weight) ** 2).mean() < 0.97 * ((plain.flatten(-2) - weight) ** 2).mean()


def test_whole_numbers_without_our_kernels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("llama", "int8")
    assert any(isinstance(part, Quantised) for part in model.modules())
    tokens = torch.randint(0, 17, (2, 7))
    with torch.inference_mode():
        found = model(tokens).logits
        monkeypatch.setenv("DOUGONG_NATIVE", "0")
        assert gap(model(tokens).logits, found) < 2e-5
        assert_different(found, built("llama", "float32")(tokens).logits)  # a control: it is rounded indeed


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_compiled_it_answers_the_same(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("bert", precision, monkeypatch, compile=True)
    plain = built("bert", precision)
    tokens = torch.randint(0, 17, (3, 9))
    with torch.inference_mode():
        for lengths in (None, LENGTHS):
            answer = model(tokens, lengths).hidden
            assert gap(answer, plain(tokens, lengths).hidden) < WITHIN[precision]


def test_without_a_compiler_nothing_is_compiled_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dougong.runtime.preparing.compiler", lambda: None)
    model = built("bert", "float32", compile=True)
    assert not model.prepared.compiled
    assert capsys.readouterr().err == "note: nothing is compiled: there is no C++ compiler\n"
    with torch.inference_mode():
        assert model(torch.randint(0, 17, (2, 5))).hidden.isfinite().all()


def test_mistakes_are_named() -> None:
    model = built("llama", "float32")
    for precision in ("float32", "int8"):
        with pytest.raises(UserError, match="prepared already"):
            dougong.prepare(model, precision)
    with pytest.raises(UserError, match=r"'int3'.*float32, bf16, int8, int4"):
        dougong.prepare(model, "int3")
    small = dougong.build(VARIANTS["textcnn"], seed=0)
    with pytest.raises(UserError, match="multiple of 32"):
        dougong.prepare(small, "int4")
