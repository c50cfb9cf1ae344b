"""Building, saving and loading models: a configuration in JSON, weights in safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dougong.architectures.registry import check, families, resolve
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


def shared_names(model: nn.Module) -> dict[str, list[str]]:
    """Each parameter and saved buffer by its first name, with all names it goes by (tied weights have several)."""
    named = model.state_dict(keep_vars=True)
    by_tensor: dict[int, list[str]] = {}
    for name, tensor in named.items():
        by_tensor.setdefault(id(tensor), []).append(name)
    return {names[0]: names for names in by_tensor.values()}


def save(model: nn.Module, folder: str | Path) -> Path:
    """Write ``config.json`` and ``model.safetensors`` into a folder, each whole or not at all.

    Raises:
        UserError: the model has no configuration to rebuild it from.
    """
    from safetensors.torch import save_file

    config = getattr(model, "config", None)
    if not isinstance(config, dict) or "architecture" not in config:
        raise UserError(str(folder), "this module has no configuration", "save a model made by dougong.build or load")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    tensors = {name: state[name].detach().cpu().contiguous() for name in shared_names(model)}
    half = folder / "model.safetensors.part"
    save_file(tensors, half, metadata={"format": "pt"})
    os.replace(half, folder / "model.safetensors")
    half = folder / "config.json.part"
    half.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(half, folder / "config.json")
    return folder


def load(
    source: str | Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """The model in a folder, or the best one of a run's folder, ready for inference.

    Args:
        source: a folder with config.json and model.safetensors, or a run's folder, which holds one as model/.
        device: where its weights go; the CPU by default.
        dtype: what its weights are turned into; as saved by default.

    Raises:
        UserError: a missing or broken file, or a weight that is missing, too many or of another shape.
    """
    folder = Path(source)
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    config = read_config(folder)
    model = built(config, str(folder / "config.json"), "meta", None)
    fill(model, folder / "model.safetensors", device=device, dtype=dtype)
    return model.eval()


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
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(str(file), f"is no JSON ({error})", "restore the file") from None
    if not isinstance(config, dict) or "architecture" not in config:
        raise UserError(str(file), 'names no "architecture"', "give a model saved by dougong")
    return check(config, str(file))


def fill(
    model: nn.Module, file: Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> None:
    """Give a model made on the meta device the weights of a file; every key is used exactly once.

    Raises:
        UserError: the file is missing or broken, or its names or shapes are not the model's.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise UserError(str(file), "no such file", "restore it beside config.json")
    names = shared_names(model)
    expected = model.state_dict()
    try:
        with safe_open(file, "pt", device=str(device or "cpu")) as weights:
            found = set(weights.keys())
            for problem, keys in (("lacks", set(names) - found), ("has unknown", found - set(names))):
                if keys:
                    some = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
                    raise UserError(str(file), f"{problem} {some}", "give the file that belongs to its config.json")
            for first, others in names.items():
                tensor = weights.get_tensor(first)
                if tensor.shape != expected[first].shape:
                    shapes = f"{tuple(tensor.shape)}, not {tuple(expected[first].shape)}"
                    raise UserError(str(file), f"{first} is {shapes}", "give the file that belongs to its config.json")
                if tensor.is_floating_point() != expected[first].is_floating_point():
                    raise UserError(str(file), f"{first} holds {tensor.dtype}", "give the file as it was saved")
                put(model, others, tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor)
    except SafetensorError as error:
        raise UserError(str(file), f"is no safetensors file ({error})", "restore or save it again") from None


def put(model: nn.Module, names: list[str], tensor: torch.Tensor) -> None:
    """Put one tensor in all the places that share it."""
    owner, _, leaf = names[0].rpartition(".")
    old = getattr(model.get_submodule(owner), leaf)
    new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor
    for name in names:
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, new)
