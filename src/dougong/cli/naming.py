"""From the MODEL that a user gives to its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dougong.cli.settings import parse_value
from dougong.errors import UserError


def one(words: list[str], verb: str) -> str:
    """The only MODEL.

    Raises:
        UserError: there is none, or there are several.
    """
    if not words:
        raise UserError(
            "MODEL", "is missing", f"name a size, as in: dougong {verb} vit-base; dougong models lists them"
        )
    if len(words) > 1:
        raise UserError(words[1], "is a second model", f"give one model to dougong {verb}; settings are key=value")
    return words[0]


def configuration(model: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The whole, checked configuration of a size, a folder, a run's folder, a hub id or a {configuration}.

    Args:
        model: as the user gave it.
        changes: arguments to set.

    Raises:
        UserError: an unknown name or argument, or a folder without a model.
    """
    from dougong.architectures import resolve

    if model.lstrip().startswith("{"):
        given = parse_value(model, where="MODEL")
        if not isinstance(given, dict):
            raise UserError(model, "is no configuration", "write {architecture: vit, d_model: 64}")
        return resolve(given, **_plain(changes))
    folder = Path(model)
    held = any((place / "config.json").is_file() for place in (folder, folder / "model"))
    if folder.is_dir() and (held or "/" in model):
        from dougong.interop.configuring import read_config

        return resolve(read_config(folder), **_plain(changes))
    if _is_hub_id(model):
        from dougong.interop.configuring import read_config

        return resolve(read_config(model), **_plain(changes))
    if "/" in model or "\\" in model:
        raise UserError(model, "no such folder", "give a run's folder, a model's folder, or a name of dougong models")
    return resolve(model, **_plain(changes))


def _is_hub_id(model: str) -> bool:
    """Whether a name that is no folder is written as one of the hub, org/name."""
    from dougong.interop.hub import is_id

    return is_id(model) and not Path(model).exists()


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    """``model.n_classes=10`` means the same as ``n_classes=10`` where there are no other settings."""
    changes = dict(changes)
    inner = changes.pop("model", {})
    if not isinstance(inner, dict):
        raise UserError("model", f"{inner!r} is not a setting", "write n_classes=10")
    for name in ("model", "device", "dtype", "seed", "architecture"):
        if name in changes or name in inner:
            raise UserError(name, "is not an argument of a model", "see dougong models NAME for its arguments")
    return {**changes, **inner}


@dataclass(frozen=True)
class Chosen:
    """A model to be trained.

    Args:
        name: for people and folders.
        config: its whole configuration, checked.
        fixed: the arguments that the user set, which are not to be fitted to the data.
    """

    name: str
    config: dict[str, Any]
    fixed: set[str]


def chosen(model: str, changes: Any, scratch: bool = False) -> Chosen:
    """The model that a user wants to train; one of a folder with its weights, unless it begins from scratch.

    Raises:
        UserError: as ``configuration``.
    """
    if not isinstance(changes, dict):
        raise UserError("model", f"{changes!r} is not a setting", "write model.n_layers=4")
    config = configuration(model, changes)
    if model.lstrip().startswith("{"):
        return Chosen(config["architecture"], config, {*parse_value(model, where="MODEL"), *changes})
    place = Path(model)
    if not place.is_dir() and not _is_hub_id(model):
        return Chosen(model, config, set(changes))
    if place.is_dir():
        name = place.name if place.name not in ("", "..") else place.resolve().name
        if name == "model":  # of a run, or of whoever keeps models beside other things
            name = place.absolute().parent.name
    else:
        name = model.partition("@")[0].rpartition("/")[2]
    return Chosen(name, config if scratch else {**config, "init": model}, set(changes))
