"""Our own kernels, against torch; a step of a decoder as a program, against the same step through its modules."""

from __future__ import annotations

import copy

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, gap, shake
from support.small import VARIANTS, built
from torch import nn

import dougong
from dougong.parts.cache import Cache
from dougong.runtime.native import Captured, NotCaptured, compiling, native
from dougong.runtime.native.compiling import OFF
from dougong.runtime.quantised import KIND, Codes, QuantisedExperts
from dougong.runtime.writer import Writer

KERNELS = native()
pytestmark = pytest.mark.skipif(KERNELS is None, reason="needs a C++ compiler")

WRITERS = {
    name: config for name, config in VARIANTS.items()
    if config["architecture"] in (
        "gpt2", "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "transformer", "t5", "bart", "marian",
    ) and config.get("head", "causal-language") == "causal-language"
}  # fmt: skip
PROMPTS = [[3, 5, 7, 2], [4, 6], [8, 1, 2]]


def writer_of(name: str, dtype: torch.dtype = torch.float32, **changes: object) -> Writer:
    model = shake(built(name, **changes))
    return Writer(model.to(dtype), start=1)


def slow(writer: Writer) -> Writer:
    """One that goes through the model's modules."""
    writer.reason = "asked for"
    return writer


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 9, 11, 14, 16, 31, 49])
@pytest.mark.parametrize("sizes", [(1, 1), (7, 40), (13, 64), (64, 96), (5, 259)])
def test_products_equal_torchs(rows: int, sizes: tuple[int, int]) -> None:
    assert KERNELS is not None
    n_out, inner = sizes
    x, weight, bias = torch.randn(2, rows, inner), torch.randn(n_out, inner), torch.randn(n_out)
    right = nn.functional.linear(x.double(), weight.double(), bias.double()).float()
    assert_equal_to_rounding(KERNELS.multiply(x, weight, None, bias, n_out, 0), right)
    half = weight.bfloat16()
    right = nn.functional.linear(x.double(), half.double()).float()
    assert_equal_to_rounding(KERNELS.multiply(x, half, None, None, n_out, 1), right)
    if n_out > 1:
        assert_different(KERNELS.multiply(x, half.roll(1, 0).contiguous(), None, None, n_out, 1), right)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows", [1, 3, 6, 15, 32])
@pytest.mark.parametrize("n_out", [11, 16, 50])
def test_products_of_whole_numbers_equal_those_of_the_floats_they_stand_for(bits: int, rows: int, n_out: int) -> None:
    assert KERNELS is not None
    codes = Codes(torch.randn(n_out, 96), bits)
    x = torch.randn(rows, 96)
    right = (x.double() @ codes.table().double().T).float()
    assert_equal_to_rounding(KERNELS.multiply(x, codes.codes, codes.scale, None, n_out, KIND[bits]), right)
    assert_different(
        KERNELS.multiply(x, codes.codes, codes.scale.roll(1, -1).contiguous(), None, n_out, KIND[bits]), right
    )


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_captured_step_equals_the_one_through_the_modules(name: str) -> None:
    """Prompts of unequal lengths, windows that are left behind, rows that leave and come twice, several tokens."""
    ours, theirs = writer_of(name), slow(writer_of(name))
    theirs.model.load_state_dict(ours.model.state_dict())
    with torch.inference_mode():
        ours.begin(PROMPTS, 8), theirs.begin(PROMPTS, 8)
        for step in range(4):
            tokens = torch.tensor([1, 5, 9]) + step
            assert_equal_to_rounding(ours.step(tokens), theirs.step(tokens))
            if step == 1:
                for writer in (ours, theirs):
                    writer.keep(torch.tensor([2, 0, 0]))
        several = torch.tensor([[1, 2], [3, 4], [5, 6]])
        found, right = ours.steps(several), theirs.steps(several)
        assert ours.captured is not None and ours.captured.capacity > 0 and theirs.captured is None
        assert_equal_to_rounding(found, right)
        assert_different(found[:, 1], right[:, 0])


