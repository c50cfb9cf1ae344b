"""A training that is told how much memory it may take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dougong.errors import UserError
from dougong.training import Run, resume
from dougong.training import memory as fitting
from dougong.training.memory import GROWTH, SLACK, Amount
from tests.training.conftest import SMALL, same, weights

DEEP = SMALL | {"n_layers": 3}


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("4GB", 4 * 10**9), ("1.5 gb", 15 * 10**8), ("512MiB", 2**29), ("8GiB", 2**33), ("1000", 1000), (2048, 2048)],
)
def test_amounts(text: str, n_bytes: int) -> None:
    assert Amount.parse(text).n_bytes == n_bytes


@pytest.mark.parametrize("text", ["", "lots", "4XB", "-1GB", "0GB", "0.5", "1e999GB", True])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="memory"):
        Amount.parse(text)


def test_blocks_computed_again_change_nothing(trained: Callable[..., Run]) -> None:
    plain, again = trained("plain", model=DEEP), trained("again", model=DEEP, recompute=3)
    assert same(weights(plain), weights(again))


def test_the_step_is_cut_to_fit_and_the_run_remembers_how(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dougong.cost.fitting import Steps

    monkeypatch.setattr(fitting, "held", lambda model: 0)
    whole = Steps(DEEP, 32, None).fit().peak
    enough = GROWTH + round((1 + SLACK) * whole) + 1
    assert (trained("enough", model=DEEP, memory=f"{enough}").config.accumulate) == 1
    assert "the batch is read whole; a step holds" in capsys.readouterr().err
    little = GROWTH + round((1 + SLACK) * 0.6 * whole)
    stopped = trained("little", model=DEEP, memory=f"{little}", stop_at=7)
    config = stopped.config
    assert Steps(DEEP, 32, None).fit(config.accumulate, config.recompute).peak <= 0.6 * whole
    assert config.accumulate > 1 or config.recompute > 0
    uncut = trained("the same by hand", model=DEEP, accumulate=config.accumulate, recompute=config.recompute)
    monkeypatch.setattr(fitting, "held", lambda model: 10**15)  # a resumed run does not ask again
    assert same(weights(resume(stopped)), weights(uncut))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"memory": "1MB"}, "memory 1MB: a step needs at least .* for the program itself; give more"),
        ({"memory": "9GB", "recompute": 1}, "leave memory or recompute out"),
        ({"recompute": 9}, "recompute: 9 blocks: this model has 1 that can be; set it to 1 at most"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    trained: Callable[..., Run], tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        trained("refused", **settings)
    assert not (tmp_path / "refused").exists()


def test_a_batch_that_this_machine_cannot_hold_is_refused_before_it_starts(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dougong.cost.fitting import Steps

    peak = Steps(DEEP, 32, None).fit().peak
    monkeypatch.setattr("dougong.cost.probe.memory_of", lambda kind: float(peak - 1))
    with pytest.raises(UserError, match=r"batch_size: a step over 32 samples holds .* set memory"):
        trained("too large", model=DEEP)
    assert not (tmp_path / "too large").exists()
    monkeypatch.setattr("dougong.cost.probe.memory_of", lambda kind: float(peak))
    assert trained("just enough", model=DEEP).result
    monkeypatch.setattr("dougong.cost.probe.memory_of", lambda kind: 1e12)
    monkeypatch.setattr(fitting, "steps_of", lambda *_: pytest.fail("traced where there is plenty"))
    assert trained("plenty", model=DEEP).result
