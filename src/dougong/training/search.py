"""Searching for good settings with Optuna: many trials, judged on the validation split alone.

What a trial tries is a pure function of the seed, its number and the trials before it, so a search that was killed and
taken up again makes the same trials as one that was not. Trials are drawn by a tree of Parzen estimators (Bergstra et
al. 2011, section 4); one whose validation metric is worse than the median of the others at the same share of the budget
is ended early (Golovin et al. 2017, section 3.2.2).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dougong import console
from dougong.errors import FailureError, UserError
from dougong.figures import many
from dougong.training.budget import Budget
from dougong.training.config import TrainingConfig
from dougong.training.loop import Loop, TrainingError, plan_for
from dougong.training.run import Run, environment, folder_for, write_json
from dougong.training.scoring import score
from dougong.training.searched import FOUND, TERMS, Search, Trial, claim, read_terms
from dougong.training.space import Space, default_space, is_space, parse_space, settings_of, usual, written
from dougong.training.starting import OWN, initial_model, whole
from dougong.training.study import Asked, Study
from dougong.training.training import configure, device_for, flops_of_step, lasting, open_data_for, start
from dougong.training.training import resume as resume_run

EVALUATIONS = 10
"""Of each trial, unless ``evaluate_every`` is set: at the same shares of the budget, so that trials can be compared."""

PUBLISHED = ("model", "adapter", "tokenizer", "data.json", "env.json", "metrics.jsonl", "log.txt", "result.json",
             "config.yaml")  # fmt: skip
"""What of the best trial is copied into the search's folder, config.yaml last: with it that folder is a run."""


def search(
    model: str | dict[str, Any],
    data: str | Path,
    *,
    trials: int = 20,
    budget: str | int = "10epochs",
    seed: int = 0,
    space: Mapping[str, Any] | None = None,
    task: str | None = None,
    out: str | Path | None = None,
    fixed: Collection[str] | None = None,
    **settings: Any,
) -> Search:
    """Search for the settings with which a model learns best, by the primary metric on the validation split.

    Each trial is a run of its own in ``out/trials/``. The test split is measured once, with the best trial's model,
    which is then copied into ``out``: that folder is a run, too. When a search was stopped, the same call with the same
    ``out``, or ``resume(out)``, goes on with it; with more ``trials`` a finished one is carried further.

    Args:
        model: as in `train`.
        data: a built-in name, a file or a folder.
        trials: how many.
        budget: of each trial.
        seed: of what is tried, and of every trial's weights, order and augmentation.
        space: by setting ("model.dropout" for an argument of the model) a range, as "1e-5..1e-3", or choices, as
            [16, 32]; see `dougong.training.space`. None: learning rate, batch size (unless the budget counts steps),
            weight decay, warm-up, label smoothing, and what ``tune`` offers, around the values that `train` would take.
            A range or choices among the settings mean the same.
        task: what is learnt; read off the data when None.
        out: its folder; runs/TIME-search-NAME when None.
        fixed: as in `train`.
        settings: the further ones of `TrainingConfig`, the same in every trial.

    Raises:
        UserError: Optuna is missing, a bad space, a folder that holds something else, or what `train` raises. Nothing
            is written then.
        FailureError: no trial came to its end.
    """
    _require_optuna()
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise UserError("trials", f"{trials!r} is no number of trials", "give how many, as 20")
    given, init = whole(model)
    name = str(settings.pop("name", None) or (Path(model).name if isinstance(model, str) else given["architecture"]))
    own = set(fixed) if fixed is not None else set(model) if isinstance(model, dict) else set()
    config = given if init is None else {**given, "init": init}
    space = {**(space or {}), **{key: value for key, value in settings.items() if is_space(key, value, given)}}
    settings = {key: value for key, value in settings.items() if not is_space(key, value, given)}
    both = sorted(set(space) & {key for key, value in settings.items() if value is not None})
    if both:
        raise UserError(both[0], "is given both a value and a space", "give one of them")
    opened = open_data_for(data, settings, task)
    terms = {"model": config, "name": name, "data": lasting(data), "budget": str(budget), "seed": seed, "task": task,
             "fixed": sorted(own - {"architecture", "init"}), "settings": settings}  # fmt: skip
    base, job, _ = _configured(terms, {}, opened)
    if space:
        chosen = parse_space(space, base.model, job.primary)
    else:
        chosen = default_space(base, settings, job.size("train"), job.primary)
    if not chosen:
        raise UserError("search", "every setting has its value already", "leave one open, or give it a range")
    for key in chosen:
        if init is not None and key.startswith("model.") and key.removeprefix("model.") not in OWN:
            raise UserError(f"search: {key}", "is what the weights of the trained model fit", "leave it as it is")
    initial_model(base)  # if it cannot be made, nothing is to be written
    terms |= {"space": written(chosen), "fingerprint": opened.fingerprint, "trials": trials}
    device_for(base.device)
    folder = Path(out).expanduser() if out is not None else folder_for(None, f"search-{name}")
    claim(folder, json.loads(json.dumps(terms)))
    return _Searching(folder, terms, chosen, usual(chosen, base), opened, job).run()


