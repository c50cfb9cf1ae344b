"""The loop: a pure function of configuration and step.

The order of batches follows from seed and epoch, an augmentation from seed, epoch and index, and the random state is
set from seed and step before every step. So a checkpoint needs weights, optimizer state and a step, and a run that was
resumed equals one that was not, bit for bit, on the same machine with the same number of threads. A budget in seconds
is the exception: the clock decides the learning rate.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dougong.errors import FailureError
from dougong.frames.recomputing import Recomputing
from dougong.parts.output import deferring
from dougong.runtime.preparing import compile_blocks
from dougong.tasks.task import Batch, Task
from dougong.training.arithmetic import products_of
from dougong.training.budget import Budget
from dougong.training.checkpoints import (
    Checkpoints,
    optimizer_tensors,
    set_optimizer,
    set_weights,
    weights_of,
)
from dougong.training.config import TrainingConfig
from dougong.training.metrics import Journal
from dougong.training.optimizers import make_optimizer, rate_at
from dougong.training.plan import Plan, lengths_of
from dougong.training.scoring import score

EVALUATIONS = 20  # at most, unless the configuration says how often


class TrainingError(FailureError):
    """Training cannot go on: the loss or a gradient is no longer finite."""


class Stopped(Exception):
    """The user stopped the training; a checkpoint was written."""


@dataclass
class State:
    """How far a training has come; with weights and optimizer state all that a checkpoint holds."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    since_best: int = 0
    ended: str | None = None


