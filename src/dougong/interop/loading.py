"""Loading and saving models: a run, a folder of ours, or a folder in Hugging Face layout."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dougong.architectures import storing
from dougong.architectures.filling import Look, Piece, complain, fill, same, stays
from dougong.architectures.registry import check
from dougong.architectures.weights import SHARD, Weights, write_weights
from dougong.errors import UserError, unknown
from dougong.interop import hub
from dougong.interop.files import read_json, travel
from dougong.interop.mapping import Foreign, Map, by_model_type, maps
from dougong.interop.pipeline import read_pipeline
from dougong.interop.vocabulary import check_vocabulary

SEVERAL = "multi_label_classification"
"""What a foreign config.json calls classes that stand side by side, each with a sigmoid of its own."""
TOKENS = ("bos", "eos", "pad", "sep", "cls", "unk", "mask", "decoder_start", "forced_bos", "forced_eos")


def load(
    source: str | Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """A trained model, ready for inference.

    A model of sentence-transformers also gets ``model.embed``: texts to vectors, see `dougong.interop.sentences`.
    ``model.card`` holds what a foreign config.json says beside the architecture: ``labels``, ``tokens`` (ids by role),
    ``model_type``; and ``folder``, from which `save` takes the tokenizer and other files that belong to the model.

    Args:
        source: a run's folder, a folder with config.json and weights in our layout or in that of Hugging Face, or a
            hub id, ``org/name`` or ``org/name@revision``; what exists on disk comes first.
        device: where its weights go; the CPU by default.
        dtype: what its weights are turned into; as saved by default.

    Raises:
        UserError: a missing or broken file, a family or a value that we do not build, a weight that is missing, too
            many, of another shape or not finite, or a tokenizer with ids that the model has no embedding for.
    """
    from dougong.interop.sentences import Embedder

    folder, pipeline, width = find(source), None, None
    if (folder / "modules.json").is_file():
        folder, pipeline, width = read_pipeline(folder)
    model = _opened(folder, device, dtype, bare=pipeline is not None)
    if pipeline is not None:
        model.embed = Embedder.of(model, pipeline, width)  # type: ignore[assignment]
    return model.eval()


def _opened(
    folder: Path, device: torch.device | str | None, dtype: torch.dtype | None, bare: bool = False
) -> nn.Module:
    """The model in a folder; ``bare`` without the head that it may have."""
    config = read_json(folder / "config.json")
    where = str(folder / "config.json")
    if "architecture" in config:
        if isinstance(size := config.get("vocab_size"), int):
            check_vocabulary(folder, size)
        model = storing.load(folder, device=device, dtype=dtype)
        model.card = {"folder": str(folder)}  # type: ignore[assignment]
        return model
    one = map_of(config, folder / "config.json")
    if bare:
        config = {**config, "architectures": list(one.headless[:1])}
    arguments = translate(one, config, folder / "config.json")
    with Weights(folder) as weights, Look(weights, ahead=stays(device, dtype)) as look:
        if not any("pooler" in name for name in weights):  # the configuration cannot say that there is none
            arguments |= {key: None for key, held in arguments.items() if "pooler" in (key, held)}
        if bare and arguments.get("tied") is False and not any(name.endswith("lm_head.weight") for name in weights):
            arguments["tied"] = True  # nothing is written
        checked = check({"architecture": one.architecture, **arguments}, where)
        storing.limit(checked, len(weights), where)
        if size := checked.get("vocab_size"):
            check_vocabulary(folder, size)
        model = storing.built(checked, where, "meta", None)
        place(model, one, weights, look, bare=bare, device=device, dtype=dtype)
    model.card = {**card(config), "folder": str(folder)}  # type: ignore[assignment]
    return model


def find(source: str | Path) -> Path:
    """The folder that holds config.json.

    Raises:
        UserError: there is none.
    """
    folder = Path(source)
    if (folder / "model" / "config.json").is_file():
        return folder / "model"
    if not folder.exists():
        if hub.is_id(str(source)):
            return hub.fetch(str(source))
        raise UserError(str(source), "no such folder", "give a run's folder or a model's, which holds config.json")
    return folder


def map_of(config: dict[str, Any], file: Path) -> Map:
    """The map that reads a foreign configuration.

    Raises:
        UserError: it names no model_type, or one that we do not know.
    """
    name = config.get("model_type")
    if not isinstance(name, str):
        raise UserError(str(file), 'names neither an "architecture" nor a "model_type"', "give a model's config.json")
    if name not in by_model_type():
        raise unknown(str(file), "model_type", name, by_model_type())
    return by_model_type()[name]


def translate(one: Map, config: dict[str, Any], file: Path) -> dict[str, Any]:
    """The arguments of our family that a foreign configuration asks for; nothing in it is left unread."""
    foreign = Foreign(config, str(file), one.silent)
    arguments = one.ours(foreign)
    foreign.finish()
    return arguments


def card(config: dict[str, Any]) -> dict[str, Any]:
    """What a foreign config.json says beside the architecture: model_type, labels, if several, tokens by role."""
    labels = config.get("id2label") or {}
    found: dict[str, Any] = {"model_type": config["model_type"]}
    if isinstance(labels, dict) and labels and all(str(key).isdigit() for key in labels):
        found["labels"] = [str(labels[key]) for key in sorted(labels, key=int)]
    if config.get("problem_type") == SEVERAL:
        found["several"] = True
    tokens = {role: config[f"{role}_token_id"] for role in TOKENS if config.get(f"{role}_token_id") is not None}
    return {**found, **({"tokens": tokens} if tokens else {})}


def place(
    model: nn.Module, one: Map, weights: Weights, look: Look, *, bare: bool = False,
    device: torch.device | str | None = None, dtype: torch.dtype | None = None,
) -> None:  # fmt: skip
    """Fill a model made on the meta device; every key of the checkpoint is used exactly once, or known to be needless.

    ``bare`` passes over what lies outside the base model: the head of a checkpoint that is read without it.

    Raises:
        UserError: keys are missing or too many, or a tensor is of another shape or kind.
    """
    found = {_modern(name, one): name for name in weights}
    without = not any(name.startswith(one.prefix) for name in found)
    bare_names = {(one.prefix if without else "") + name: old for name, old in found.items()}
    if bare:
        bare_names = {name: old for name, old in bare_names.items() if name.startswith(one.prefix)}
    moves = one.moves(model)
    needed = {name for move in moves for name in move.theirs}
    complain(weights, "lacks", needed - set(bare_names))
    repeats = {name: original for name, original in one.repeats if name in bare_names and name not in needed}
    surplus = [name for name in bare_names if name not in needed and name not in repeats]
    complain(
        weights, "has unknown",
        [bare_names[name] for name in surplus if not any(re.fullmatch(pattern, name) for pattern in one.ignored)],
    )  # fmt: skip
    for name, original in repeats.items():
        repeat = weights.get(bare_names[name])
        if not same(repeat, weights.get(bare_names[original])):
            raise UserError(
                weights.where(bare_names[name]),
                f"{name} differs from {original}, though they are one",
                "untie them in config.json",
            )
        weights.forget(bare_names[name], repeat)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    pieces = []
    for move in moves:
        wanted = tuple(shapes[name] for name in move.ours)
        read = functools.partial(move.transform.read, shapes=wanted)
        pieces.append(Piece(tuple(bare_names[name] for name in move.theirs), move.ours, wanted, read))
    fill(model, weights, pieces, look, device=device, dtype=dtype)


def _modern(name: str, one: Map) -> str:
    for pattern, replacement in one.legacy:
        name = re.sub(pattern, replacement, name)
    return name


def save(model: nn.Module, folder: str | Path, *, layout: str = "auto", shard: int = SHARD) -> Path:
    """Write config.json and the weights into a folder.

    Args:
        model: made by `dougong.build` or `dougong.load`.
        folder: made if it does not exist.
        layout: "huggingface", "dougong", or "auto": Hugging Face's where the model has a counterpart there.
        shard: bytes that one file of weights may hold.

    Raises:
        UserError: an unknown layout, or the model has no counterpart in Hugging Face's.
    """
    if layout not in ("auto", "huggingface", "dougong"):
        raise unknown("layout", "layout", layout, ["auto", "huggingface", "dougong"])
    folder = Path(folder)
    config = getattr(model, "config", None) or {}
    one = maps().get(config.get("architecture", ""))
    if layout == "dougong" or (layout == "auto" and one is None):
        storing.save(model, folder)
        return _keep(model, folder)
    if one is None:
        raise UserError(
            str(folder),
            f"{config.get('architecture')} has no counterpart in this layout",
            "save it with layout=dougong",
        )
    try:
        foreign = one.theirs(config)
    except UserError:
        if layout == "auto":
            storing.save(model, folder)
            return _keep(model, folder)
        raise
    state = model.state_dict()
    bare = foreign["architectures"][0] in one.headless
    tensors: dict[str, Tensor] = {}
    for move in one.moves(model):
        for name, tensor in zip(move.theirs, move.transform.write([state[n] for n in move.ours]), strict=True):
            tensors[name.removeprefix(one.prefix) if bare else name] = tensor
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, tensors, shard)
    half = folder / "config.json.part"
    half.write_text(json.dumps({**foreign, **_from_card(model)}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(half, folder / "config.json")
    return _keep(model, folder)


def _keep(model: nn.Module, folder: Path) -> Path:
    """Write what belongs to a model beside its configuration and weights."""
    from dougong.interop.sentences import Embedder

    source = (getattr(model, "card", None) or {}).get("folder")
    if source is not None:
        travel(Path(source), folder)
    if isinstance(embedder := getattr(model, "embed", None), Embedder):
        embedder.save(folder)
    return folder


def _from_card(model: nn.Module) -> dict[str, Any]:
    """Labels, token ids and the type of the weights, as config.json has them."""
    held: dict[str, Any] = getattr(model, "card", None) or {}
    found: dict[str, Any] = {"dtype": str(next(model.parameters()).dtype).removeprefix("torch.")}
    if labels := held.get("labels"):
        found["id2label"] = {str(index): label for index, label in enumerate(labels)}
        found["label2id"] = {label: index for index, label in enumerate(labels)}
    if held.get("several"):
        found["problem_type"] = SEVERAL
    return {**found, **{f"{role}_token_id": value for role, value in (held.get("tokens") or {}).items()}}
