"""Comparing models on equal terms: one split, one budget, several seeds."""

from __future__ import annotations

import json
import math
import re
import shutil
import statistics
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dougong import console
from dougong.data.batching import in_order
from dougong.errors import UserError
from dougong.training.config import TrainingConfig
from dougong.training.measuring import latency, peak_memory
from dougong.training.run import Run, environment, folder_for, write_json
from dougong.training.scoring import score
from dougong.training.starting import whole
from dougong.training.training import configure, open_data_for, resume, start

LARGE_BATCH = 64

Models = list[str | dict[str, Any]] | dict[str, dict[str, Any]]
"""Names or configurations; or configurations by the names that they are to have."""


@dataclass(frozen=True)
class Row:
    """One model of a comparison.

    Args:
        name: of the model.
        config: its whole configuration.
        scores: the primary metric on the test split, a value a seed.
        mean: of the scores.
        low, high: 95 % interval of the mean over seeds, by Student's t; None with one seed.
        p_value: of the paired test against the best model, corrected by Holm's rule; None for the best itself.
        parameters: how many.
        flops: of the whole training.
        forward_flops: of one input.
        seconds: of training, the mean over seeds.
        steps: of training, the mean over seeds.
        latency_1, latency_64: median seconds of a forward pass of 1 and of 64 inputs.
        memory: peak bytes of inference with 64 inputs.
        runs: the runs' folders, a seed each.
    """

    name: str
    config: dict[str, Any]
    scores: list[float]
    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    parameters: int
    flops: float
    forward_flops: int
    seconds: float
    steps: float
    latency_1: float
    latency_64: float
    memory: int
    runs: list[str]


@dataclass(frozen=True)
class Comparison:
    """Models trained on equal terms, best first.

    Args:
        path: its folder: comparison.json, and a run's folder for each model and seed.
        data: what they were trained on.
        budget: of each run.
        seeds: one run each.
        metric: the primary metric, on the test split.
        higher_is_better: of that metric.
        samples: of the test split.
        rows: a model each.
        environment: machine and versions.
        rules: of tasks that have any, test metrics of rules without weights, by name, which a model must beat.
    """

    path: Path
    data: str
    budget: str
    seeds: list[int]
    metric: str
    higher_is_better: bool
    samples: int
    rows: list[Row]
    environment: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, and as comparison.json."""
        return {**vars(self), "path": str(self.path), "rows": [dict(vars(row)) for row in self.rows]}

    @classmethod
    def open(cls, path: str | Path) -> Comparison:
        """The comparison in a folder.

        Raises:
            UserError: there is none.
        """
        file = Path(path) / "comparison.json"
        if not file.is_file():
            raise UserError(str(path), "holds no comparison.json", "give the folder of a finished comparison")
        found = json.loads(file.read_text(encoding="utf-8"))
        rows = [Row(**row) for row in found.pop("rows")]
        return cls(**{**found, "path": Path(path), "rows": rows})

    def runs(self, name: str) -> list[Run]:
        """The runs of a model, a seed each."""
        return [Run(self.path / run) for row in self.rows if row.name == name for run in row.runs]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Headings and rows for a reader, best first."""
        head = ["model", f"test {self.metric}", "95 % interval", "p against best", "parameters", "training FLOPs"]
        head += ["FLOPs an input", "training time", "latency 1", f"latency {LARGE_BATCH}", f"memory {LARGE_BATCH}"]
        rows = []
        for row in self.rows:
            interval = "-" if row.low is None or row.high is None else f"{row.low:.4f} to {row.high:.4f}"
            rows.append(
                [
                    row.name,
                    f"{row.mean:.4f}",
                    interval,
                    "best" if row.p_value is None else _p(row.p_value),
                    console.parameters(row.parameters),
                    console.count(row.flops),
                    console.count(row.forward_flops),
                    console.duration(row.seconds),
                    console.duration(row.latency_1),
                    console.duration(row.latency_64),
                    console.size(row.memory),
                ]
            )
        for name, figures in sorted(self.rules.items(), key=lambda each: -each[1][self.metric]):
            rows.append([f"{name}, a rule", f"{figures[self.metric]:.4f}", *["-"] * (len(head) - 2)])
        return head, rows


