"""``dougong cost`` as it is typed."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from dougong.cli.app import execute


def asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one object that --json prints."""
    assert execute(["cost", *words, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def test_numbers_are_exact(capsys: pytest.CaptureFixture[str]) -> None:
    told = asked(["vit-base", "--devices", "h100"], capsys)
    assert told["parameters"] == 86_567_656 and told["model"] == "vit-base"
    patches, d, f = 196, 768, 3072
    blocks = 12 * (2 * (4 * d * d + 2 * d * f) * (patches + 1) + 4 * (patches + 1) ** 2 * d)
    assert told["flops"]["forward"] == blocks + 2 * 3 * 16 * 16 * d * patches + 2 * d * 1000
    assert told["inference"]["weights"] == 4 * told["parameters"]


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["cost", "lstm-micro", "--train", "--batch", "2", "--devices", "a100"]) == 0
    out = capsys.readouterr().out
    for said in (
        "lstm-micro: batch 2",
        "NVIDIA A100",
        "by part, a training step",
        "(optimizer)",
        "error band",
        "- 1 mul",
    ):
        assert said in out
    assert "Part(" not in out and "CostSheet(" not in out


def test_one_sample_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    told = asked(["vit-micro", "--devices", "8xh100"], capsys)
    assert (told["devices"], told["batch"]) == (8, 8)
    assert asked(["vit-micro", "--devices", "2xh100", "--batch", "6"], capsys)["batch"] == 6


def test_verify(capsys: pytest.CaptureFixture[str]) -> None:
    told = asked(["vit-micro", "--devices", "h100", "--verify"], capsys)
    rows = {(row["quantity"], row["of"]): row for row in told["verification"]["rows"]}
    assert rows["FLOPs", "forward"]["formula"] == rows["FLOPs", "forward"]["measured"] > 0
    assert rows["FLOPs", "training step"]["ratio"] == 1
    assert execute(["cost", "resnet-20", "--devices", "h100", "--verify", "layers=[1,1,1]"]) == 0
    out = capsys.readouterr().out
    assert "predicted / measured" in out and "what was run is" in out and "by pencil and paper" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vit-base", "--batch", "0"], "--batch"),
        (["vit-base", "--devices", "8xh1000"], "did you mean 'h100'"),
        (["vit-base", "--devices", "2xh100", "--batch", "3"], "3 does not divide among 2 devices"),
        (["vit-base", "--length", "7"], "reads pictures"),
        (["gpt2-small", "--length", "5000"], "5000"),
        (["vit-base", "--precision", "bfloat"], "did you mean 'bfloat16'"),
        (["vit-base", "--devices", "t4", "--precision", "bfloat16"], "has no rate for bfloat16"),
        (["vit-base", "d_modle=3"], "did you mean 'd_model'"),
        (["vit-base", "n_heads=5"], "5"),
        ([], "MODEL: is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["cost", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err
    assert gc.isenabled()