@dataclass
class Loop:
    """One training.

    Args:
        config: with every choice made.
        task: batches, loss and metrics.
        model: on its device.
        flops_per_step: forward and backward.
        journal: where metrics go.
        checkpoints: of the run.
        stop: asked between steps; True ends the training with a checkpoint.
        on_evaluation: told, at each evaluation, the share of the budget spent and the primary metric; a reason ends the
            training, as patience does.
        judged: the splits that the finished model is measured on.
    """

    config: TrainingConfig
    task: Task
    model: nn.Module
    flops_per_step: int
    journal: Journal
    checkpoints: Checkpoints
    stop: Callable[[], bool] = lambda: False
    on_evaluation: Callable[[float, float], str | None] = lambda *_: None
    judged: tuple[str, ...] = ("val", "test")
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.parameters = list(self.model.parameters())
        self.optimizer = make_optimizer(self.model, self.config)
        self.average = copy.deepcopy(self.model).requires_grad_(False) if self.config.ema else None
        self.recomputing = Recomputing(self.model, self.config.recompute)
        self.products = products_of(self.config, self.model)
        if self.config.compile:
            compile_blocks(self.model)
        self.plan = plan_for(self.config, self.task)
        self.budget = Budget.parse(self.config.budget)
        self.total = self.budget.steps(self.plan.steps, self.flops_per_step)
        # one evaluation an epoch, but not more than EVALUATIONS in all
        apart = math.ceil((self.total or 0) / EVALUATIONS)
        self.evaluate_every = self.config.evaluate_every or max(self.plan.per_epoch, apart)
        self.checkpoint_every = self.config.checkpoint_every or self.evaluate_every
        self.log_every = max(1, self.evaluate_every // 10)

    def restore(self, name: str) -> None:
        """Go on from a checkpoint."""
        tensors, state = self.checkpoints.read(name)
        set_weights(self.model, tensors["model"])
        set_optimizer(self.optimizer, tensors.get("optimizer", {}))
        if self.average is not None:
            set_weights(self.average, tensors["average"])
        self.state = State(**state)

    def run(self, show: Callable[..., None] = lambda *_, **__: None) -> State:
        """Train until the budget is spent, patience ends or the user stops it.

        Args:
            show: called after each step with the progress in [0, 1] and what to show beside it.

        Raises:
            TrainingError: the loss or a gradient is not finite.
            Stopped: ``stop`` said so.
        """
        began = time.perf_counter() - self.state.seconds
        since, losses = 0, 0.0
        # one thread for the batches: a team of their own would spin against that of the model
        with ThreadPoolExecutor(1, "batches", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            ahead: Future[list[Batch]] = pool.submit(self._batches, self.state.step)
            while (progress := self.progress()) < 1 and self.state.ended is None:
                parts, ahead = ahead.result(), pool.submit(self._batches, self.state.step + 1)
                loss, norm = self._step(parts, progress)
                losses, since = losses + loss, since + 1
                self.state.seconds = time.perf_counter() - began
                show(self.progress(), step=self.state.step, loss=loss)
                last = self.progress() >= 1
                if self.state.step % self.log_every == 0 or last:
                    rate = max(group["lr"] for group in self.optimizer.param_groups)
                    self._row("train", loss=losses / since, learning_rate=rate, gradient_norm=norm)
                    since, losses = 0, 0.0
                if self.state.step % self.evaluate_every == 0 or last:
                    self._evaluate(show)
                    self.state.seconds = time.perf_counter() - began
                elif self.state.step % self.checkpoint_every == 0:
                    self.save()
                if self.stop() and not (last or self.state.ended):
                    if self.checkpoints.named("last") != f"step-{self.state.step:06d}":
                        self.save()
                    raise Stopped
        return self.state

    def progress(self) -> float:
        """The share of the budget that is spent."""
        spent = self.state.seconds / self.budget.amount if self.total is None else self.state.step / self.total
        return min(1.0, spent)

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated and kept: the moving average, if there is one."""
        return self.average if self.average is not None else self.model

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint."""
        tensors = {"model": weights_of(self.model), "optimizer": optimizer_tensors(self.optimizer)}
        if self.average is not None:
            tensors["average"] = weights_of(self.average)
        self.checkpoints.write(self.state.step, tensors, dict(vars(self.state)), best=best)
        self.checkpoints.prune(self.config.keep)

    def _batches(self, step: int) -> list[Batch]:
        """The parts of the batch of a step: a pure function of configuration and step."""
        epoch, indices = self.plan.batch(step)
        parts = indices.tensor_split(min(self.config.accumulate, len(indices)))
        return [self.task.batch("train", part, train=True, epoch=epoch, seed=self.config.seed) for part in parts]

    def _step(self, parts: list[Batch], progress: float) -> tuple[float, float]:
        """One optimizer step; the mean loss and the gradient's norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(progress, self.config) * group.get("scale", 1.0)
        self._seed((self.config.seed * 1_000_003 + self.state.step) % 2**63)
        if not self.model.training:
            self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        weights = [self.task.weight(part) for part in parts]
        for part, weight in zip(parts, weights, strict=True):
            ready = part.to(self.device)
            with self.products:
                with self._precision(), deferring(), self.recomputing:
                    ask = getattr(self.task, "ask", None)  # of tasks whose models are given more while they learn
                    output = self.model(*ready.inputs) if ask is None else ask(self.model, ready)
                    loss = self.task.loss(output, ready, label_smoothing=self.config.label_smoothing)
                share = loss * (weight / sum(weights)) if len(parts) > 1 else loss
                share.backward()
            total += float(share.detach())
        norm = nn.utils.get_total_norm(
            [p.grad for p in self.parameters if p.grad is not None], error_if_nonfinite=False
        )
        size = float(norm)
        if not math.isfinite(total) or not math.isfinite(size):
            raise self._diverged(parts, total)
        if self.config.clip and size > self.config.clip:
            nn.utils.clip_grads_with_norm_(self.parameters, self.config.clip, norm)
        self.optimizer.step()
        self.state.step += 1
        if self.average is not None:
            self._follow(self.average)
        return total, size

    def _seed(self, seed: int) -> None:
        """Set the random state of the devices in use; torch.manual_seed reaches for all others too, at every step."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _follow(self, average: nn.Module) -> None:
        """Move the average a little towards the weights; counters are copied."""
        # the first steps average over what there is instead of over the random start
        decay = min(self.config.ema, (1 + self.state.step) / (10 + self.state.step))
        with torch.no_grad():
            for mean, value in zip(average.state_dict().values(), self.model.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)

    def _evaluate(self, show: Callable[..., None]) -> None:
        """Measure on the validation split, remember whether it is the best, and write a checkpoint."""
        found, _ = score(self.evaluated, self.task, "val", self.device, self.config.precision)
        value, state = found[self.task.primary], self.state
        sign = 1 if self.task.higher_is_better else -1
        better = state.best is None or sign * value > sign * state.best
        if better:
            state.best, state.best_step, state.since_best = value, state.step, 0
        else:
            state.since_best += 1
        if self.config.patience and state.since_best >= self.config.patience and self.progress() < 1:
            state.ended = f"no better {self.task.primary} in {state.since_best} evaluations"
        reason = self.on_evaluation(self.progress(), value)
        if reason and self.progress() < 1:
            state.ended = reason
        self._row("val", **found)
        self.save(best=better)
        show(self.progress(), **{f"val {self.task.primary}": value})

    def _row(self, split: str, **values: Any) -> None:
        spent = {
            "epoch": self.plan.epochs(self.state.step),
            "seconds": round(self.state.seconds, 3),
            "flops": self.state.step * self.flops_per_step,
        }
        self.journal.row(split, self.state.step, **spent, **values)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _diverged(self, parts: list[Batch], loss: float) -> TrainingError:
        """The error that names the step, the batch and the last good checkpoint."""
        where = [place for part in parts for place in part.where]
        some = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        broken = [place for part in parts for place in _not_finite(part)]
        culprit = f"; not finite already in the input: {', '.join(broken[:3])}" if broken else ""
        last = self.checkpoints.named("last")
        kept = f"the last good checkpoint is {self.checkpoints.folder / last}" if last else "there is no checkpoint yet"
        what = "loss" if not math.isfinite(loss) else "gradient"
        line = f"step {self.state.step + 1}: the {what} is not finite; its batch is {some}{culprit}; {kept}; "
        line += "try a lower learning_rate, clip=1 or precision=float32"
        self.journal.log(line)
        return TrainingError(line)


def plan_for(config: TrainingConfig, task: Task) -> Plan:
    """Which samples each step learns from. Args: config: with every choice made; task: with its data."""
    samples = task.size("train")
    return Plan(samples, config.batch_size or samples, config.seed, lengths_of(task), config.batch_tokens)


def _not_finite(part: Batch) -> list[str]:
    """The samples of a batch whose inputs hold NaN or infinity."""
    bad: set[int] = set()
    for tensor in part.inputs:
        if isinstance(tensor, Tensor) and tensor.is_floating_point():
            rows = ~tensor.flatten(1).isfinite().all(1)
            bad.update(rows.nonzero().flatten().tolist())
    return [part.where[row] for row in sorted(bad)]
