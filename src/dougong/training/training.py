"""Training a model on data, and going on with a training that was stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dougong import console
from dougong.cost import training_flops
from dougong.data import open_data
from dougong.errors import UserError, unknown
from dougong.interop import save as save_model
from dougong.tasks import KINDS
from dougong.tasks.class_weights import said_weights
from dougong.tasks.task import Task
from dougong.training.arithmetic import choose_products
from dougong.training.checkpoints import set_weights, write_text
from dougong.training.config import TrainingConfig, reading_of
from dougong.training.loop import Loop, Stopped
from dougong.training.memory import check_room, fitting_memory
from dougong.training.metrics import Journal
from dougong.training.plan import lengths_of
from dougong.training.run import Run, environment, folder_for, write_json
from dougong.training.scoring import score
from dougong.training.starting import OWN, initial_model, whole


def train(
    model: str | dict[str, Any],
    data: str | Path,
    *,
    budget: str | int = "10epochs",
    task: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    fixed: Collection[str] | None = None,
    **settings: Any,
) -> Run:
    """Train a model on data under a budget.

    Args:
        model: the name of a size or family, or a configuration; or a run, a model's folder or a hub id, whose weights
            it starts from.
        data: a built-in name, a file or a folder.
        budget: "500steps", "3epochs", "90s", "10min", "1e15flops".
        task: what is learnt; read off the data when None.
        out: the run's folder; runs/TIME-NAME when None.
        seed: of the weights, the order and the augmentation.
        fixed: arguments of the model that must not be changed to fit the data; those of a given configuration when
            None.
        settings: the further ones of `TrainingConfig`.

    Returns:
        The finished run.

    Raises:
        UserError: bad data, an unknown setting, a budget of nothing, a folder that exists. Nothing is written then.
        TrainingError: the loss or a gradient is not finite.
    """
    opened = open_data_for(data, settings, task)
    config, job, lines = configure(
        model, opened, data, fixed=fixed, budget=str(budget), task=task, seed=seed, **settings
    )
    folder = folder_for(out, config.name)
    return start(config, job, folder, lines)


def open_data_for(data: str | Path, settings: dict[str, Any], task: str | None = None) -> Any:
    """The data, split as the settings say; settings are checked first, because reading may take long."""
    for key in settings:
        if key not in TrainingConfig.model_fields:
            raise unknown("settings", "setting", key, set(TrainingConfig.model_fields) - {"model", "name", "init"})
    kind, reading = KINDS.get(task or ""), reading_of(settings)
    return open_data(str(data), settings.get("split"), settings.get("split_seed") or 0, kind=kind, **reading)


def configure(
    model: str | dict[str, Any],
    opened: Any,
    data: str | Path,
    *,
    task: str | None,
    fixed: Collection[str] | None,
    **settings: Any,
) -> tuple[TrainingConfig, Task, list[str]]:
    """The whole configuration, the task, and a line for each choice that was made for the user."""
    given, init = whole(model)
    name = settings.pop("name", None) or (model if isinstance(model, str) else str(given["architecture"]))
    if not isinstance(name, str):
        raise UserError("name", f"{name!r} is no name", "give a word")
    kept = {key: value for key, value in settings.items() if value is not None}
    draft = TrainingConfig.parse(model=given, init=init, name=Path(name).name, data=lasting(data), task=task, **kept)
    job = draft.task_for(opened)
    own = (model if isinstance(model, dict) else ()) if fixed is None else fixed
    if init is not None:
        own = set(given) - set(OWN)
    fitted, lines = job.adapt(given, set(own) - {"architecture"}, init is not None)
    config, choices = draft.model_copy(update={"model": fitted, "task": job.name}).completed(
        job.size("train"), lengths_of(job)
    )
    if config.accumulate > 1 and getattr(job, "against_batch", False):
        choices.append("accumulate: a text is told apart from those of its part of the batch, not of the whole batch")
    weights = getattr(job, "class_weights", None)
    weighed = [] if weights is None else [said_weights(weights, job.classes)]  # type: ignore[attr-defined]
    return config, job, [*opened.notes, *lines, *choices, *weighed]


def lasting(data: str | Path) -> str:
    """The data's name as a run keeps it: a path that holds in any folder, or that of a data set of the hub."""
    from dougong.data.sources import lasting_name

    return lasting_name(data)


Prepare = Callable[[Loop], None]
"""Called with a loop that is ready to run, and may set what it asks as it goes."""


def start(
    config: TrainingConfig, task: Task, folder: Path, lines: list[str], prepare: Prepare = lambda loop: None
) -> Run:
    """Make the run's folder and train."""
    device = device_for(config.device)
    model, new = initial_model(config)
    model = model.to(device)
    config, fitted = fitting_memory(config, task, model)
    config, quicker = choose_products(config, model)
    flops = flops_of_step(config, task)
    config_loop_check(config, flops)
    check_room(config, task, model, flops)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"cannot be made ({error.strerror})", "give another folder by --out") from None
    write_text(folder / "config.yaml", config.to_yaml())
    write_json(folder / "env.json", environment())
    assert task.data is not None
    if hasattr(task, "tokenizer"):  # trained once; a resumed run reads the very same
        (folder / "tokenizer").mkdir(exist_ok=True)
        task.tokenizer.save(folder / "tokenizer")
    write_json(folder / "data.json", task.data.describe())
    journal = Journal(folder, tensorboard=config.tensorboard)
    for line in [*lines, *new, *fitted, *quicker]:
        journal.log(line, aloud=True)
    loop = Loop(config, task, model, flops, journal, Run(folder).checkpoints)
    ledger = loop.plan.ledger()
    if ledger is not None:
        journal.log(str(ledger), aloud=True)
    prepare(loop)
    return _train(Run(folder), loop)


