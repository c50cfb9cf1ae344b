"""What a search is made of, and what it found."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dougong import console
from dougong.errors import UserError
from dougong.figures import many
from dougong.training.checkpoints import write_text
from dougong.training.run import Run, folder_for

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


def read_terms(folder: Path) -> dict[str, Any]:
    """What a search is made of.

    Raises:
        UserError: its file is damaged.
    """
    import yaml

    try:
        terms = yaml.safe_load((folder / TERMS).read_text(encoding="utf-8"))
        assert isinstance(terms, dict) and terms.keys() >= {"model", "data", "space", "trials", "threads", "settings"}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AssertionError):
        raise UserError(str(folder / TERMS), "holds no search", "restore the file") from None
    return terms


def claim(folder: Path, terms: dict[str, Any]) -> None:
    """Make the search's folder, or take up the one that was made on the same terms; more trials are no other terms.

    Raises:
        UserError: the folder holds something else, or the data has changed.
    """
    import yaml

    if (folder / TERMS).is_file():
        known = read_terms(folder)
        if known.get("fingerprint") != terms["fingerprint"]:
            raise UserError(terms["data"], "is not the data of this search", "restore it, or begin a new search")
        if {**known, "trials": 0} != {**terms, "trials": 0, "threads": known["threads"]}:
            raise UserError(str(folder), "holds a search on other terms", "give another folder by --out")
        if terms["trials"] < known["trials"]:
            line = f"is a search of {many(known['trials'], 'trial')}"
            raise UserError(str(folder), line, "ask for as many or more, or give another folder by --out")
        console.note(f"going on with the search in {folder}")
        if known["threads"] != torch.get_num_threads():
            torch.set_num_threads(known["threads"])  # sums are cut by threads: another number rounds otherwise
        (folder / FOUND).unlink(missing_ok=True)
    else:
        folder_for(folder, "search")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"cannot be made ({error.strerror})", "give another folder by --out") from None
    terms = {"threads": torch.get_num_threads(), **terms}
    write_text(folder / TERMS, yaml.safe_dump(terms, sort_keys=False, allow_unicode=True))
