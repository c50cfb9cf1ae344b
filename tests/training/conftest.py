"""A small model and the digits, and a training that stops where a test wants it to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dougong.data import open_data
from dougong.training import Run
from dougong.training.loop import Loop, Stopped
from dougong.training.metrics import Journal
from dougong.training.training import configure, start

SMALL = {"architecture": "vit", "image_size": 8, "patch_size": 4, "d_model": 16, "n_layers": 1, "n_heads": 2,
         "d_ff": 32, "n_classes": 10, "dropout": 0.2}  # fmt: skip


@pytest.fixture(scope="session")
def digits() -> Any:
    return open_data("digits")


@pytest.fixture
def trained(digits: Any, tmp_path: Path) -> Callable[..., Run]:
    """Train the small model; ``stop_at`` stops it between two steps, as Ctrl-C does."""

    def train(name: str = "run", stop_at: int | None = None, model: Any = SMALL, **settings: Any) -> Run:
        settings = {"budget": "12steps", "evaluate_every": 5, "tensorboard": False, "batch_size": 32} | settings
        config, task, lines = configure(model, digits, "digits", task=None, fixed=None, **settings)
        if stop_at is None:
            return start(config, task, tmp_path / name, lines)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loop, "stop", None, raising=False)
            run_loop = Loop.run

            def stopping(self: Loop, show: Any = lambda *_, **__: None) -> Any:
                self.stop = lambda: self.state.step >= stop_at
                return run_loop(self, show)

            patch.setattr(Loop, "run", stopping)
            with pytest.raises(KeyboardInterrupt):
                start(config, task, tmp_path / name, lines)
        return Run(tmp_path / name)

    return train


def weights(run: Run) -> dict[str, Tensor]:
    """The weights at the end of a run."""
    tensors, _ = run.checkpoints.read(run.checkpoints.named("last") or "")
    return tensors["model"]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


__all__ = ["SMALL", "Journal", "Stopped", "same", "weights"]