def compare(
    models: Models,
    data: str | Path,
    *,
    budget: str | int = "10epochs",
    seeds: int | list[int] = 3,
    task: str | None = None,
    out: str | Path | None = None,
    fixed: Collection[str] | None = None,
    **settings: Any,
) -> Comparison:
    """Train several models on the same split under the same budget with several seeds, and compare them.

    Each (model, seed) is a run of its own. When a comparison was stopped, the same call with the same ``out`` leaves
    finished runs as they are and goes on with the others.

    Args:
        models: names or configurations, each once; or configurations by the names that they are to have.
        data: a built-in name, a file or a folder.
        budget: of each run; FLOPs make the compute equal, seconds the time, epochs the samples seen.
        seeds: how many (0, 1, ...), or which.
        task: what is learnt; read off the data when None.
        out: its folder; runs/TIME-compare when None.
        fixed: as in `train`.
        settings: the further ones of `TrainingConfig`, the same for all.

    Raises:
        UserError: fewer than one seed, a model named twice, a folder that holds something else, or what `train` raises.
    """
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not chosen or len(set(chosen)) != len(chosen):
        raise UserError("seeds", f"{seeds!r} are none, or one comes twice", "give how many, as 3")
    names = named(models)
    opened = open_data_for(data, settings, task)
    plans = []
    for name, model in names.items():
        for seed in chosen:
            config, job, lines = configure(
                model,
                opened,
                data,
                fixed=fixed,
                budget=str(budget),
                task=task,
                seed=seed,
                **{"tensorboard": False, **settings},
            )
            plans.append((name, seed, config.model_copy(update={"name": name}), job, lines))
    folder = Path(out) if out is not None else folder_for(None, "compare")
    terms = {
        "data": str(data),
        "budget": str(budget),
        "seeds": chosen,
        "models": {name: _terms(model) for name, model in names.items()},
    }
    _claim(folder, json.loads(json.dumps({**terms, "settings": settings})))
    said: set[str] = set()
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with console.progress(len(plans), "compare", unit="runs") as bar:
        for name, seed, config, job, lines in plans:
            fresh = [line for line in (_of(name, line, opened) for line in lines) if line not in said]
            said.update(fresh)
            runs[name].append(_run(config, job, folder / f"{name}-seed{seed}", fresh))
            bar.advance(1)
    job = plans[0][3]
    rows = _rows(runs, job)
    rules = job.beside("test") if hasattr(job, "beside") else {}
    found = Comparison(
        folder, str(data), str(budget), chosen, job.primary, job.higher_is_better, job.size("test"), rows,
        environment(), rules,
    )  # fmt: skip
    write_json(folder / "comparison.json", found.to_dict())
    return found


