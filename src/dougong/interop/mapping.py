"""A map between a family of ours and a layout of the Hugging Face ecosystem: configuration and keys, both ways."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dougong.architectures.filling import shared_names
from dougong.architectures.registry import families
from dougong.errors import UserError, nearest, unknown
from dougong.interop.transforms import Transform

MISSING: Any = object()

# Keys of every foreign configuration that say nothing about what the model computes.
SILENT = frozenset(
    "_name_or_path _commit_hash _attn_implementation attn_implementation transformers_version torch_dtype dtype "
    "use_cache output_attentions output_hidden_states return_dict gradient_checkpointing initializer_range "
    "initializer_factor pad_token_id bos_token_id eos_token_id sep_token_id decoder_start_token_id "
    "forced_bos_token_id forced_eos_token_id unk_token_id mask_token_id cls_token_id id2label label2id num_labels "
    "architectures task_specific_params problem_type finetuning_task is_encoder_decoder prefix "
    "tokenizer_class torchscript use_bfloat16 chunk_size_feed_forward "
    "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature "
    "top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size "
    "bad_words_ids num_return_sequences output_scores return_dict_in_generate remove_invalid_values "
    "exponential_decay_length_penalty suppress_tokens begin_suppress_tokens tf_legacy_loss model_type "
    "_num_labels name_or_path pretraining_tp auto_map quantization_config".split()
)  # fmt: skip
REFUSED = {"auto_map": "the model brings its own code", "quantization_config": "the weights are quantised"}


class Foreign:
    """A foreign configuration, read key by key; ``finish`` refuses what nobody read.

    Args:
        values: of config.json.
        where: it came from; errors name it.
        silent: further keys that say nothing about what the model computes.
    """

    def __init__(self, values: Mapping[str, Any], where: str, silent: Iterable[str] = ()) -> None:
        self.values, self.where = dict(values), where
        self.read: set[str] = set(SILENT) | set(silent)
        for key, why in REFUSED.items():
            if values.get(key):
                raise UserError(where, f"{key} is set: {why}", "use a model without it")

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def take(self, key: str, default: Any = MISSING, kind: type | tuple[type, ...] | None = None) -> Any:
        """A value; its default where the key is missing or null.

        Args:
            key: theirs.
            default: what the reference library takes when the key is missing.
            kind: type that it must have.

        Raises:
            UserError: it is missing and has no default, or is of another type.
        """
        self.read.add(key)
        value = self.values.get(key)
        if value is None:
            if default is MISSING:
                raise UserError(self.where, f"lacks {key}", "give the config.json that belongs to the weights")
            return default
        wanted = kind or (type(default) if default is not MISSING and default is not None else None)
        if wanted is float:
            wanted = (int, float)
        wrong = wanted is not None and not isinstance(value, wanted)
        if wrong or (isinstance(value, bool) and wanted in (int, (int, float))):
            raise UserError(self.where, f"{key}={value!r} is of the wrong type", "give a config.json as it was saved")
        return value

    def count(self, key: str, default: Any = MISSING, most: int = 10**7) -> int:
        """A whole number from 1 to ``most``.

        Raises:
            UserError: it is not.
        """
        value = self.take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise UserError(self.where, f"{key}={value!r} is no whole number from 1 to {most}", "correct it")
        return value

    def only(self, key: str, *allowed: Any, default: Any = MISSING) -> Any:
        """A value that must be one of those that we build; the first of them is the default.

        Raises:
            UserError: it is another.
        """
        value = self.take(key, allowed[0] if default is MISSING else default, kind=object)
        if value not in allowed:
            known = ", ".join(map(repr, allowed))
            raise UserError(self.where, f"{key}={value!r} is not supported (known: {known})", "use another model")
        return value

    def ignore(self, *keys: str) -> None:
        """Keys that do not change what the model computes."""
        self.read.update(keys)

    def inside(self, key: str) -> Foreign:
        """A configuration in the configuration; it must be finished by itself."""
        return Foreign(self.take(key, {}, kind=dict), f"{self.where}: {key}")

    def finish(self) -> None:
        """Refuse keys that nobody read; those that are null, false or empty ask for nothing.

        Raises:
            UserError: there is one.
        """
        for key, value in self.values.items():
            if key not in self.read and value not in (None, False, {}, [], 0):
                close = nearest(key, self.read)
                hint = f" (did you mean {close}?)" if close and close not in self.values else ""
                raise UserError(
                    self.where,
                    f"{key}={value!r} is neither handled nor known to be harmless{hint}",
                    "remove it if it is",
                )


@dataclass(frozen=True)
class Key:
    """Names of theirs, names of ours, and what happens in between.

    A name holds ``{i}`` where a number stands and may end in ``.*`` for weight and bias alike. A number that only
    their name holds runs over the first axis of ours.
    """

    theirs: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    transform: Transform = field(default_factory=Transform)


@dataclass(frozen=True)
class Move:
    """A key with all its numbers filled in."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transform: Transform