def test_a_step_can_be_timed_operation_by_operation() -> None:
    ours, theirs = writer_of("llama"), slow(writer_of("llama"))
    theirs.model.load_state_dict(ours.model.state_dict())
    with torch.inference_mode():
        ours.begin(PROMPTS, 4), theirs.begin(PROMPTS, 4)
        ours.step(torch.tensor([1, 5, 9])), theirs.step(torch.tensor([1, 5, 9]))
        assert ours.captured is not None
        found, seconds = ours.captured.timed(torch.tensor([[2], [6], [7]]), ours.cache)
        assert_equal_to_rounding(found[:, -1], theirs.step(torch.tensor([2, 6, 7])))
    assert len(seconds) == len(ours.captured.ops) and all(each > 0 for each in seconds)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_captured_step_in_bfloat16_is_nearer_to_the_truth_than_the_modules(name: str) -> None:
    """It keeps what flows between layers in float32."""
    ours, theirs = writer_of(name, torch.bfloat16), slow(writer_of(name, torch.bfloat16))
    theirs.model.load_state_dict(ours.model.state_dict())
    truth = slow(Writer(built(name).float()))
    truth.model.load_state_dict({key: value.float() for key, value in ours.model.state_dict().items()})
    apart = {}
    with torch.inference_mode():
        for which, writer in (("ours", ours), ("theirs", theirs), ("truth", truth)):
            writer.begin(PROMPTS, 6)
            apart[which] = torch.stack([writer.step(torch.tensor([1, 5, 9]) + step) for step in range(4)])
    assert ours.captured is not None
    errors = {which: float((apart[which] - apart["truth"]).norm()) for which in ("ours", "theirs")}
    assert 0 < errors["ours"] <= errors["theirs"]


def test_long_texts_need_more_room_and_get_it() -> None:
    writer, through = writer_of("llama", max_length=400), slow(writer_of("llama", max_length=400))
    through.model.load_state_dict(writer.model.state_dict())
    with torch.inference_mode():
        for count in (3, 200):  # the second batch is longer than what was captured for
            prompts = [[index % 17 for index in range(count)]]
            writer.begin(prompts, 3), through.begin(prompts, 3)
            assert_equal_to_rounding(writer.step(torch.tensor([4])), through.step(torch.tensor([4])))


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("chosen", [1, 3])
def test_experts_of_narrower_weights_step_as_the_modules(precision: str, chosen: int) -> None:
    """Many experts and rows, so that some experts read nothing and some several tokens."""
    sizes = {"d_model": 32, "d_ff": 64, "n_experts": 7, "n_chosen": chosen, "d_head": 8}
    ours, theirs, plain = writer_of("mixtral", **sizes), *(slow(writer_of("mixtral", **sizes)) for _ in range(2))
    for writer in (theirs, plain):
        writer.model.load_state_dict(ours.model.state_dict())
    for writer in (ours, theirs):
        dougong.prepare(writer.model, precision)
    prompts = [[3 + row % 9, 5, row % 7] for row in range(11)]
    answers = []
    with torch.inference_mode():
        for writer in (ours, theirs, plain):
            writer.begin(prompts, 4)
            answers.append(writer.steps(torch.arange(22).view(11, 2) % 17))
    found, right, exact = answers
    assert ours.captured is not None and theirs.captured is None
    if precision == "bf16":  # ours keeps floats between layers
        assert gap(found, exact) < 0.05 and gap(right, exact) < 0.05
        return
    assert_equal_to_rounding(found, right)
    assert_different(found, exact)  # a control: it is rounded indeed
    experts = ours.model.body.blocks[0].feed_forward.body
    assert isinstance(experts, QuantisedExperts) and ours.model.prepared.left == []
    assert torch.equal(experts.router.weight, plain.model.body.blocks[0].feed_forward.body.router.weight)


