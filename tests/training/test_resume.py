"""A run that was resumed equals one that was not, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dougong.errors import UserError
from dougong.training import Run, TrainingError, resume
from dougong.training.loop import Loop
from tests.training.conftest import SMALL, same, weights

CASES = {
    "adamw": {},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "accumulation": {"accumulate": 3},
    "computed again": {"recompute": 1},
    "average": {"ema": 0.9},
    "augmented": {"augment": "strong"},
    "smoothing": {"label_smoothing": 0.1, "schedule": "linear", "clip": 0.5},
    "batch norm": {
        "model": {"architecture": "resnet", "image_size": 8, "layers": [1, 1], "width": 4, "block": "basic",
                  "stem": "small", "n_classes": 10}
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stop_at", [1, 7])
def test_resumed_equals_uninterrupted(trained: Callable[..., Run], case: str, stop_at: int) -> None:
    whole = trained("whole", **CASES[case])
    stopped = trained("stopped", stop_at=stop_at, **CASES[case])
    assert stopped.result is None and stopped.checkpoints.named("last") == f"step-{stop_at:06d}"
    torch.manual_seed(99)  # whatever the random state was, it must not matter
    gone_on = resume(stopped)
    assert same(weights(whole), weights(gone_on))
    first, second = whole.result or {}, gone_on.result or {}
    assert first["test"] == second["test"] and first["best_step"] == second["best_step"]
    assert (whole.path / "model" / "model.safetensors").read_bytes() == (
        gone_on.path / "model" / "model.safetensors"
    ).read_bytes()


def test_without_the_state_of_each_step_the_resumed_run_differs(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: dropout's random numbers must come from the step, not from what was drawn before."""
    monkeypatch.setattr(torch, "manual_seed", lambda seed: torch.default_generator)
    whole = trained("whole")
    stopped = trained("stopped", stop_at=7)
    assert not same(weights(whole), weights(resume(stopped)))


def test_another_seed_gives_other_weights(trained: Callable[..., Run]) -> None:
    assert not same(weights(trained("a", seed=0)), weights(trained("b", seed=1)))
    assert same(weights(trained("c", seed=1)), weights(trained("d", seed=1)))


def test_metrics_are_not_written_twice(trained: Callable[..., Run]) -> None:
    whole = trained("whole", checkpoint_every=5)
    stopped = trained("stopped", stop_at=7)
    # a run killed after step 9 has rows beyond its last checkpoint
    with (stopped.path / "metrics.jsonl").open("a") as file:
        file.write('{"split": "train", "step": 9, "loss": 5.0}\n{"split": "tr')
    gone_on = resume(stopped)
    steps = [(row["split"], row["step"], row["loss"]) for row in gone_on.metrics()]
    assert len(steps) == len(set(steps))
    expected = [(row["split"], row["step"], row["loss"]) for row in whole.metrics()]
    assert [row for row in steps if row[0] == "val"] == [row for row in expected if row[0] == "val"]


def test_a_damaged_checkpoint_is_passed_over(trained: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    whole = trained("whole", checkpoint_every=2, keep=5)
    stopped = trained("stopped", stop_at=7, checkpoint_every=2, keep=5)
    file = stopped.path / "checkpoints" / "step-000007" / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    gone_on = resume(stopped)
    said = capsys.readouterr().err
    assert "step-000007 is damaged (optimizer.safetensors is not as it was written)" in said
    assert "going on from step 6" in said
    assert same(weights(whole), weights(gone_on))


def test_a_killed_writing_leaves_the_earlier_checkpoint(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the writing of a checkpoint is cut off, what was there before still loads."""
    import os

    real, calls = os.fsync, []
    for cut in range(1, 9):
        calls.clear()

        def dying(handle: int, cut: int = cut) -> None:
            calls.append(handle)
            if len(calls) == cut + 8:  # the first checkpoint takes some eight syncs
                raise OSError("cut off")
            real(handle)

        # sync ignores what a system cannot do, so the cut has to be another kind of error
        monkeypatch.setattr(os, "fsync", lambda handle, dying=dying: _fatal(dying, handle))
        with pytest.raises(KeyboardInterrupt):
            trained(f"cut{cut}", checkpoint_every=2, evaluate_every=100)
        monkeypatch.setattr(os, "fsync", real)
        run = Run.open(_last)
        name, passed = run.checkpoints.newest()
        assert name is not None and not passed
        assert run.checkpoints.fault(name) is None


_last: Path = Path()


def _fatal(dying: Callable[[int], None], handle: int) -> None:
    try:
        dying(handle)
    except OSError:
        raise KeyboardInterrupt from None


@pytest.fixture(autouse=True)
def _remember(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last run was begun."""
    from dougong.training.checkpoints import Checkpoints

    real = Checkpoints.write

    def write(self: Checkpoints, *args: object, **kwargs: object) -> str:
        global _last
        _last = self.run
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Checkpoints, "write", write)


def test_best_and_last_are_never_pruned(trained: Callable[..., Run]) -> None:
    run = trained("run", budget="12steps", evaluate_every=1, keep=0, learning_rate=1e-9, warmup=0)
    names = run.checkpoints.names()
    assert set(names) == {run.checkpoints.named("best"), run.checkpoints.named("last")}
    assert run.checkpoints.named("last") == "step-000012"
    kept = trained("kept", budget="12steps", evaluate_every=1, keep=3, learning_rate=1e-9, warmup=0)
    assert 4 <= len(kept.checkpoints.names()) <= 5


def test_a_finished_run_is_left_as_it_is(trained: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = trained()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    resume(run)
    assert "is finished" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}


def test_changed_data_is_refused(trained: Callable[..., Run]) -> None:
    run = trained(stop_at=3)
    text = (run.path / "data.json").read_text().replace('"fingerprint": "', '"fingerprint": "0')
    (run.path / "data.json").write_text(text)
    with pytest.raises(UserError, match="is not the data that this run was trained with"):
        resume(run)


def test_a_loss_that_is_not_finite_names_step_batch_and_checkpoint(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Loop._batches

    def poisoned(self: Loop, step: int) -> list:
        parts = real(self, step)
        if step == 8:
            parts[0].inputs[0][3] = float("nan")
        return parts

    monkeypatch.setattr(Loop, "_batches", poisoned)
    with pytest.raises(TrainingError) as caught:
        trained()
    said = str(caught.value)
    assert "step 9: the loss is not finite" in said and "step-000005" in said
    assert "not finite already in the input: digits:" in said or "not finite already in the input: " in said


def test_the_small_model_learns(trained: Callable[..., Run]) -> None:
    """What is resumed bit for bit is a training that works."""
    run = trained(budget="400steps", model={**SMALL, "dropout": 0.0}, evaluate_every=100, learning_rate=3e-3)
    assert (run.result or {})["test"]["accuracy"] > 0.7
