"""The loop against a plain one written here, and its settings against their formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dougong.architectures import build
from dougong.data import epoch_order
from dougong.errors import UserError
from dougong.tasks import task_for
from dougong.training import Budget, Run, TrainingConfig
from dougong.training.optimizers import rate_at
from tests.training.conftest import SMALL, same, weights

PLAIN = {**SMALL, "dropout": 0.0}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_is_the_plain_loop(trained: Callable[..., Run], digits: Any, optimizer: str) -> None:
    """Order, warm-up, cosine, clipping, decay of matrices only and smoothing, as anyone would write them."""
    run = trained(model=PLAIN, optimizer=optimizer, learning_rate=0.01, clip=0.3, label_smoothing=0.1,
                  weight_decay=0.1, warmup=0.25, budget="50steps", evaluate_every=25)  # fmt: skip
    task = task_for(digits, augment="none")
    model = build(PLAIN, seed=0)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    steps = (
        torch.optim.AdamW(groups, lr=0.01)
        if optimizer == "adamw"
        else torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
    )
    n = task.size("train")
    per_epoch = n // 32
    for k in range(50):
        order = epoch_order(n, 0, k // per_epoch)
        batch = task.batch("train", order[(k % per_epoch) * 32 :][:32], train=False, epoch=0, seed=0)
        done = k / 50
        rate = 0.01 * done / 0.25 if done < 0.25 else 0.01 * 0.5 * (1 + math.cos(math.pi * (done - 0.25) / 0.75))
        for group in steps.param_groups:
            group["lr"] = rate
        steps.zero_grad()
        logits = model(*batch.inputs).logits
        torch.nn.functional.cross_entropy(logits, batch.targets, label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        steps.step()
    ours = weights(run)
    for name, value in model.state_dict().items():
        if not name.endswith("key.bias"):  # its true gradient is zero, so Adam steps by the sign of rounding
            torch.testing.assert_close(ours[name], value, atol=3e-4, rtol=1e-3)


def test_accumulation_is_the_same_step(trained: Callable[..., Run]) -> None:
    # SGD: AdamW would blow up the rounding in gradients that are zero by nature, as those of a key's bias
    alike: dict[str, Any] = {"model": PLAIN, "augment": "none", "optimizer": "sgd", "learning_rate": 0.1}
    whole, parts = trained("whole", **alike), trained("parts", **alike, accumulate=5)
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, atol=1e-5, rtol=1e-4)
    half = trained("half", **alike, batch_size=16)
    assert not same(weights(whole), weights(half))


def test_the_average_follows_the_weights(trained: Callable[..., Run]) -> None:
    run = trained(model=PLAIN, ema=0.5, budget="6steps", checkpoint_every=1, evaluate_every=100, keep=9)
    mean = {name: value.clone() for name, value in build(PLAIN, seed=0).state_dict().items()}
    for step in range(1, 7):
        tensors, _ = run.checkpoints.read(f"step-{step:06d}")
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in tensors["model"].items():
            mean[name] = decay * mean[name] + (1 - decay) * value
        for name, value in tensors["average"].items():
            torch.testing.assert_close(value, mean[name], atol=1e-6, rtol=1e-5)


def test_patience_ends_it(trained: Callable[..., Run]) -> None:
    run = trained(budget="200steps", evaluate_every=2, patience=3, learning_rate=1e-9, warmup=0)
    result = run.result or {}
    assert result["steps"] < 200 and "no better accuracy in 3 evaluations" in result["ended"]


def test_a_budget_of_flops_is_spent_and_not_exceeded(trained: Callable[..., Run]) -> None:
    from dougong.cost import training_flops

    step = training_flops(SMALL, 32)
    result = trained(budget=f"{7.9 * step:.0f}flops").result or {}
    assert result["steps"] == 7 and result["flops"] == 7 * step


def test_a_budget_of_seconds_ends_in_time(trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a tenth of a second whenever it is looked at, so that no machine is too slow."""
    ticks = itertools.count()
    monkeypatch.setattr("dougong.training.loop.time.perf_counter", lambda: next(ticks) / 10)
    result = trained(budget="10s", evaluate_every=1000).result or {}
    assert 10 <= result["seconds"] < 10.5 and result["steps"] > 5


