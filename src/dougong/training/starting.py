"""What a training starts from: random weights, or those of a model that was trained before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

from dougong.architectures import build, families, resolve, sizes
from dougong.errors import UserError
from dougong.heads.classify import Pooler
from dougong.training.config import TrainingConfig

OWN = ("n_classes", "head", "dropout", "attention_dropout", "head_dropout")
"""Arguments of a trained model that a new task may change; the others its weights depend on."""


def whole(model: str | dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A model's whole configuration, and the folder or hub id whose weights it starts from, if there is one.

    Args:
        model: a size or family; a run, a model's folder or a hub id, whose weights are taken; or a configuration, in
            which ``init`` may name such a place.

    Raises:
        UserError: an unknown name, argument or place.
    """
    if isinstance(model, dict):
        given = dict(model)
        init = given.pop("init", None)
        return resolve(given), None if init is None else lasting_place(str(init))
    if model in sizes() or model in families() or not _is_place(model):
        return resolve(model), None
    from dougong.interop.configuring import read_config

    place = lasting_place(model)
    return read_config(place), place


def lasting_place(source: str) -> str:
    """A folder by its absolute path; a hub id as it is."""
    return str(Path(source).expanduser().resolve()) if Path(source).expanduser().is_dir() else source


def initial_model(config: TrainingConfig) -> tuple[nn.Module, list[str]]:
    """The model as training begins, and a line for what is new in it.

    Raises:
        UserError: the weights that it starts from are no longer there, or do not fit.
    """
    model = build(config.model, seed=config.seed)
    lines = []
    if config.init is not None:
        from dougong.interop import load

        source = load(config.init)
        theirs, ours = source.state_dict(), model.state_dict()
        if isinstance(getattr(source, "head", None), Pooler) and isinstance(getattr(model.head, "pool", None), Pooler):
            # a model that was saved with its pooler only: it goes into the new head
            theirs = {re.sub(r"^head\.", "head.pool.", name): value for name, value in theirs.items()}
        fits = {name for name, value in ours.items() if name in theirs and theirs[name].shape == value.shape}
        if type(getattr(source, "head", None)) is not type(model.head):  # one name for what is not one thing
            fits = {name for name in fits if not name.startswith("head.") or name.startswith("head.pool.")}
        fresh = sorted(set(ours) - fits)
        lost = [name for name in fresh if not name.startswith("head.")]
        if lost:
            some = ", ".join(lost[:3])
            raise UserError(str(config.init), f"has no weights for {some}", "leave the model as it was trained")
        model.load_state_dict({name: theirs[name] for name in fits}, strict=False)
        model.card = dict(getattr(source, "card", {}))  # type: ignore[assignment]
        taken = sum(ours[name].numel() for name in fits)
        lines.append(f"weights: {taken:,} values from {config.init}")
        if fresh:
            lines.append(f"new, with random weights: {', '.join(fresh)}")
    if config.tune == "head":
        if not any(name.startswith("head.") for name, _ in model.named_parameters()):
            raise UserError("tune=head", "the model has no head of its own", "train it whole: tune=full")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("head."))
    if config.tune == "lora":
        from dougong.training import lora

        also = ("head",) if any(name.startswith("head.") for name, _ in model.named_parameters()) else ()
        alpha = config.lora_alpha or 2.0 * config.lora_rank
        names = lora.apply(model, config.lora_rank, alpha, also=also, seed=config.seed)
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        share = learning / sum(p.numel() for p in model.parameters())
        lines.append(
            f"lora: {len(names)} layers adapted with rank {config.lora_rank}; {share:.2%} of the weights learn"
        )
    return model, lines


def _is_place(model: str) -> bool:
    folder = Path(model).expanduser()
    return folder.is_dir() or ("/" in model and not model.startswith((".", "/", "~")))
