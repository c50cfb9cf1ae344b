"""A run and its folder."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.errors import UserError
from dougong.training.checkpoints import Checkpoints, write_text
from dougong.training.config import TrainingConfig
from dougong.training.metrics import read_rows

if TYPE_CHECKING:
    from torch import nn

    from dougong.tasks.task import Task


@dataclass(frozen=True)
class Run:
    """One training and all that it left: ``config.yaml, env.json, data.json, metrics.jsonl, log.txt, result.json,
    checkpoints/, best, last, model/, report.html``.

    Args:
        path: its folder.
    """

    path: Path

    @classmethod
    def open(cls, path: str | Path | Run) -> Run:
        """The run in a folder.

        Raises:
            UserError: there is none.
        """
        if isinstance(path, Run):
            return path
        folder = Path(path)
        if not folder.is_dir():
            raise UserError(str(path), "no such folder", "give a run's folder; they lie in runs/")
        if not (folder / "config.yaml").is_file():
            raise UserError(str(path), "is no run: it holds no config.yaml", "give a run's folder; they lie in runs/")
        return cls(folder)

    @property
    def config(self) -> TrainingConfig:
        """What it is made of."""
        return TrainingConfig.read(self.path / "config.yaml")

    @property
    def checkpoints(self) -> Checkpoints:
        """What it can go on from."""
        return Checkpoints(self.path)

    @property
    def result(self) -> dict[str, Any] | None:
        """How it ended: steps, seconds, flops, parameters, best_step, ended, val and test metrics; None before that."""
        file = self.path / "result.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, oldest first."""
        return read_rows(self.path / "metrics.jsonl")

    def model(self, which: str = "best") -> nn.Module:
        """The trained model, ready for inference.

        Args:
            which: "best" by the validation split, "last", or a checkpoint's name as "step-000500".

        Raises:
            UserError: there is no such checkpoint.
        """
        from dougong.interop import load
        from dougong.training.checkpoints import set_weights
        from dougong.training.starting import initial_model

        if which == "best" and (self.path / "model" / "config.json").is_file():
            return load(self.path / "model")
        name = self.checkpoints.named(which) if which in ("best", "last") else which
        if name is None or name not in self.checkpoints.names():
            raise UserError(str(self.path), f"has no checkpoint {which!r}", f"go on with: dougong resume {self.path}")
        tensors, _ = self.checkpoints.read(name)
        model = initial_model(self.config)[0]
        set_weights(model, tensors.get("average") or tensors["model"])
        return model.eval()

    def task(self) -> Task:
        """The task with its data, opened anew.

        Raises:
            UserError: the data is not what it was.
        """
        from dougong.data import open_data
        from dougong.tasks import KINDS

        config = self.config
        kind = KINDS.get(config.task or "")
        data = open_data(config.data, config.split, config.split_seed, kind=kind, **config.reading())
        known = json.loads((self.path / "data.json").read_text(encoding="utf-8")).get("fingerprint")
        if known and data.fingerprint != known:
            raise UserError(
                config.data, "is not the data that this run was trained with", "restore it, or train a new run"
            )
        kept = self.path / "tokenizer"
        task = config.task_for(data, str(kept) if kept.is_dir() else None)
        task.adapt(dict(config.model))
        return task


def folder_for(out: str | Path | None, name: str) -> Path:
    """The folder that a new run is going to be written to; it is not made yet.

    Raises:
        UserError: it exists.
    """
    if out is not None:
        folder = Path(out).expanduser()
        if not str(out).strip() or len(folder.name.encode()) > 200:
            raise UserError("out", f"{str(out)[:40]!r} can be no folder's name", "give one of 1 to 200 characters")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(str(out), "exists", "give another folder, or go on with it by: dougong resume")
        return folder
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    stem = Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{plain}"
    folder, number = stem, 2
    while folder.exists():
        folder, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    return folder


def environment() -> dict[str, Any]:
    """The machine and the versions that a result depends on."""
    import importlib.metadata

    import torch

    versions = {}
    for name in ("dougong", "torch", "kornia", "numpy", "pillow", "safetensors", "torchmetrics"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_json(file: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(file, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
