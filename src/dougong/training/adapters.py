"""LoRA adapters in the layout of the package peft: adapter_config.json and adapter_model.safetensors.

Names are those that the family has in Transformers, by its map. Where a layer there is several of ours side by side
(a fused projection), its matrices are put together on the way out and taken apart on the way in; the model computes
the same.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.interop.files import read_json
from dougong.interop.mapping import Map, Move, maps
from dougong.interop.transforms import Split, Then, Transform, Transpose
from dougong.training.lora import Adapted, Lora, adapted, freeze, put

ROOT = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(model: nn.Module, folder: str | Path, base: str = "") -> Path:
    """Write the adapters of a model, and the parts that were trained whole.

    Args:
        model: rewritten by `dougong.training.lora.apply`.
        folder: made if it does not exist.
        base: the model that they belong to, by hub id or folder, noted for those who open them.

    Raises:
        UserError: the model has no adapters, or its family no counterpart in Transformers.
    """
    settings: Lora | None = getattr(model, "lora", None)
    if settings is None:
        raise UserError(str(folder), "the model has no adapters", "apply LoRA to it first")
    one, strip = _map(model, str(folder))
    layers, values = dict(adapted(model)), model.state_dict()
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    turned = False
    done: set[str] = set()
    whole: set[str] = set()
    for move in _moves(model, one):
        ours = [name.removesuffix(".weight") for name in move.ours]
        if any(name in layers for name in ours) and move.ours[0].endswith(".weight"):
            turned |= _turns(move)
            theirs = move.theirs[0].removesuffix(".weight").removeprefix(strip)
            down, up, scale = _together([(layers.get(name), model.get_submodule(name)) for name in ours], theirs)
            tensors[f"{ROOT}{theirs}.lora_A.weight"], tensors[f"{ROOT}{theirs}.lora_B.weight"] = down, up
            if down.shape[0] != settings.rank:
                ranks[theirs] = down.shape[0]
            if scale * down.shape[0] != settings.alpha:
                alphas[theirs] = scale * down.shape[0]
            done.update(name for name in ours if name in layers)
        elif settings.also and all(name.startswith(tuple(f"{part}." for part in settings.also)) for name in move.ours):
            given = move.transform.write([values[name] for name in move.ours])
            for name, tensor in zip(move.theirs, given, strict=True):
                tensors[ROOT + name.removeprefix(strip)] = tensor
                whole.add(name.removeprefix(strip).rpartition(".")[0])
    if left := sorted(set(layers) - done):
        raise UserError(
            str(folder), f"{left[0]} has no counterpart in this layout", "fold the adapters and save the model"
        )
    config = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": base or None, "inference_mode": True,
        "r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout, "bias": "none",
        "fan_in_fan_out": turned, "target_modules": sorted(_modules(tensors)), "modules_to_save": sorted(whole) or None,
        "rank_pattern": ranks, "alpha_pattern": alphas, "init_lora_weights": True, "use_rslora": False,
        "use_dora": False,
    }  # fmt: skip
    return _write(Path(folder), config, tensors)


def load_adapter(model: nn.Module, folder: str | Path) -> list[str]:
    """Put the adapters of a folder, ours or peft's own, into the model that they were trained on.

    Args:
        model: not adapted yet; changed in place. Only the adapters, and the parts that were saved whole, learn after.
        folder: with adapter_config.json and adapter_model.safetensors.

    Returns:
        The names of the adapted layers.

    Raises:
        UserError: a missing file, a kind of adapter other than plain LoRA, or one for another model.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    where = str(folder / CONFIG)
    config = read_json(folder / CONFIG)
    for key, plain in (("peft_type", "LORA"), ("bias", "none"), ("use_dora", False), ("lora_bias", False)):
        if config.get(key, plain) != plain:
            raise UserError(where, f"{key} is {config[key]!r}", f"only {plain!r} can be opened")
    if getattr(model, "lora", None) is not None:
        raise UserError(where, "the model is adapted already", "fold the first adapters before opening others")
    try:
        tensors = load_file(folder / WEIGHTS)
    except Exception as fault:  # safetensors has an error of its own
        raise UserError(str(folder / WEIGHTS), f"cannot be read ({fault})", "give a folder that peft wrote") from None
    one, _ = _map(model, where)
    moves = {name: move for move in _moves(model, one) for name in move.theirs}
    known = {name.removeprefix(ROOT): tensor for name, tensor in tensors.items()}
    if not any(name.startswith(one.prefix) for name in moves if _plain(name) in map(_plain, known)):
        moves = {name.removeprefix(one.prefix): move for name, move in moves.items()}
    fresh: dict[str, tuple[Tensor, Tensor, float]] = {}
    used: set[str] = set()
    for theirs in _modules(tensors):
        down, up = known[f"{theirs}.lora_A.weight"], known.get(f"{theirs}.lora_B.weight")
        move = moves.get(f"{theirs}.weight")
        if move is None or up is None:
            raise UserError(str(folder / WEIGHTS), f"{theirs} is no layer of this model", "open the model it is for")
        _turns(move)
        rank = down.shape[0]
        scale = _pattern(config.get("alpha_pattern"), theirs, config.get("lora_alpha", 8))
        scale /= rank**0.5 if config.get("use_rslora") else rank
        bases = [model.get_submodule(name.removesuffix(".weight")) for name in move.ours]
        widths = [_shape(base)[0] for base in bases]
        if up.shape != (sum(widths), rank) or down.shape[1] != _shape(bases[0])[1]:
            raise UserError(str(folder / WEIGHTS), f"{theirs} is of another size", "open the model it is for")
        for name, rows in zip(move.ours, up.split(widths), strict=True):
            fresh[name.removesuffix(".weight")] = (down, rows, float(scale))
        used |= {f"{theirs}.lora_A.weight", f"{theirs}.lora_B.weight"}
    parts = _whole(model, {name: known[name] for name in known if name not in used}, moves, str(folder / WEIGHTS))
    freeze(model, parts)
    dropout = float(config.get("lora_dropout", 0.0))
    for name, (down, up, scale) in fresh.items():
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear)
        layer = Adapted(base, down.shape[0], scale * down.shape[0], dropout)
        with torch.no_grad():
            layer.lora_down.copy_(down)
            layer.lora_up.copy_(up)
        put(model, name, layer)
    rank, alpha = int(config.get("r", 8)), float(config.get("lora_alpha", 8))
    model.lora = Lora(rank, alpha, dropout, tuple(sorted(fresh)), tuple(parts))  # type: ignore[assignment]
    return sorted(fresh)