def config_loop_check(config: TrainingConfig, flops: int) -> None:
    """Refuse a budget that does not pay for a step before anything is written."""
    from dougong.training.budget import Budget

    Budget.parse(config.budget).steps(lambda epochs: 1, flops)


def resume(path: str | Path | Run, prepare: Prepare = lambda loop: None) -> Run:
    """Go on with a run from its newest undamaged checkpoint; with none, from its beginning.

    Returns:
        The finished run; one that was finished is returned as it is.

    Raises:
        UserError: no run, or its data is not what it was.
    """
    run = Run.open(path)
    if run.result is not None:
        console.note(f"{run.path} is finished: there is nothing to go on with")
        return run
    config, task = run.config, run.task()
    threads = json.loads((run.path / "env.json").read_text(encoding="utf-8")).get("threads")
    if threads and threads != torch.get_num_threads():
        torch.set_num_threads(threads)  # sums are cut by threads: another number rounds otherwise
    name, passed = run.checkpoints.newest()
    model = initial_model(config)[0].to(device_for(config.device))
    step = int(name.removeprefix("step-")) if name else 0
    journal = Journal(run.path, tensorboard=config.tensorboard, step=step)
    for line in passed:
        journal.log(line, aloud=True)
    loop = Loop(config, task, model, flops_of_step(config, task), journal, run.checkpoints)
    if name is not None:
        loop.restore(name)
    prepare(loop)
    journal.log(f"going on from step {step}", aloud=True)
    return _train(run, loop)


def _train(run: Run, loop: Loop) -> Run:
    """Run the loop, then measure the best model on the test split and save it."""
    total = loop.total if loop.total is not None else loop.budget.amount
    unit = "steps" if loop.total is not None else "s"
    try:
        with stop_between_steps() as asked, console.progress(total, loop.config.name, unit=unit) as bar:
            loop.stop = asked
            loop.run(lambda progress, step=None, **shown: bar.set(progress * total, **shown))
    except Stopped:
        loop.journal.log(f"stopped at step {loop.state.step}; go on with: dougong resume {run.path}", aloud=True)
        raise KeyboardInterrupt from None
    finally:
        loop.journal.close()
    if loop.state.ended:
        loop.journal.log(f"stopped early: {loop.state.ended}", aloud=True)
    finish(run, loop)
    return run


def finish(run: Run, loop: Loop) -> None:
    """Save the best model and write the result."""
    best = run.checkpoints.named("best")
    model = loop.evaluated
    if best is not None:
        tensors, _ = run.checkpoints.read(best)
        set_weights(model, tensors.get("average") or tensors["model"])
    if loop.config.tune == "lora":
        _keep_adapter(model, run.path / "adapter", loop.config.init or "")
    said = {"labels": list(getattr(loop.task, "classes", ())), "several": getattr(loop.task, "several", False)}
    model.card = {**getattr(model, "card", {}), **said}  # type: ignore[assignment]
    save_model(model, run.path / "model")
    write_json(run.path / "model" / "task.json", loop.task.describe())
    loop.task.keep(run.path / "model")  # what lay beside the model that it started from holds no longer
    found: dict[str, Any] = {split: score(model, loop.task, split, loop.device)[0] for split in loop.judged}
    if hasattr(loop.task, "beside"):  # rules without weights, which a model must beat
        found["baselines"] = loop.task.beside(loop.judged[-1])
    state, ledger = loop.state, loop.plan.ledger()
    write_json(
        run.path / "result.json",
        {
            "steps": state.step,
            "epochs": loop.plan.epochs(state.step),
            "seconds": round(state.seconds, 3),
            "flops": state.step * loop.flops_per_step,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "best_step": state.best_step,
            **({} if ledger is None else {"padding": ledger.describe()}),
            "ended": state.ended or "the budget is spent",
            **found,
        },
    )


def _keep_adapter(model: nn.Module, folder: Path, base: str) -> None:
    """Write the adapters by themselves, where their layout knows the family; then they become part of the weights."""
    from dougong.training.adapters import save_adapter
    from dougong.training.lora import fold

    with contextlib.suppress(UserError):  # a family of ours alone: its folded weights are all there is to keep
        save_adapter(model, folder, base)
    fold(model)


def flops_of_step(config: TrainingConfig, task: Task) -> int:
    """FLOPs of one optimizer step, forward and backward, as dougong.cost counts them."""
    size = min(config.batch_size or 1, task.size("train")) * int(getattr(task, "rows_each", 1))  # a pair is two rows
    return training_flops(config.model, size, task.typical_length)


def device_for(name: str) -> torch.device:
    """The device that a configuration names.

    Raises:
        UserError: there is none of this name here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError("device", f"{name!r} is none", "write auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError("device", f"{name!r} is not here", "write device=cpu")
    return device


@contextlib.contextmanager
def stop_between_steps() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a question that is asked between steps; the second one ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        console.note("stopping after this step; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def trained_model(source: str | Path | Run, precision: str | None = None) -> tuple[nn.Module, Path]:
    """The model of a run or of a model's folder, and the folder that describes its task.

    Args:
        source: a run, or a folder.
        precision: that it is prepared for, see `dougong.prepare`; as it was saved when None.

    Raises:
        UserError: neither, or no such precision.
    """
    from dougong.interop import load
    from dougong.runtime.preparing import prepared

    folder = source.path if isinstance(source, Run) else Path(source)
    if (folder / "config.yaml").is_file() and not (folder / "model" / "config.json").is_file():
        raise UserError(str(folder), "is not finished", f"go on with: dougong resume {folder}")
    place = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    return prepared(load(place), precision), place
