"""The layout of sentence-transformers: modules.json and the small files that it names, read and written."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dougong.architectures.weights import inside
from dougong.errors import UserError
from dougong.interop.files import read_json
from dougong.interop.mapping import Foreign

# names in files -> the way of pooling, in the order in which old files put several side by side
OLD = {
    "cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean_tokens": "weightedmean", "lasttoken": "lasttoken",
}  # fmt: skip


@dataclass(frozen=True)
class Pipeline:
    """What is done with hidden states and before them.

    Args:
        pooling: ways of pooling, side by side.
        normalise: whether vectors get length 1.
        max_length: tokens that are read of a text; None where the tokenizer's files say it.
        lower: whether texts are put in lower case.
        prompts: texts to be put in front, by name.
        default_prompt: the name of that which is used unless another is asked for.
        include_prompt: whether a prompt's tokens are pooled.
        likeness: how vectors are compared, as the files name it; kept for saving.
    """

    pooling: tuple[str, ...] = ("mean",)
    normalise: bool = False
    max_length: int | None = None
    lower: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    include_prompt: bool = True
    likeness: str = "cosine"


def read_pipeline(folder: Path) -> tuple[Path, Pipeline | None, int | None]:
    """The transformer's folder, what follows it (None where nothing is pooled), and the width that it should have.

    Raises:
        UserError: a module, a way of pooling or a setting that we do not have; or a broken file.
    """
    first, pooling, width = folder, None, None
    values: dict[str, Any] = {}
    for step, (kind, path) in enumerate(_modules(folder)):
        if kind == "Transformer" and step == 0:
            first = path
        elif kind == "Pooling" and step > 0 and pooling is None:
            pooling, values["include_prompt"], width = _pooling(path / "config.json")
        elif kind == "Normalize" and pooling:
            _normalize(path / "config.json")
            values["normalise"] = True
        else:
            known = "Transformer, Pooling, Normalize, in this order"
            raise UserError(str(folder / "modules.json"), f"step {step}, {kind}, is not supported", f"use {known}")
    if not pooling:
        return first, None, None
    values["max_length"], values["lower"] = _transformer(first / "sentence_bert_config.json")
    return first, Pipeline(pooling, **values, **_prompts(folder / "config_sentence_transformers.json")), width


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """The kind and folder of each step."""
    file = folder / "modules.json"
    try:
        steps = json.loads(inside(file, folder).read_text(encoding="utf-8"))
        found = [(str(step["type"]).rpartition(".")[2], folder / step["path"]) for step in steps]
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise UserError(str(file), f"is no list of modules ({type(error).__name__}: {error})", "restore it") from None
    for _, path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(str(file), f"{path} lies outside its folder", "do not trust it")
    return found


def _optional(file: Path) -> Foreign:
    return Foreign(read_json(file) if file.is_file() else {}, str(file))


def _pooling(file: Path) -> tuple[tuple[str, ...], bool, int | None]:
    """The ways of pooling, whether prompts are pooled, and the width of hidden states."""
    held = Foreign(read_json(file), str(file))
    switches = [key for key in held.values if key.startswith("pooling_mode_")]
    old = [key.removeprefix("pooling_mode_") for key in switches if held.take(key, False)]
    new = held.take("pooling_mode", [], kind=(str, list))
    named = [new] if isinstance(new, str) else list(new)
    known = list(OLD.values()) if named else list(OLD)
    for name in named or old:
        if name not in known:
            raise UserError(
                str(file), f"pooling {name!r} is not supported (known: {', '.join(known)})", "use another model"
            )
    found = tuple(named) or tuple(OLD[name] for name in OLD if name in old) or ("mean",)
    widths = {held.take(key, None, kind=int) for key in ("embedding_dimension", "word_embedding_dimension")} - {None}
    if len(widths) > 1:
        raise UserError(str(file), f"names two widths, {sorted(widths)}", "restore it")
    include = held.take("include_prompt", True)
    held.finish()
    return found, include, widths.pop() if widths else None


def _normalize(file: Path) -> None:
    held = _optional(file)
    for key in ("module_input_name", "module_output_name"):
        held.only(key, "sentence_embedding")
    held.finish()


def _transformer(file: Path) -> tuple[int | None, bool]:
    """How many tokens are read, and whether in lower case."""
    held = _optional(file)
    limit = held.take("max_seq_length", None, kind=object)
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 3):
        raise UserError(str(file), f"max_seq_length={limit!r}", "give a whole number of tokens")
    lower = held.take("do_lower_case", False)
    held.only("transformer_task", "feature-extraction")
    held.only("module_output_name", "token_embeddings")
    kinds = held.inside("modality_config")
    text = kinds.inside("text")
    text.only("method", "forward")
    text.only("method_output_name", "last_hidden_state")
    for each in (text, kinds):
        each.finish()
    held.finish()
    return limit, lower


def _prompts(file: Path) -> dict[str, Any]:
    """Prompts, that which is used by default, and how vectors are compared."""
    held = _optional(file)
    prompts = {name: text for name, text in held.take("prompts", {}, kind=dict).items() if text is not None}
    if not all(isinstance(text, str) for text in prompts.values()):
        raise UserError(str(file), "prompts hold something else than texts", "restore it")
    default = held.take("default_prompt_name", None, kind=str)
    if default is not None and default not in prompts:
        raise UserError(str(file), f"default_prompt_name={default!r} names no prompt", "name one of its prompts")
    held.only("model_type", "SentenceTransformer")
    held.only("truncate_dim", None)
    likeness = held.take("similarity_fn_name", "cosine")
    held.ignore("__version__")
    held.finish()
    return {"prompts": prompts, "default_prompt": default, "likeness": likeness}


def write_pipeline(pipeline: Pipeline, folder: Path, width: int) -> None:
    """Write modules.json and what it names beside a saved model, each file whole or not at all.

    Args:
        pipeline: what to write.
        folder: that holds the model.
        width: of hidden states.
    """
    kinds = ["Transformer", "Pooling", *(["Normalize"] if pipeline.normalise else [])]
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds[1:], 1))]
    pooling: dict[str, Any] = {"word_embedding_dimension": width}
    if pipeline.pooling == tuple(name for name in OLD.values() if name in pipeline.pooling):
        pooling |= {f"pooling_mode_{old}": name in pipeline.pooling for old, name in OLD.items()}
    else:  # an order that old files cannot say
        pooling["pooling_mode"] = list(pipeline.pooling)
    _write(folder / paths[1] / "config.json", {**pooling, "include_prompt": pipeline.include_prompt})
    if pipeline.normalise:
        names = ("module_input_name", "module_output_name")
        _write(folder / paths[2] / "config.json", dict.fromkeys(names, "sentence_embedding"))
    _write(
        folder / "sentence_bert_config.json",
        {"max_seq_length": pipeline.max_length, "do_lower_case": pipeline.lower},
    )
    _write(
        folder / "config_sentence_transformers.json",
        {"model_type": "SentenceTransformer", "prompts": pipeline.prompts,
         "default_prompt_name": pipeline.default_prompt, "similarity_fn_name": pipeline.likeness},
    )  # fmt: skip
    steps = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _write(folder / "modules.json", steps)


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".json.part")
    half.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(half, file)