@given(
    st.floats(0, 1), st.sampled_from(["cosine", "linear", "constant"]), st.floats(0, 0.9), st.floats(1e-6, 1)
)  # fmt: skip
def test_schedules(progress: float, schedule: str, warmup: float, peak: float) -> None:
    config = TrainingConfig(model={}, name="m", data="d", schedule=schedule, warmup=warmup, learning_rate=peak)  # type: ignore[arg-type]
    rate = rate_at(progress, config)
    assert 0 <= rate <= peak * (1 + 1e-9)
    if progress < warmup:
        assert rate == pytest.approx(peak * progress / warmup)
    elif schedule == "constant":
        assert rate == peak
    else:
        rest = (progress - warmup) / (1 - warmup)
        expected = 1 - rest if schedule == "linear" else math.cos(math.pi * rest / 2) ** 2
        assert rate == pytest.approx(peak * expected, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [("500steps", "steps", 500), (500, "steps", 500), ("3 epochs", "epochs", 3), ("0.5epochs", "epochs", 0.5),
     ("10min", "seconds", 600), ("2h", "seconds", 7200), ("90s", "seconds", 90), ("1e15flops", "flops", 1e15),
     ("1E12 FLOPs", "flops", 1e12)],
)  # fmt: skip
def test_budgets(text: Any, kind: str, amount: float) -> None:
    assert Budget.parse(text) == Budget(kind, amount)  # type: ignore[arg-type]
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


@pytest.mark.parametrize(
    "text", ["0epochs", "0", 0, -3, "-1h", "", "ten", "5 parsecs", "1e400s", "nan", True, "2.5steps"]
)
def test_no_budgets(text: Any) -> None:
    with pytest.raises(UserError, match="budget"):
        Budget.parse(text)


@given(st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers())))
def test_any_budget_is_parsed_or_refused(value: Any) -> None:
    try:
        assert Budget.parse(value).amount > 0
    except UserError as error:
        assert "budget" in str(error)


def test_flops_for_less_than_a_step_are_refused() -> None:
    with pytest.raises(UserError, match="does not pay for one step"):
        Budget.parse("10flops").steps(5, 100)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**6),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.floats(), max_size=3),
)


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(TrainingConfig.model_fields)), st.text(max_size=8)), VALUES))
def test_any_settings_are_parsed_or_refused(settings: dict[str, Any]) -> None:
    base = {"model": {}, "name": "m", "data": "d"}
    try:
        config = TrainingConfig.parse(**{**base, **settings})
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert set(settings) <= set(TrainingConfig.model_fields)
        assert config.batch_size is None or config.batch_size >= 1


def test_an_unknown_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'learning_rate'"):
        TrainingConfig.parse(model={}, name="m", data="d", lerning_rate=1)


def test_the_configuration_survives_its_file(trained: Callable[..., Run]) -> None:
    run = trained(stop_at=1, ema=0.5, betas=(0.8, 0.9))
    again = TrainingConfig.read(run.path / "config.yaml")
    assert again == run.config and again.betas == (0.8, 0.9) and again.ema == 0.5


def test_nothing_is_written_when_the_folder_exists(trained: Callable[..., Run], tmp_path: Any) -> None:
    from dougong.training import train

    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists"):
        train(SMALL, "digits", budget="1steps", out=tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["mine.txt"]


def test_nothing_is_written_when_the_input_is_bad(tmp_path: Any) -> None:
    from dougong.training import train

    for bad in ({"budget": "0s"}, {"learning_rate": -1}, {"lr": 1}, {"device": "cuda:77"}, {"split": "50/50/50"}):
        with pytest.raises(UserError):
            train(SMALL, "digits", out=tmp_path / "new", **{"budget": "1steps", **bad})
        assert not (tmp_path / "new").exists(), bad
