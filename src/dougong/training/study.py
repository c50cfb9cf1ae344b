"""Optuna's study of a search: what is tried next, what was found, and which settings mattered.

Finished trials are kept in search.db, which Optuna's own tools read. Before each trial a study in memory is made of
them, whose sampler is seeded by the trial's number: nothing else is remembered, so nothing is lost when a search is
killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from dougong.errors import UserError
from dougong.training.space import Choices, Space, distributions

DATABASE = "search.db"
PRUNED = "pruned"
BEFORE = 3
"""The first evaluation, of ten, that may end a trial: a rate that is still rising says little."""
ENOUGH = 4
"""Complete trials before one may be ended early."""


class Asked:
    """A trial that is under way.

    Args:
        trial: Optuna's, of a study in memory.
        metric: what a value is of.
    """

    def __init__(self, trial: Any) -> None:
        self.trial, self.number, self.params = trial, int(trial.number), dict(trial.params)
        self.reported: dict[int, float] = {}
        self.ended = False

    def report(self, place: int, value: float) -> str | None:
        """Tell of an evaluation; a reason if the trial had better end.

        Args:
            place: tenths of the budget that are spent.
            value: of the primary metric.
        """
        if place in self.reported:
            return None
        self.reported[place] = value
        self.trial.report(value, place)
        self.ended = bool(self.trial.should_prune())
        return f"{PRUNED}: worse than the median of the other trials by here" if self.ended else None


class Study:
    """The study of a search; a context manager.

    Args:
        folder: of the search.
        space: what is tried.
        seed: of what is tried.
        higher_is_better: of the metric.
        usual: what the first trial tries, as far as the space holds it.
    """

    def __init__(self, folder: Path, space: Space, seed: int, higher_is_better: bool, usual: dict[str, Any]) -> None:
        import optuna
        from sqlalchemy import URL
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna, self.space, self.seed, self.usual = optuna, space, seed, usual
        self.direction: Literal["maximize", "minimize"] = "maximize" if higher_is_better else "minimize"
        self.distributions = distributions(space)
        url = URL.create("sqlite", database=str((folder / DATABASE).absolute()))
        try:
            with _quiet():
                self.storage = optuna.storages.RDBStorage(url.render_as_string(hide_password=False))
                self.stored = optuna.create_study(
                    storage=self.storage, study_name="search", direction=self.direction, load_if_exists=True
                )
        except (SQLAlchemyError, RuntimeError) as error:
            said = str(error).splitlines()[0]
            remedy = "remove it: it is made anew from the trials"
            raise UserError(str(folder / DATABASE), f"cannot be read ({said})", remedy) from None

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self.storage.remove_session()
        self.storage.engine.dispose()

    def __len__(self) -> int:
        return len(self._finished())

    def _finished(self) -> list[Any]:
        return self.stored.get_trials(deepcopy=False)

    def ask(self) -> Asked:
        """The next trial: a pure function of seed, number and the trials before it."""
        before = self._finished()
        digest = hashlib.sha256(json.dumps([self.seed, len(before)]).encode()).digest()
        with _quiet():
            study = self.optuna.create_study(
                direction=self.direction,
                sampler=self.optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big")),
                pruner=self.optuna.pruners.MedianPruner(n_startup_trials=ENOUGH, n_warmup_steps=BEFORE),
            )
            study.add_trials(before)
            if not before and self.usual:
                study.enqueue_trial(self.usual)
            return Asked(study.ask(self.distributions))

    def tell(self, asked: Asked, settings: dict[str, Any], value: float | None, more: dict[str, Any]) -> None:
        """Keep a finished trial.

        Args:
            asked: the trial.
            settings: as it tried them.
            value: of the metric; None for a trial that failed, which is the worst there is.
            more: what else is kept: why it ended, steps, seconds.
        """
        failed = value is None
        pruned = failed or str(more["ended"]).startswith(PRUNED)
        states = self.optuna.trial.TrialState
        params = {
            key: self.space[key].names()[self.space[key].values.index(tried)]  # type: ignore[union-attr]
            if isinstance(self.space[key], Choices) else tried
            for key, tried in settings.items()
        }  # fmt: skip
        with _quiet():
            trial = self.optuna.trial.create_trial(
                state=states.PRUNED if pruned else states.COMPLETE,
                value=value, params=params, distributions=self.distributions,
                intermediate_values={} if failed else asked.reported,
                user_attrs={**more, "settings": settings, "failed": failed},
            )  # fmt: skip
            self.stored.add_trial(trial)

    def best(self) -> tuple[int, float] | None:
        """Number and value of the best complete trial, the first of equals; None before there is one."""
        done = [trial for trial in self._finished() if trial.state.name == "COMPLETE"]
        sign = -1 if self.direction == "maximize" else 1
        best = min(done, key=lambda trial: (sign * trial.value, trial.number), default=None)
        return None if best is None else (best.number, best.value)

    def trials(self) -> list[dict[str, Any]]:
        """The finished trials: number, settings, state, value, ended, steps, seconds, flops."""
        found = []
        for trial in self._finished():
            more = trial.user_attrs
            state = "failed" if more["failed"] else trial.state.name.lower()
            spent = {key: more.get(key) for key in ("steps", "seconds", "flops")}
            found.append(
                {"number": trial.number, "settings": more["settings"], "state": state,
                 "value": None if more["failed"] else trial.value, "ended": more["ended"], **spent}
            )  # fmt: skip
        return found

    def importance(self) -> dict[str, float]:
        """The share of the value's variance that each setting explains (functional ANOVA; Hutter et al. 2014), greatest
        first, their sum 1. A trial that was ended early counts with what it had reached by then; Optuna would leave it
        out, and see nothing of what made it bad. Nothing where trials are fewer than twice the settings, or all alike.
        """
        kept = [trial for trial in self._finished() if not trial.user_attrs["failed"]]
        if len(kept) < 2 * len(self.space) or len({trial.value for trial in kept}) < 2:
            return {}
        make = self.optuna.trial.create_trial
        with _quiet():
            study = self.optuna.create_study(direction=self.direction)
            for each in kept:
                study.add_trial(make(value=each.value, params=each.params, distributions=each.distributions))
            judge = self.optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
            try:
                found = self.optuna.importance.get_param_importances(study, evaluator=judge)
            except (RuntimeError, ValueError):  # no tree can be grown on these values
                return {}
        return {key: float(value) for key, value in found.items()}


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the warnings of what Optuna calls experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
