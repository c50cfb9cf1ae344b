"""``dougong bench``: workloads against limits; what is interrupted keeps what it measured; bad input is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dougong.bench import Bench, bench, workloads
from dougong.bench.benching import steps
from dougong.cli.app import execute
from dougong.cost import limits as limiting
from dougong.errors import UserError

TINY: dict[str, Any] = {
    "architecture": "llama", "d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 64, "vocab_size": 50, "max_length": 96,
}  # fmt: skip
BERT: dict[str, Any] = {
    "architecture": "bert", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64, "vocab_size": 50, "max_length": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def quick(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(limiting, "MOMENT", 0.01)
    monkeypatch.setattr(limiting, "SIDES", (64,))
    monkeypatch.setattr(limiting, "READ", 2**16)
    monkeypatch.setattr(workloads, "SECONDS", 0.0)


def test_a_model_that_writes_is_measured_at_all_it_does() -> None:
    seen: list[str] = []
    found = bench(TINY, "float32", device="cpu", show=seen.append)
    assert [row.workload.split(",")[0] for row in found.rows] == ["writing", "writing", "reading", "training"]
    assert {row.model for row in found.rows} == {"llama"} and not found.interrupted
    assert len(seen) == steps(TINY, "float32", "cpu")
    for row in found.rows:
        assert 0 < row.low <= row.rate <= row.high and row.rounds >= 3 and row.unit == "tokens"
        assert row.how == "as loaded" if row.workload.startswith("training") else "float32" in row.how
        assert row.limit is not None and row.share == pytest.approx(row.rate / row.limit)
        assert row.bound == ("memory" if row.workload.startswith("writing") else "matrix")


def test_kernels_that_were_timed_are_listed() -> None:
    from dougong.runtime.kernels import measured, timed_kernels

    seconds = measured(48, 32, 8, torch.float32)
    assert timed_kernels()["8 x 32 by 48, float32"] == seconds
    found = bench(TINY, "float32", device="cpu", workloads=False)
    assert found.to_dict()["kernels"] == timed_kernels()
    title, columns, rows = found.sections()[-1]
    row = next(row for row in rows if row[0] == "8 x 32 by 48, float32")
    assert title.startswith("kernels") and row[-1] == min(seconds, key=lambda name: seconds[name])
    assert columns[1:-1] == list(seconds)


def test_the_limit_of_writing_is_reading_the_weights_once() -> None:
    """By pencil and paper: every matrix but the table that is looked up, and the keys and values of what is there."""
    found = bench(TINY, "float32", device="cpu")
    one, many = found.rows[:2]
    weights = 2 * (4 * 32 * 32 + 3 * 32 * 64) + 32 * 50
    keys = 2 * 2 * 32 * (workloads.PROMPT + workloads.NEW / 2)
    assert found.limits is not None and one.limit is not None and many.limit is not None
    # attention's own products, over one token, are in the FLOPs: 2 layers of 2 D each
    moved = 4 * (weights + 2 * 2 * 32 + keys)
    assert one.limit == pytest.approx(found.limits.bandwidth / moved, rel=1e-6)
    assert 1 < many.limit / one.limit < 16, "texts at once share the weights, and not keys and values"


def test_half_as_wide_weights_may_be_read_twice_as_often() -> None:
    found = bench(TINY, ["float32", "bf16"], device="cpu")
    wide, narrow = (next(row for row in found.rows if row.precision == name) for name in ("float32", "bf16"))
    assert wide.limit is not None and narrow.limit == pytest.approx(2 * wide.limit)


def test_whole_numbers_are_measured_where_texts_are_written() -> None:
    found = bench(TINY, ["int8", "int4"], device="cpu")
    assert [row.workload.split(",")[0] for row in found.rows] == ["writing"] * 4
    eight, four = (next(row for row in found.rows if row.precision == name) for name in ("int8", "int4"))
    assert "8 bits" in eight.how and "4 bits" in four.how
    assert eight.limit is not None and four.limit is not None and four.limit > eight.limit


@pytest.mark.parametrize(
    ("model", "unit", "kinds"),
    [("vit-micro", "pictures", ["reading", "training"]), (BERT, "tokens", ["reading", "training"])],
)
def test_models_that_do_not_write(model: str | dict[str, Any], unit: str, kinds: list[str]) -> None:
    found = bench(model, device="cpu")
    assert [row.workload.split(",")[0] for row in found.rows] == [kind for kind in kinds for _ in range(2)]
    assert {row.unit for row in found.rows} == {unit} and {row.precision for row in found.rows} == {"float32", "bf16"}


def stopping(at: int) -> Callable[[str], None]:
    """Ctrl-C after so many things are measured."""
    seen: list[str] = []

    def show(name: str) -> None:
        seen.append(name)
        if len(seen) == at:
            raise KeyboardInterrupt

    return show


def test_an_interruption_keeps_what_was_measured() -> None:
    whole = limiting.count("cpu")
    found: Bench = bench(TINY, "float32", device="cpu", show=stopping(whole + 2))
    assert found.interrupted and len(found.rows) == 2 and found.limits is not None
    early = bench(TINY, "float32", device="cpu", show=stopping(1))
    assert early.interrupted and early.limits is None and early.rows == []
    assert json.loads(json.dumps(early.to_dict()))["limits"] == []


def test_that_there_is_no_gpu_is_said() -> None:
    found = bench(workloads=False, device="cpu")
    assert found.rows == [] and any("GPU" in note for note in found.notes)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            bench(device="cuda")


def test_the_command_gives_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "bert-tiny", "n_layers=1", "max_length=64", "--precision", "float32", "--device", "cpu", "--json"]
    assert execute(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"machine", "device", "busy", "limits", "workloads", "kernels", "notes", "interrupted"}
    row = told["workloads"][0]
    assert row["model"] == "bert-tiny" and row["precision"] == "float32" and row["rate"] > 0 and 0 < row["share"]
    assert {limit["kind"] for limit in told["limits"]} == {"memory", "matrix"}


def test_the_command_shows_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["bench", "bert-tiny", "n_layers=1", "max_length=64", "--device", "cpu"]) == 0
    out = capsys.readouterr()
    assert "limits of " in out.out and "of the limit" in out.out and "bert-tiny" in out.out
    assert "FLOP/s" in out.out and "no GPU was measured" in out.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bert-tinny"], "did you mean 'bert-tiny'"),
        (["bert-tiny", "--precision", "fp8"], "unknown precision 'fp8'"),
        (["bert-tiny", "--device", "tpu"], "device: 'tpu' is not measured"),
        (["bert-tiny", "vit-micro"], "is a second model"),
        (["bert-tiny", "--limits"], "measures no model"),
        (["d_model=3"], "belongs to a model"),
        (["gpt3-175b", "--device", "cpu"], "give a smaller model"),
        (["no/such/folder"], "no such folder"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["bench", *words]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and said in out.err