def go_on(folder: Path) -> Search:
    """Go on with a search that was stopped; a finished one is returned as it is.

    Raises:
        UserError: its data is not what it was, or its terms cannot be read.
    """
    if (folder / FOUND).is_file():
        console.note(f"{folder} is finished: there is nothing to go on with")
        return Search.open(folder)
    terms = read_terms(folder)
    wanted = {key: terms[key] for key in ("budget", "seed", "task", "space", "fixed", "trials", "name")}
    return search(terms["model"], terms["data"], out=folder, **wanted, **terms["settings"])


def resume(path: str | Path | Run) -> Run | Search:
    """Go on with a run from its newest undamaged checkpoint, or with a search from the trial that it was in.

    Returns:
        The finished run or search; one that was finished is returned as it is.

    Raises:
        UserError: neither, a trial of a search that is not finished, or its data is not what it was.
    """
    folder = path.path if isinstance(path, Run) else Path(path)
    if (folder / TERMS).is_file():
        return go_on(folder)
    above = folder.absolute().parent
    if above.name == "trials" and (above.parent / TERMS).is_file() and not (folder / "result.json").is_file():
        raise UserError(str(folder), "is a trial of a search", f"go on with it all: dougong resume {above.parent}")
    return resume_run(path)


def _require_optuna() -> None:
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise UserError("search", "needs Optuna, which is not installed", 'install it: pip install "dougong[search]"')


