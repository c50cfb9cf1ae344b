"""The cost sheet: its sums, its arithmetic, its devices, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from support.costed import deep
from support.small import VARIANTS, built

import dougong
from dougong.cost import CostSheet, cost
from dougong.cost.costing import cache_bytes
from dougong.cost.devices import at, parse, rates, table
from dougong.errors import UserError
from dougong.parts.cache import Cache

CARD = "h100"
ONE_OF_EACH = list({config["architecture"]: name for name, config in VARIANTS.items()}.values())


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_parts_sum_to_the_total(name: str) -> None:
    model = dougong.build(deep(name), device="meta")
    length = None if model.input_kind == "image" else 4
    sheet = cost(deep(name), batch=4, length=length, devices=f"2x{CARD}")
    assert sum(part.parameters for part in sheet.parts) == sheet.parameters
    assert sheet.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert sum(part.forward_flops for part in sheet.parts) == sheet.flops.forward
    assert sum(part.training_flops for part in sheet.parts) == sheet.flops.training
    assert sum(part.saved for part in sheet.parts) == sheet.training.saved
    alone = cost(deep(name), batch=2, length=length, device=CARD)
    assert 2 * alone.flops.forward == sheet.flops.forward
    assert sum(part.seconds for part in alone.parts) == pytest.approx(alone.forward_seconds.estimate)


@pytest.mark.parametrize(
    ("optimizer", "states"), [("adamw", 2), ("adam", 2), ("sgd", 1), ("sgd-plain", 0), ("none", 0)]
)
def test_states_of_an_optimizer(optimizer: str, states: int) -> None:
    sheet = cost(deep("gpt2"), length=8, device=CARD, optimizer=optimizer)
    memory, weights = sheet.training, 4 * sheet.parameters
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, weights, states * weights)
    assert memory.peak >= memory.weights + memory.optimizer + max(memory.gradients, memory.saved)
    assert memory.peak <= memory.weights + memory.optimizer + memory.gradients + memory.activations


@pytest.mark.parametrize("kind", ["AdamW", "Adam", "SGD"])
def test_states_are_those_of_torch(kind: str) -> None:
    model = dougong.build(VARIANTS["vit"], seed=0)
    options = {"lr": 0.1, **({"momentum": 0.9} if kind == "SGD" else {})}
    optimizer = getattr(torch.optim, kind)(model.parameters(), **options)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    held = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    measured = sum(value.numel() * 4 for value in held if value.dim())
    assert cost(VARIANTS["vit"], device=CARD, optimizer=kind.lower()).training.optimizer == measured


def test_narrow_arithmetic() -> None:
    """bfloat16 halves what is traced; weights, gradients and state stay float32 beside a narrow copy of the weights."""
    wide, narrow = (
        cost(deep("gpt2"), length=8, device=CARD, precision=precision) for precision in ("float32", "bfloat16")
    )
    assert narrow.flops == wide.flops and narrow.parameters == wide.parameters
    assert 2 * narrow.inference.weights == wide.inference.weights
    assert narrow.training.weights == wide.training.weights + narrow.inference.weights
    assert narrow.training.gradients == wide.training.gradients
    assert narrow.training.optimizer == wide.training.optimizer
    assert 0.45 < narrow.training.saved / wide.training.saved < 0.75  # the loss stays float32
    assert narrow.cache_per_token * 2 == wide.cache_per_token > 0
    double = cost(deep("gpt2"), length=8, device=CARD, precision="float64")
    assert double.inference.weights == 2 * wide.inference.weights


def test_cache_of_a_decoder() -> None:
    config = deep("gpt2")
    sheet = cost(config, batch=3, length=8, device=CARD)
    assert sheet.cache_per_token == 2 * 4 * config["n_layers"] * config["d_model"]
    assert sheet.inference.cache == sheet.cache_per_token * 3 * 8
    assert cost(deep("bert"), length=8, device=CARD).cache_per_token == 0
    grouped = cost({**deep("llama"), "n_heads": 4, "n_kv_heads": 1}, device=CARD).cache_per_token
    assert 4 * grouped == cost({**deep("llama"), "n_heads": 4, "n_kv_heads": 4}, device=CARD).cache_per_token


@pytest.mark.parametrize("name", ["gpt2", "mistral", "gemma2", "t5", "bart", "qwen3"])
def test_the_cache_is_what_a_model_holds_that_has_written(name: str) -> None:
    model = built(name)
    batch, length, source = 2, 9, 5
    cache = Cache(length)
    tokens, read = torch.randint(0, 17, (batch, length)), torch.randint(0, 17, (batch, source))
    sides = (read,) if model.input_kind == "tokens_pair" else ()
    with torch.no_grad():
        model(*sides, tokens[:, :2], cache=cache)
        for place in range(2, length):
            model(*((None,) if sides else ()), tokens[:, place : place + 1], cache=cache)
    assert batch * cache_bytes(model, 4, length, source) == cache.n_bytes > 0
    longer = batch * cache_bytes(model, 4, length + 7, source + 1)
    assert longer > cache.n_bytes or (name == "mistral" and longer == cache.n_bytes)  # all of its layers have windows
    assert cache_bytes(built("clip"), 4, length, 0) == cache_bytes(built("bert"), 4, length, 0) == 0


def test_several_devices() -> None:
    one, eight = cost("vit-base", batch=8, device=CARD), cost("vit-base", batch=8, devices=f"8x{CARD}")
    assert eight.flops == one.flops and eight.devices == 8
    assert eight.training.optimizer == -(-one.training.optimizer // 8)
    assert eight.training.gradients == -(-one.training.gradients // 8)
    assert eight.training.peak < one.training.peak
    assert cost("vit-base", batch=1, device=CARD).flops.forward * 8 == one.flops.forward


def test_time_has_a_band_and_follows_the_rates() -> None:
    fast, slow = (cost("vit-base", batch=16, device=device) for device in ("h100", "a100"))
    for sheet in (fast, slow):
        for seconds in (sheet.forward_seconds, sheet.training_seconds):
            assert 0 < seconds.low <= seconds.estimate <= seconds.high
        assert sheet.training_seconds.estimate > 2 * sheet.forward_seconds.estimate
        floor = sheet.flops.forward / table()["h100" if sheet is fast else "a100"]["float32"]
        assert sheet.forward_seconds.low >= 0.99 * floor
    assert fast.forward_seconds.estimate < slow.forward_seconds.estimate


def test_rates_between_measured_points() -> None:
    points = ((1e3, 1e6), (1e5, 1e8))
    assert [at(points, size) for size in (1.0, 1e3, 1e4, 1e5, 1e9)] == pytest.approx([1e6, 1e6, 1e7, 1e8, 1e8])


def test_every_device_of_the_table() -> None:
    for name, row in table().items():
        assert row["source"] and row["memory"] > 0 and row["bandwidth"] > 0
        for precision in ("float32", "bfloat16", "float16", "float64"):
            if precision in row:
                assert rates(name, precision).matmul[0][1] < row[precision]


@pytest.mark.parametrize(
    ("text", "meant"),
    [("h100", (1, "h100")), ("8xh100", (8, "h100")), (" 16 x A100 ", (16, "a100")), ("1xcpu", (1, "cpu"))],
)
def test_devices_are_read(text: str, meant: tuple[int, str]) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize("text", ["", "8", "0xh100", "8x", "-1xh100", "8*h100", "h100x8 please"])
def test_devices_that_are_none(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch": 0}, "batch: must be at least 1"),
        ({"batch": -3}, "batch: must be at least 1"),
        ({"model": "gpt2-small", "length": 0}, "length: must be at least 1"),
        ({"length": 5}, "reads pictures"),
        ({"model": "gpt2-small", "length": 5000}, "5000"),
        ({"device": "h10"}, "did you mean 'h100'"),
        ({"batch": 8, "devices": "8xh10"}, "did you mean 'h100'"),
        ({"devices": "8 of them"}, "8xh100"),
        ({"batch": 6, "devices": "4xh100"}, "6 does not divide among 4 devices"),
        ({"precision": "float23"}, "did you mean 'float32'"),
        ({"optimizer": "adanw"}, "did you mean 'adamw'"),
        ({"model": "vit-bse"}, "did you mean 'vit-base'"),
        ({"model": torch.nn.Linear(2, 2)}, "does not say what it reads"),
    ],
    ids=str,
)
def test_bad_input(arguments: dict[str, object], said: str) -> None:
    given = {"model": "vit-micro", "device": CARD, **arguments}
    with pytest.raises(UserError) as caught:
        cost(given.pop("model"), **given)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_the_room_is_its_function() -> None:
    sheet = dougong.cost("vit-micro", device=CARD)
    assert isinstance(sheet, CostSheet)
    told = json.loads(json.dumps(sheet.to_dict()))
    assert told["flops"]["forward"] == sheet.flops.forward and told["parts"][0]["name"] == sheet.parts[0].name


def test_the_table_says_it_all() -> None:
    text = cost("gpt2-small", batch=2, length=64, device=CARD, train=True).table()
    for word in ("gpt2-small", "NVIDIA H100", "blocks.0-11", "cross-entropy", "aten.native_layer_norm", "gradients"):
        assert word in text
