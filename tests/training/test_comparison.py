"""The statistics of a comparison against exact ones, and a comparison that is stopped and taken up again."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dougong.errors import UserError
from dougong.tasks.scores import interval
from dougong.training import compare
from dougong.training.asking import evaluate, predict
from dougong.training.comparison import Comparison, holm, paired_test, t_interval
from dougong.training.measuring import latency, peak_memory
from tests.training.conftest import SMALL

LSTM = {"architecture": "lstm", "image_size": 8, "d_model": 8, "n_classes": 10}
TERMS: dict[str, Any] = {"budget": "15steps", "seeds": 2, "batch_size": 32}


def test_the_interval_is_students() -> None:
    from scipy import stats

    values = [0.91, 0.95, 0.9, 0.97]
    expected = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)
    assert t_interval([0.5]) == (None, None)


@pytest.mark.parametrize("seed", range(3))
def test_the_paired_test_against_all_flips(seed: int) -> None:
    torch.manual_seed(seed)
    first, second = torch.randint(0, 2, (2, 11)).double()
    difference = (first - second)[first != second]
    seen = abs(float(difference.sum()))
    flips = [
        abs(sum(s * float(d) for s, d in zip(signs, difference, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(difference))
    ]
    exact = sum(value >= seen - 1e-12 for value in flips) / len(flips)
    assert paired_test(first, second, draws=20000) == pytest.approx(exact, abs=0.02)


def test_the_paired_test_of_many_samples_draws_some_flips_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.Generator().manual_seed(0)
    first = torch.rand(60, generator=drawn, dtype=torch.float64)
    second = first + 0.2 * torch.rand(60, generator=drawn, dtype=torch.float64) - 0.085
    whole = paired_test(first, second, draws=3000)
    monkeypatch.setattr("dougong.training.comparison.SIGNS", 60 * 7)
    assert 0.005 < whole < 0.9 and paired_test(first, second, draws=3000) == whole
    assert paired_test(first, second, draws=3000, seed=1) != whole


def test_the_paired_test_tells_alike_from_different() -> None:
    scores = torch.randint(0, 2, (300,)).double()
    assert paired_test(scores, scores) == 1.0
    worse = scores.clone()
    worse[scores == 1] = (torch.rand(int(scores.sum())) < 0.7).double()
    assert paired_test(scores, worse) < 0.001


def test_holm() -> None:
    # by hand: 0.01*3, then max(0.03, 0.02*2), then max(0.04, 0.04*1)
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]) == []


def test_the_bootstrap_interval_covers_what_the_normal_one_covers() -> None:
    scores = [1.0] * 180 + [0.0] * 20
    low, high = interval(scores)
    reach = 1.96 * math.sqrt(0.9 * 0.1 / 200)
    assert low == pytest.approx(0.9 - reach, abs=0.012) and high == pytest.approx(0.9 + reach, abs=0.012)


def test_a_comparison(tmp_path: Path) -> None:
    out = tmp_path / "both"
    found = compare([SMALL, LSTM], "digits", out=out, **TERMS)
    assert [row.name for row in found.rows] == sorted(
        ["vit", "lstm"], key=lambda name: -next(row.mean for row in found.rows if row.name == name)
    )
    assert found.rows[0].p_value is None and found.rows[1].p_value is not None
    for row in found.rows:
        assert len(row.scores) == len(row.runs) == 2 and row.mean == pytest.approx(sum(row.scores) / 2)
        assert row.latency_1 > 0 and row.memory > 4 * row.parameters and row.flops > 0
        prints = {json.loads((out / run / "data.json").read_text())["fingerprint"] for run in row.runs}
        assert len(prints) == 1
    assert Comparison.open(out) == found
    head, rows = found.table()
    assert all(len(row) == len(head) for row in rows)

    # killed in one of its runs: the others are left alone
    victim = out / found.rows[1].runs[1]
    expected = json.loads((victim / "result.json").read_text())["test"]
    (victim / "result.json").unlink()
    (out / "comparison.json").unlink()
    kept = {path: path.stat().st_mtime_ns for path in (out / found.rows[0].runs[0]).rglob("*")}
    again = compare([SMALL, LSTM], "digits", out=out, **TERMS)
    assert json.loads((victim / "result.json").read_text())["test"] == expected
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert [row.scores for row in again.rows] == [row.scores for row in found.rows]
    with pytest.raises(UserError, match="on other terms"):
        compare([SMALL], "digits", out=out, **TERMS)


def test_a_model_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="named twice"):
        compare(["vit-micro", "vit-micro"], "digits", out=tmp_path / "x", **TERMS)
    with pytest.raises(UserError, match="seeds"):
        compare(["vit-micro"], "digits", out=tmp_path / "x", **{**TERMS, "seeds": 0})
    assert not (tmp_path / "x").exists()


class Holds(nn.Module):
    """Makes one buffer of a known size, and lets a second one go."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1000))

    def example_inputs(self, batch: int = 1, length: Any = None, device: Any = None) -> tuple[torch.Tensor]:
        return (torch.zeros(batch, 1000, device=device),)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.ones(1 << 20) + 0  # two of 4 MiB, one of which is let go
        del first
        return (torch.ones(2 << 20) * 2).sum() + x.sum()


def test_peak_memory_of_a_known_module() -> None:
    expected = 4000 + 2 * (2 << 20) * 4  # the weight, and a tensor of 8 MiB with its double
    assert peak_memory(Holds().eval(), 3) == pytest.approx(expected, rel=0.01)
    assert latency({"a": Holds()}, 2, rounds=3)["a"] > 0


def test_evaluate_and_predict_agree(trained: Any, tmp_path: Path, digits: Any) -> None:
    from PIL import Image

    run = trained(budget="300steps", learning_rate=3e-3, model={**SMALL, "dropout": 0.0}, evaluate_every=100)
    test = digits.splits["test"]
    files = []
    for index in range(len(test)):  # the same pictures as files, classes in another order
        folder = tmp_path / "pictures" / "test" / digits.classes[test.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test.pixels(index)).save(folder / f"{index}.png")
        files.append(str(folder / f"{index}.png"))
    answers = list(predict(run, files))
    right = sum(Path(a.where).parent.name == a.label for a in answers) / len(answers)
    found = evaluate(run)
    assert right == pytest.approx(found["accuracy"]) and found["accuracy"] > 0.7
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert [a.where for a in answers] == files
    assert all(abs(sum(share for _, share in a.top) - 1) < 1e-4 for a in answers)