@dataclass(frozen=True)
class Map:
    """One family's map.

    Args:
        architecture: ours.
        model_types: theirs; the first is what we write.
        ours: a `Foreign` to the arguments of our family.
        theirs: our configuration to theirs, with "model_type" and "architectures".
        keys: our configuration to the keys, with the names that a checkpoint with a head has.
        prefix: of the names of the base model in such a checkpoint. One of the base model alone lacks it throughout.
        headless: classes in "architectures" whose checkpoints we write without it.
        repeats: their names that hold another's values once more (tied weights), with that other name; checked.
        ignored: patterns of their names that hold nothing learnt.
        legacy: pattern and replacement, for the ends of names in old checkpoints.
        silent: keys of their configuration that do not change what the model computes.
    """

    architecture: str
    model_types: tuple[str, ...]
    ours: Callable[[Foreign], dict[str, Any]]
    theirs: Callable[[dict[str, Any]], dict[str, Any]]
    keys: Callable[[dict[str, Any]], list[Key]]
    prefix: str = ""
    headless: tuple[str, ...] = ()
    repeats: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    legacy: tuple[tuple[str, str], ...] = (
        (r"LayerNorm\.gamma$", "LayerNorm.weight"),
        (r"LayerNorm\.beta$", "LayerNorm.bias"),
    )
    silent: tuple[str, ...] = ()

    def moves(self, model: nn.Module) -> list[Move]:
        """Every parameter and buffer of ours in exactly one move.

        Raises:
            KeyError: the map leaves one of ours out, or moves it twice: a fault of the map.
        """
        names = shared_names(model)
        first = {alias: name for name, aliases in names.items() for alias in aliases}
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        moves: list[Move] = []
        done: set[str] = set()
        for key in self.keys(getattr(model, "config", {})):
            ours = (key.ours,) if isinstance(key.ours, str) else key.ours
            theirs = (key.theirs,) if isinstance(key.theirs, str) else key.theirs
            pattern = re.compile(_pattern(ours[0]))
            for name in first:
                if not (match := pattern.fullmatch(name)):
                    continue
                held = match.groupdict()
                filled = tuple(first[_fill(each, held)] for each in ours)
                if filled[0] in done and filled[0] != name:
                    continue  # a tied name
                if done & set(filled):
                    raise KeyError(f"{filled} is moved twice by the map of {self.architecture}")
                done.update(filled)
                count = shapes[filled[0]][0] if shapes[filled[0]] else 0
                given = tuple(each for one in theirs for each in _names(one, held, count))
                moves.append(Move(given, filled, key.transform))
        if left := set(names) - done:
            raise KeyError(f"the map of {self.architecture} leaves out {sorted(left)[:5]}")
        return moves


def _pattern(name: str) -> str:
    """A name as a regular expression with a named group for each number, and one for what ``*`` stands for."""
    text = re.escape(name).replace(r"\*", r"(?P<leaf>weight|bias)")
    return re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", text)


def _fill(name: str, held: Mapping[str, str]) -> str:
    filled = name.replace("*", held["leaf"]) if "leaf" in held else name
    return re.sub(r"\{(\w+)\}", lambda match: held[match[1]], filled)


def _names(name: str, held: Mapping[str, str], count: int) -> list[str]:
    """Their names: one, or one for each value of a number that ours does not hold."""
    free = [number for number in re.findall(r"\{(\w+)\}", name) if number not in held]
    if not free:
        return [_fill(name, held)]
    return [_fill(name, {**held, free[0]: str(value)}) for value in range(count)]


_REGISTERED: dict[str, Map] = {}


def register(one: Map) -> Map:
    """Add a map for a family from outside this package. It may be registered again (a cell that is run twice).

    Raises:
        UserError: there is no such family, it is one of this package with a map already, or one of its model types is
            read by another family's map.
    """
    if one.architecture not in families():
        raise unknown("the map", "architecture", one.architecture, families())
    if one.architecture in _ours():
        raise UserError(one.architecture, "has a map in dougong already", "register a family of your own first")
    for name in one.model_types:
        held = by_model_type().get(name)
        if held is not None and held.architecture != one.architecture:
            raise UserError(name, f"is read by the map of {held.architecture} already", "use that family")
    _REGISTERED[one.architecture] = one
    return one


@functools.cache
def _ours() -> dict[str, Map]:
    """The maps of this package."""
    package = importlib.import_module("dougong.interop.maps")
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        one: Map = importlib.import_module(f"dougong.interop.maps.{module.name}").MAP
        found[one.architecture] = one
    return found


def maps() -> dict[str, Map]:
    """Every map by our architecture.

    A file added to maps/ is found by itself; it holds one ``MAP``. To them come those that were registered.
    """
    families()  # modules of installed packages register their maps when they are imported
    return {**_ours(), **_REGISTERED}


def by_model_type() -> dict[str, Map]:
    """Every map by the model_type of theirs that it reads."""
    return {name: one for one in maps().values() for name in one.model_types}