def test_experts_that_nobody_chose_are_never_read() -> None:
    """Their weights are not numbers, and nothing of it is seen; a control sees it where one of them is chosen."""
    writer = writer_of("mixtral", n_experts=3, n_chosen=1)
    with torch.inference_mode():
        for block in writer.model.body.blocks:
            experts = block.feed_forward.body
            experts.router.weight.zero_()  # all alike: the first is taken
            for table in (experts.gate, experts.up, experts.down):
                table[1:] = float("nan")
        writer.begin(PROMPTS, 4)
        assert writer.step(torch.tensor([1, 5, 9])).isfinite().all() and writer.captured is not None
        for block in writer.model.body.blocks:
            block.feed_forward.body.gate[0] = float("nan")
        assert writer.step(torch.tensor([1, 5, 9])).isnan().all()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recurrent_layers_step_as_the_modules(cell: str, dtype: torch.dtype) -> None:
    """Unequal prompts, rows that leave and come twice; several tokens at once go through the modules, and on again."""
    config = {"architecture": cell, "vocab_size": 17, "d_model": 24, "n_layers": 2, "head": "causal-language"}
    model = shake(dougong.build(config, seed=0).eval()).to(dtype)
    ours, theirs = Writer(model), slow(Writer(copy.deepcopy(model).float()))
    within = 2e-5 if dtype == torch.float32 else 0.03  # states are kept in the model's own precision
    with torch.inference_mode():
        ours.begin(PROMPTS, 9), theirs.begin(PROMPTS, 9)
        last = torch.zeros(3, 17)
        for step in range(5):
            tokens = torch.tensor([1, 5, 9]) + step
            found, right = ours.step(tokens), theirs.step(tokens)
            assert gap(found, right) < within
            assert_different(found, last)  # a state that stood still would be seen
            last = found
            if step == 1:
                for writer in (ours, theirs):
                    writer.keep(torch.tensor([2, 0, 0]))
            if step == 2:
                several = torch.tensor([[1, 2], [3, 4], [5, 6]])
                assert gap(ours.steps(several), theirs.steps(several)) < within
    assert ours.captured is not None and ours.captured.capacity == 3 and theirs.captured is None


def test_what_has_no_kernel_is_named_and_goes_through_its_modules() -> None:
    model = shake(built("llama"))
    model.body.blocks[1].feed_forward.body.up = nn.Sequential(model.body.blocks[1].feed_forward.body.up)
    writer = Writer(model, start=0)
    with torch.inference_mode():
        writer.begin(PROMPTS, 4)
        assert writer.step(torch.tensor([1, 5, 9])).isfinite().all()
    assert writer.captured is None and "Sequential" in writer.reason


def test_hooks_and_rewritten_layers_are_not_passed_by() -> None:
    assert KERNELS is not None
    model = built("llama")
    Captured(model, KERNELS, 8)
    handle = model.body.blocks[0].register_forward_hook(lambda *_: None)
    with pytest.raises(NotCaptured, match="hooks"):
        Captured(model, KERNELS, 8)
    handle.remove()
    model.body.blocks[0].attention.body.query = nn.Sequential(model.body.blocks[0].attention.body.query)
    with pytest.raises(NotCaptured, match="Sequential"):
        Captured(model, KERNELS, 8)


def test_without_a_compiler_torch_takes_over_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiling._made.cache_clear()
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert native() is None and native() is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no C++ compiler" in said
    compiling._made.cache_clear()


def test_a_broken_compiler_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    compiling._made.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiling.shutil, "which", lambda name: "/bin/false")
    assert native() is None
    assert "false refuses step.cpp" in capsys.readouterr().err
    compiling._made.cache_clear()


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFF, "0")
    assert native() is None


def test_a_full_cache_says_so() -> None:
    cache = Cache(2)
    layer = nn.Identity()
    cache.extend(layer, torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4))
    kept = cache.known(layer)
    assert kept is not None and cache.known(nn.Identity()) is None
    with pytest.raises(ValueError, match="1 new tokens do not fit beside 2"):
        kept.make_room(1)
