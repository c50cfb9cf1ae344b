"""Checkpoints: weights, optimizer state and a step, written whole or not at all, and never unpickled.

A checkpoint is written beside its final place, synced, hashed and renamed. One that is damaged is told by its hashes,
and the one before it is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dougong.errors import UserError

MANIFEST = "manifest.json"


def sync(path: Path) -> None:
    """Make the system write a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    half = file.with_name(file.name + ".part")
    half.write_text(text, encoding="utf-8")
    sync(half)
    os.replace(half, file)


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Checkpoints:
    """The checkpoints of a run.

    Args:
        run: the run's folder; they lie in its checkpoints/, and ``best`` and ``last`` name two of them.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.folder = run, run / "checkpoints"

    def names(self) -> list[str]:
        """Finished checkpoints, oldest first."""
        return sorted(path.name for path in self.folder.glob("step-*") if (path / MANIFEST).is_file())

    def named(self, which: str) -> str | None:
        """The checkpoint that ``best`` or ``last`` names."""
        file = self.run / which
        name = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        return name if name and (self.folder / name / MANIFEST).is_file() else None

    def write(self, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], *, best: bool) -> str:
        """Write a checkpoint, make it the last, and the best if it is.

        Args:
            step: optimizer steps done.
            tensors: by file, then by name.
            state: what else is needed to go on; JSON.
            best: whether it is the best so far.
        """
        from safetensors.torch import save_file

        name = f"step-{step:06d}"
        half, place = self.folder / f".{name}.part", self.folder / name
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        for file, content in tensors.items():
            save_file({key: value.contiguous() for key, value in content.items()}, half / f"{file}.safetensors")
        (half / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        hashes = {}
        for path in sorted(half.iterdir()):
            sync(path)
            hashes[path.name] = digest(path)
        (half / MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
        sync(half / MANIFEST)
        sync(half)
        if place.exists():  # left by a run that went on from an earlier step: what is in it is the same
            shutil.rmtree(place)
        os.replace(half, place)
        sync(self.folder)
        write_text(self.run / "last", name + "\n")
        if best:
            write_text(self.run / "best", name + "\n")
        return name

    def prune(self, keep: int) -> None:
        """Remove all but the newest ``keep``, the best and the last."""
        safe = {self.named("best"), self.named("last")}
        others = [name for name in self.names() if name not in safe]
        for name in others[: max(0, len(others) - keep)]:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def fault(self, name: str) -> str | None:
        """What is wrong with a checkpoint, or None when every file is as it was written."""
        folder = self.folder / name
        try:
            hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            for file, expected in hashes.items():
                if not (folder / file).is_file():
                    return f"{file} is missing"
                if digest(folder / file) != expected:
                    return f"{file} is not as it was written"
        except (OSError, ValueError, AttributeError) as error:
            return f"{MANIFEST} cannot be read ({error})"
        return None

    def newest(self) -> tuple[str | None, list[str]]:
        """The newest undamaged checkpoint, and a line for each damaged one that was passed over."""
        passed: list[str] = []
        for name in reversed(self.names()):
            fault = self.fault(name)
            if fault is None:
                return name, passed
            passed.append(f"checkpoint {name} is damaged ({fault}); the one before it is taken")
        return None, passed

    def read(self, name: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """The tensors, by file and name, and the state of a checkpoint.

        Raises:
            UserError: it is damaged.
        """
        from safetensors.torch import load_file

        fault = self.fault(name)
        if fault is not None:
            raise UserError(str(self.folder / name), f"is damaged: {fault}", "use another checkpoint of the run")
        folder = self.folder / name
        tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
        return tensors, json.loads((folder / "state.json").read_text(encoding="utf-8"))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights and buffers, each once, on the CPU, as copies."""
    from dougong.architectures.storing import shared_names

    state = model.state_dict()
    return {name: state[name].detach().cpu().clone() for name in shared_names(model)}


def set_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights into a model in place; names that share a tensor are set together."""
    state = model.state_dict()
    for name, value in weights.items():
        with torch.no_grad():
            state[name].copy_(value)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: "3.exp_avg" is that of parameter 3."""
    found = {}
    for index, entry in optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            if value is not None:
                found[f"{index}.{key}"] = torch.as_tensor(value).detach().cpu().clone()
    return found


def set_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimizer the state that ``optimizer_tensors`` took."""
    state = optimizer.state_dict()
    state["state"] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state["state"].setdefault(int(index), {})[key] = value.clone()
    optimizer.load_state_dict(state)
