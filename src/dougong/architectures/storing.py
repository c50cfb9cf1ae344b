"""Building, saving and loading models: a configuration in JSON, weights in safetensors."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dougong.architectures.filling import Look, Piece, complain, fill, shared_names, stays
from dougong.architectures.registry import check, families, resolve
from dougong.architectures.weights import Weights, inside, write_weights
from dougong.errors import UserError


def build(
    model: str | dict[str, Any],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    seed: int | None = None,
    **changes: Any,
) -> nn.Module:
    """A model with random weights.

    Args:
        model: the name of a size or family, or a configuration ``{"architecture": ..., ...}``.
        device: where its weights are; "meta" allocates nothing.
        dtype: of its weights; float32 by default.
        seed: of the weights; the global random state is then left as it is.
        changes: arguments to set, as ``n_classes=10``.

    Raises:
        UserError: an unknown name or argument, or sizes that do not fit together.
    """
    config = resolve(model, **changes)
    where = model if isinstance(model, str) else config["architecture"]
    if seed is None:
        return built(config, where, device, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return built(config, where, device, dtype)


def built(
    config: dict[str, Any], where: str, device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Module:
    """The model of a checked configuration; errors name ``where`` it came from."""
    arguments = {key: value for key, value in config.items() if key != "architecture"}
    family = families()[config["architecture"]]
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype or before)
        with torch.device(device or torch.get_default_device()):
            model = family.function(**arguments, **family.fixed)
    except ValueError as error:
        raise UserError(where, str(error), "change the configuration so that the sizes fit") from None
    finally:
        torch.set_default_dtype(before)
    model.config = config  # type: ignore[assignment]
    return model


def save(model: nn.Module, folder: str | Path) -> Path:
    """Write ``config.json`` and ``model.safetensors`` into a folder, each whole or not at all.

    Weights above 5 GB go into several files with an index.

    Raises:
        UserError: the model has no configuration to rebuild it from.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, dict) or "architecture" not in config:
        raise UserError(str(folder), "this module has no configuration", "save a model made by dougong.build or load")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    write_weights(folder, {name: state[name] for name in shared_names(model)})
    half = folder / "config.json.part"
    half.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(half, folder / "config.json")
    return folder


def load(
    source: str | Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """The model in a folder, or the best one of a run's folder, ready for inference.

    Args:
        source: a folder with config.json and weights, as `save` writes them, or a run's folder, which holds one as
            model/.
        device: where its weights go; the CPU by default.
        dtype: what its weights are turned into; as saved by default.

    Raises:
        UserError: a missing or broken file, one that is a link to elsewhere, or a weight that is missing, too many, of
            another shape or kind, NaN or infinite.
    """
    folder = Path(source)
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    config = read_config(folder)
    with Weights(folder) as weights, Look(weights, ahead=stays(device, dtype)) as look:
        limit(config, len(weights), str(folder / "config.json"))
        model = built(config, str(folder / "config.json"), "meta", None)
        names, state = shared_names(model), model.state_dict()
        complain(weights, "lacks", set(names) - set(weights))
        complain(weights, "has unknown", set(weights) - set(names))
        pieces = [Piece((name,), (name,), (state[name].shape,)) for name in names]
        fill(model, weights, pieces, look, device=device, dtype=dtype)
    return model.eval()


def limit(config: dict[str, Any], n_tensors: int, where: str) -> None:
    """Refuse more layers than there are tensors before the layers are made, which takes time even without memory.

    Raises:
        UserError: there are more.
    """
    for name, value in config.items():
        if re.fullmatch(r"n_\w*layers", name) and isinstance(value, int) and value > n_tensors:
            raise UserError(
                where, f"asks for {value} layers, but the checkpoint lacks them: it has {n_tensors} tensors",
                "give the weights that belong to its config.json",
            )  # fmt: skip


def read_config(folder: Path) -> dict[str, Any]:
    """The checked configuration of a model's folder.

    Raises:
        UserError: it is missing, no JSON, or not one of ours.
    """
    file = folder / "config.json"
    if not folder.is_dir():
        raise UserError(str(folder), "no such folder", "give a run's folder or a model's, which holds config.json")
    if not file.is_file():
        raise UserError(str(folder), "no config.json", "give a run's folder or a model's, which holds config.json")
    try:
        config = json.loads(inside(file, folder).read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(str(file), f"is no JSON ({error})", "restore the file") from None
    if not isinstance(config, dict) or "architecture" not in config:
        raise UserError(str(file), 'names no "architecture"', "give a model saved by dougong")
    return check(config, str(file))