def named(models: Models) -> dict[str, str | dict[str, Any]]:
    """The models by a name that can be a folder's.

    Raises:
        UserError: none, or one twice.
    """
    if isinstance(models, dict):
        return {re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model": each for name, each in models.items()}
    found: dict[str, str | dict[str, Any]] = {}
    for model in models:
        name = Path(model).name if isinstance(model, str) else str(whole(model)[0]["architecture"])
        if isinstance(model, dict):  # several configurations of one family are told apart by their order
            name = next(n for n in (name, *(f"{name}-{k}" for k in range(2, 1000))) if n not in found)
        if name in found:
            raise UserError(name, "is named twice", "name each model once; seeds repeat it")
        found[name] = model
    if not found:
        raise UserError("models", "there is none", "name at least one")
    return found


def _of(name: str, line: str, opened: Any) -> str:
    """A line said of one model names it; one said of the data does not."""
    return line if line in opened.notes or line.startswith(name) else f"{name}: {line}"


def _claim(folder: Path, terms: dict[str, Any]) -> None:
    """Make the comparison's folder, or take up the one that was made on the same terms.

    Raises:
        UserError: the folder holds something else.
    """
    file = folder / "terms.json"
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8")) != terms:
            raise UserError(str(folder), "holds a comparison on other terms", "give another folder by --out")
        console.note(f"going on with the comparison in {folder}")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(str(folder), "exists", "give another folder by --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, terms)


def _terms(model: str | dict[str, Any]) -> dict[str, Any]:
    """A model's whole configuration, and where its weights come from."""
    config, init = whole(model)
    return config if init is None else {**config, "init": init}


def _run(config: TrainingConfig, task: Any, folder: Path, lines: list[str]) -> Run:
    """A finished run: as it is, gone on with, or new."""
    if (folder / "data.json").is_file():
        run = Run.open(folder)
        return run if run.result is not None else resume(run)
    shutil.rmtree(folder, ignore_errors=True)  # killed before it had a configuration and data
    return start(config, task, folder, lines)


def _rows(runs: dict[str, list[Run]], task: Any) -> list[Row]:
    """What was measured, best model first."""
    from dougong.cost import forward_flops

    models = {name: several[0].model() for name, several in runs.items()}
    length = task.typical_length
    small, large = latency(models, 1, length=length), latency(models, LARGE_BATCH, length=length)
    results = {name: [run.result or {} for run in several] for name, several in runs.items()}
    scores = {name: [float(result["test"][task.primary]) for result in several] for name, several in results.items()}
    sign = 1 if task.higher_is_better else -1
    order = sorted(runs, key=lambda name: -sign * statistics.fmean(scores[name]))
    samples = {name: _sample_scores(several, task) for name, several in runs.items()}
    raw = [paired_test(samples[order[0]], samples[name]) for name in order[1:]]
    p_values = dict(zip(order[1:], holm(raw), strict=True))
    rows = []
    for name in order:
        low, high = t_interval(scores[name], limits=task.limits)
        several = results[name]
        rows.append(
            Row(
                name=name,
                config=dict(runs[name][0].config.model),
                scores=scores[name],
                mean=statistics.fmean(scores[name]),
                low=low,
                high=high,
                p_value=p_values.get(name),
                parameters=several[0]["parameters"],
                flops=statistics.fmean(result["flops"] for result in several),
                forward_flops=forward_flops(runs[name][0].config.model, 1, length),
                seconds=statistics.fmean(result["seconds"] for result in several),
                steps=statistics.fmean(result["steps"] for result in several),
                latency_1=small[name],
                latency_64=large[name],
                memory=peak_memory(models[name], LARGE_BATCH, length),
                runs=[run.path.name for run in runs[name]],
            )
        )
    return rows


def _sample_scores(runs: list[Run], task: Any) -> torch.Tensor:
    """(samples,) the primary metric of each test sample, the mean over seeds."""
    found = [torch.tensor(score(run.model(), task, "test")[1].sample_scores(), dtype=torch.float64) for run in runs]
    return torch.stack(found).mean(0)


def t_interval(
    values: list[float], level: float = 0.95, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float | None, float | None]:
    """Student's interval of the mean of a few values, cut at what the metric can be; (None, None) for one."""
    if len(values) < 2:
        return None, None
    from scipy.stats import t

    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf((1 + level) / 2, len(values) - 1)) * error
    return max(mean - reach, limits[0]), min(mean + reach, limits[1])


SIGNS = 2**25
"""That are drawn at once, so that many samples need no more memory than some."""


def paired_test(first: torch.Tensor, second: torch.Tensor, draws: int = 10000, seed: int = 0) -> float:
    """Probability of a mean difference as large as seen if the two were alike on every sample (two-sided).

    The sign of each sample's difference is flipped at random (Fisher's randomisation test; Noreen 1989). It speaks of
    these trained models on other test samples; what other seeds would do, the interval over seeds says.

    Args:
        first: (samples,) scores.
        second: (samples,) scores of the same samples.
        draws: random flips.
        seed: of the flips.
    """
    difference = first - second
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    generator = torch.Generator().manual_seed(seed)
    seen, extreme = float(difference.sum().abs()), 0
    for chunk in in_order(draws, max(1, min(1000, SIGNS // len(difference)))):
        signs = torch.randint(0, 2, (len(chunk), len(difference)), generator=generator, dtype=torch.float64) * 2 - 1
        extreme += int(((signs @ difference).abs() >= seen - 1e-12).sum())
    return (extreme + 1) / (draws + 1)


def holm(p_values: list[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in their order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, most = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        most = max(most, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = most
    return corrected


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