def _configured(terms: Mapping[str, Any], changes: Mapping[str, Any], opened: Any) -> tuple[TrainingConfig, Any, Any]:
    """The configuration of a trial, its task, and a line for each choice that was made.

    Args:
        terms: of the search.
        changes: the trial's settings; "model.dropout" is an argument of the model.
        opened: the data.
    """
    inner = {key.removeprefix("model."): value for key, value in changes.items() if key.startswith("model.")}
    outer = {key: value for key, value in changes.items() if not key.startswith("model.")}
    settings = {"tensorboard": False, "keep": 0, **terms["settings"], **outer}
    fixed = {*terms["fixed"], *inner}
    config, job, lines = configure(
        {**terms["model"], **inner}, opened, terms["data"], fixed=fixed, task=terms["task"], budget=terms["budget"],
        seed=terms["seed"], name=terms["name"], **settings,
    )  # fmt: skip
    total = _steps(config, job)
    if config.evaluate_every is None and total is not None:
        config = config.model_copy(update={"evaluate_every": -(-total // EVALUATIONS)})
    return config, job, lines


def _steps(config: TrainingConfig, job: Any) -> int | None:
    """Steps of a trial that is not ended early; None when only the clock can tell."""
    return Budget.parse(config.budget).steps(plan_for(config, job).steps, flops_of_step(config, job))


class _Searching:
    """A search at work.

    Args:
        folder: of the search.
        terms: what it is made of.
        space: what is tried.
        usual: the first trial's values, by Optuna's names: what a training without a search would use.
        opened: the data.
        job: the task, for its metric.
    """

    def __init__(
        self, folder: Path, terms: dict[str, Any], space: Space, usual: dict[str, Any], opened: Any, job: Any
    ) -> None:
        self.folder, self.terms, self.space, self.usual = folder, terms, space, usual
        self.opened, self.job = opened, job
        self.said: set[str] = set()

    def run(self) -> Search:
        """Make the trials that are missing, then measure and publish the best."""
        wanted, seed = self.terms["trials"], self.terms["seed"]
        with Study(self.folder, self.space, seed, self.job.higher_is_better, self.usual) as study:
            with console.progress(wanted, "search", unit="trials") as bar:
                bar.set(len(study))
                while len(study) < wanted:
                    self._trial(study)
                    best = study.best()
                    shown = {} if best is None else {f"best val {self.job.primary}": best[1], "of trial": best[0]}
                    bar.set(len(study), **shown)
            found = study.trials()
            best = study.best()
            importance = study.importance()
        if best is None:
            raise FailureError(
                f"{self.folder}: none of {many(wanted, 'trial')} came to its end; search lower learning rates"
            )
        return self._finish([Trial(**each) for each in found], best[0], importance)

    def _trial(self, study: Study) -> None:
        """Make, or go on with, the next trial."""
        asked = study.ask()
        folder = self.folder / "trials" / f"{asked.number:03d}"
        settings = settings_of(self.space, asked.params)
        console.note(f"trial {asked.number}: {console.fields(settings)}")

        try:
            run = self._run(folder, settings, asked)
        except KeyboardInterrupt:
            console.note(f"the search goes on with: dougong resume {self.folder}")
            raise
        except (TrainingError, _Unfit) as error:
            console.note(f"trial {asked.number} failed: {error}")
            study.tell(asked, settings, None, {"ended": str(error)})
            return
        result = run.result or {}
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a finished trial goes on no more
        kept = {key: result[key] for key in ("steps", "seconds", "flops", "parameters", "best_step", "ended")}
        study.tell(asked, settings, float(result["val"][self.job.primary]), kept)

    def _run(self, folder: Path, settings: dict[str, Any], asked: Asked) -> Run:
        """The trial's run: as it is, gone on with, or new."""
        try:
            config, job, lines = _configured(self.terms, settings, self.opened)
        except UserError as error:  # sizes that do not go together
            raise _Unfit(str(error)) from None

        def prepare(loop: Loop) -> None:
            loop.judged = ("val",)
            loop.on_evaluation = lambda spent, value: asked.report(round(EVALUATIONS * spent), value)
            tell_again(loop.state.step)

        def tell_again(step: int) -> None:
            """Report what was measured up to a step before the search was stopped."""
            total = _steps(config, job)
            for row in Run(folder).metrics():
                if row["split"] == "val" and row["step"] <= step:
                    spent = (
                        row["seconds"] / Budget.parse(config.budget).amount if total is None else row["step"] / total
                    )
                    asked.report(round(EVALUATIONS * min(1.0, spent)), row[job.primary])

        if (folder / "data.json").is_file():
            run = Run.open(folder)
            if run.config == config:
                if run.result is None:
                    return resume_run(run, prepare)
                tell_again(run.result["steps"])
                return run
        shutil.rmtree(folder, ignore_errors=True)  # killed before it had its configuration and data
        fresh = [line for line in lines if line not in self.said]
        self.said.update(lines)
        return start(config, job, folder, fresh, prepare)

    def _finish(self, trials: list[Trial], best: int, importance: dict[str, float]) -> Search:
        """Measure the best trial's model on the test split, once, and write down what was found."""
        run = Run(self.folder / "trials" / f"{best:03d}")
        result = dict(run.result or {})
        if "test" not in result:
            device = device_for(run.config.device)
            result["test"] = score(run.model().to(device), self.job, "test", device)[0]
            write_json(run.path / "result.json", result)
        _publish(run.path, self.folder)
        found = Search(
            path=self.folder, name=self.terms["name"], data=self.terms["data"], budget=self.terms["budget"],
            seed=self.terms["seed"], metric=self.job.primary, higher_is_better=self.job.higher_is_better,
            space=self.terms["space"], trials=trials, best=best, test=result["test"], importance=importance,
            environment=_environment(),
        )  # fmt: skip
        write_json(self.folder / FOUND, found.to_dict())
        return found


def _environment() -> dict[str, Any]:
    """The machine and the versions, Optuna's too."""
    import optuna

    found = environment()
    return {**found, "versions": {**found["versions"], "optuna": optuna.__version__}}


class _Unfit(Exception):
    """A trial's settings do not go together."""


def _publish(run: Path, folder: Path) -> None:
    """Copy what makes a run of the best trial into the search's folder."""
    (folder / "config.yaml").unlink(missing_ok=True)
    for name in PUBLISHED:
        source, target = run / name, folder / name
        if target.is_dir():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.is_file():
            shutil.copy2(source, target)