def _map(model: nn.Module, where: str) -> tuple[Map, str]:
    """The family's map, and what its names lose where the model has no head."""
    config = getattr(model, "config", None) or {}
    one = maps().get(config.get("architecture", ""))
    if one is None:
        raise UserError(where, f"{config.get('architecture')} has no counterpart in this layout", "fold and save it")
    return one, one.prefix if one.theirs(config)["architectures"][0] in one.headless else ""


def _moves(model: nn.Module, one: Map) -> list[Move]:
    """The moves of the model as it was before it was adapted."""
    from dougong.architectures import build

    plain = build(getattr(model, "config", {}), device="meta")
    return one.moves(plain)


def _turns(move: Move) -> bool:
    """Whether the layer is stored (in, out) there.

    Raises:
        UserError: something else happens to it in between than turning and putting side by side.
    """
    kind = move.transform
    turned = type(kind) is Transpose
    if isinstance(kind, Then) and type(kind.first) is Transpose:
        kind, turned = kind.second, True
    if (type(kind) not in (Transform, Transpose) and kind != Split()) or len(move.theirs) > 1:
        raise UserError(move.ours[0], "cannot be adapted in the layout of peft", "fold it, or choose other targets")
    return turned


def _together(parts: list[tuple[Adapted | None, nn.Module]], theirs: str) -> tuple[Tensor, Tensor, float]:
    """The matrices of layers that are one there: D (R, in), U (out, R), and the scale.

    Raises:
        UserError: they have several scales, and no one would do.
    """
    there = [layer for layer, _ in parts if layer is not None]
    scale = there[0].scale
    if any(layer.scale != scale for layer in there):
        raise UserError(theirs, "its parts are scaled differently", "adapt them alike")
    if len(there) == len(parts) and all(torch.equal(layer.lora_down, there[0].lora_down) for layer in there):
        return there[0].lora_down.detach(), torch.cat([layer.lora_up.detach() for layer in there]), scale
    down = torch.cat([layer.lora_down.detach() for layer in there])
    height = sum(_shape(part)[0] for _, part in parts)
    up = down.new_zeros(height, len(down))
    row = column = 0
    for layer, part in parts:
        width = _shape(part)[0]
        if layer is not None:
            up[row : row + width, column : column + layer.rank] = layer.lora_up.detach()
            column += layer.rank
        row += width
    return down, up, scale


def _shape(part: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear layer."""
    weight = part.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0], weight.shape[1]


def _modules(tensors: dict[str, Tensor]) -> set[str]:
    """Their names of the adapted layers."""
    end = ".lora_A.weight"
    return {name.removeprefix(ROOT).removesuffix(end) for name in tensors if name.endswith(end)}


def _plain(name: str) -> str:
    return re.sub(r"\.lora_[AB]\.weight$", ".weight", name)


def _pattern(table: Any, name: str, default: Any) -> float:
    """The value of the first pattern that a name ends in."""
    for pattern, value in (table or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return float(value)
    return float(default)


@torch.no_grad()
def _whole(model: nn.Module, tensors: dict[str, Tensor], moves: dict[str, Move], where: str) -> list[str]:
    """Fill the parts that were saved whole; their names.

    Raises:
        UserError: a tensor that is none of the model's.
    """
    strange = sorted(set(tensors) - set(moves))
    if strange:
        raise UserError(where, f"{strange[0]} is neither LoRA nor a part of this model", "open the model it is for")
    state, parts = model.state_dict(), set()
    for move in {id(moves[name]): moves[name] for name in tensors}.values():
        shapes = [state[name].shape for name in move.ours]
        given = [tensors[name] for name in moves if moves[name] is move and name in tensors]
        for name, tensor in zip(move.ours, move.transform.read(given, shapes), strict=True):
            state[name].copy_(tensor)
            parts.add(name.rpartition(".")[0])
    return sorted(parts)


def _write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{WEIGHTS}.part"
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(kept, half, metadata={"format": "pt"})
    os.replace(half, folder / WEIGHTS)
    half = folder / f"{CONFIG}.part"
    half.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(half, folder / CONFIG)
    return folder
