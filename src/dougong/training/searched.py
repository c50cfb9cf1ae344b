"""What a search found."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dougong import console
from dougong.errors import UserError
from dougong.training.run import Run

TERMS = "search.yaml"
"""In a search's folder, what it is made of: it is there from the beginning."""
FOUND = "search.json"
"""In a search's folder, what it found: it is there at the end."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Args:
        number: from 0; its run lies in trials/NNN.
        settings: what it tried.
        state: "complete", "pruned" (ended early, because it was worse than the median) or "failed".
        value: of the primary metric on the validation split, of the model that is kept; None of a failed one.
        ended: why it ended.
        steps, seconds, flops: that it took; None of a failed one.
    """

    number: int
    settings: dict[str, Any]
    state: str
    value: float | None
    ended: str
    steps: int | None = None
    seconds: float | None = None
    flops: float | None = None


@dataclass(frozen=True)
class Search:
    """Trials of one model on one data set, in the order in which they were made.

    Args:
        path: its folder: search.yaml, search.db (Optuna's), search.json, trials/NNN, and the best trial's run.
        name: of the model.
        data: what was learnt from.
        budget: of each trial.
        seed: of the search and of every trial.
        metric: the primary one, on the validation split.
        higher_is_better: of that metric.
        space: what was searched, as a user would write it.
        trials: all of them.
        best: the number of the best.
        test: metrics of the best trial's model on the test split.
        importance: by setting, the share of the value's variance that it explains; empty where too few trials tell.
        environment: machine and versions.
    """

    path: Path
    name: str
    data: str
    budget: str
    seed: int
    metric: str
    higher_is_better: bool
    space: dict[str, Any]
    trials: list[Trial]
    best: int
    test: dict[str, Any]
    importance: dict[str, float]
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the best trial."""
        return self.trials[self.best].settings

    @property
    def value(self) -> float | None:
        """The best trial's metric on the validation split."""
        return self.trials[self.best].value

    def run(self, number: int | None = None) -> Run:
        """The run of a trial; of the best one when None."""
        return Run(self.path / "trials" / f"{self.best if number is None else number:03d}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON, and as search.json."""
        return {**vars(self), "path": str(self.path), "trials": [dict(vars(trial)) for trial in self.trials]}

    @classmethod
    def open(cls, path: str | Path) -> Search:
        """The finished search in a folder.

        Raises:
            UserError: there is none.
        """
        file = Path(path) / FOUND
        if not file.is_file():
            remedy = f"go on with it: dougong resume {path}" if (Path(path) / TERMS).is_file() else "name its folder"
            raise UserError(str(path), "holds no finished search", remedy)
        found = json.loads(file.read_text(encoding="utf-8"))
        trials = [Trial(**trial) for trial in found.pop("trials")]
        return cls(**{**found, "path": Path(path), "trials": trials})

    def ranked(self) -> list[Trial]:
        """Complete trials, best first; then those that were ended early, by how far they came; then failed ones."""
        sign = -1 if self.higher_is_better else 1
        order = {"complete": 0, "pruned": 1, "failed": 2}
        return sorted(
            self.trials, key=lambda trial: (order[trial.state], sign * (trial.value or 0.0), trial.number)
        )  # fmt: skip

    def table(self, most: int | None = None) -> tuple[list[str], list[list[Any]]]:
        """Headings and rows for a reader, best first. Args: most: rows; all when None."""
        keys = list(self.space)
        head = ["trial", f"val {self.metric}", "state", *(key.replace("_", " ") for key in keys), "steps", "time"]
        rows: list[list[Any]] = []
        for trial in self.ranked()[:most]:
            value = "-" if trial.value is None else f"{trial.value:.4f}"
            tried = [_said(trial.settings[key]) for key in keys]
            time = None if trial.seconds is None else console.duration(trial.seconds)
            rows.append([trial.number, value, trial.state, *tried, trial.steps, time])
        return head, rows


def _said(value: Any) -> str:
    return console.number(value) if isinstance(value, float) else str(value)
