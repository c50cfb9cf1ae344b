"""``dougong evaluate --precision``: what rounding costs a language model, counted a second time by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import dougong
from dougong.cli.app import execute
from dougong.training import Run

WIDTH = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writing")
    numbers = random.Random(0)
    words = ["the fox", "went", "to the mill", "and", "found", "a key", "nothing at all"]
    (folder / "farm.txt").write_text(" ".join(numbers.choice(words) for _ in range(1500)), encoding="utf-8")
    config = {"architecture": "llama", "d_model": WIDTH, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_ff": 64}
    settings: dict[str, Any] = {"tokenizer": "characters", "max_length": 32, "batch_size": 8, "tensorboard": False}
    out = folder / "run"
    dougong.train(config, folder / "farm.txt", budget="60steps", out=out, learning_rate=1e-2, **settings)
    return out


def by_hand(run: Path, precision: str | None) -> tuple[float, float]:
    """Nats a token and bits a byte of the test split, window by window, from logits alone."""
    model = dougong.load(run / "model")
    if precision is not None:
        model = dougong.prepare(model, precision)
    task: Any = Run.open(run).task()
    nats = tokens = octets = 0.0
    with torch.inference_mode():
        for index in range(task.size("test")):
            batch = task.batch("test", torch.tensor([index]), train=False, epoch=0, seed=0)
            shares = model(batch.inputs[0]).logits[0].double().log_softmax(-1)
            for row, token in zip(shares, batch.targets[0].tolist(), strict=True):
                nats, tokens = nats - float(row[token]), tokens + 1
            octets += len(batch.truth[0].encode())
    return nats / tokens, nats / octets / torch.log(torch.tensor(2.0)).item()


def test_each_precision_gives_the_loss_that_its_weights_give(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: dict[str | None, float] = {}
    for precision in (None, "float32", "bf16", "int8", "int4"):
        assert execute(["evaluate", str(run), "--json", *(["--precision", precision] if precision else [])]) == 0
        found = json.loads(capsys.readouterr().out)
        loss, bits = by_hand(run, precision)
        assert found["loss"] == pytest.approx(loss, abs=3e-3 if precision == "bf16" else 2e-5)
        assert found["bits_per_byte"] == pytest.approx(bits, abs=5e-3 if precision == "bf16" else 2e-5)
        told[precision] = found["loss"]
    assert told["float32"] == pytest.approx(told[None], abs=1e-5)
    # a control: rounding is seen, and more of it the fewer bits there are
    assert 1e-5 < abs(told["int8"] - told["float32"]) < abs(told["int4"] - told["float32"]) < 0.5
