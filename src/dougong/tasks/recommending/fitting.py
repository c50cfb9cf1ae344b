"""A model's configuration made to score items; any family that writes or finds tokens can."""

from __future__ import annotations

import typing
from collections.abc import Collection
from typing import Any

from dougong.errors import UserError

ANSWERS = ("next-item", "causal-language", "masked-item", "masked-language")
"""Heads that can recommend, by what families call them; the masked ones look both ways."""


def fit_items(
    config: dict[str, Any], items: int, length: int | None, fixed: Collection[str] = (), trained: bool = False
) -> tuple[dict[str, Any], list[str], bool]:
    """A configuration that fits, a line for each change, and whether the model looks both ways.

    Args:
        config: as ``resolve`` gives it; left as it is.
        items: of the catalogue.
        length: items that are read at once; the model's own when None.
        fixed: keys that the user set; never changed.
        trained: the model has weights already, and its sizes stay.

    Raises:
        UserError: the family does not score tokens at each place, or a fixed value does not fit.
    """
    from dougong.architectures import families

    family, fitted, lines = str(config["architecture"]), dict(config), []
    arguments = families()[family].arguments
    hint = families()[family].checker.model_fields["head"].annotation if "head" in arguments else None
    heads = [answer for kind in (hint, *typing.get_args(hint)) for answer in typing.get_args(kind) or (kind,)]
    own = config.get("head")
    head = own if own in ANSWERS else next((one for one in ANSWERS if one in heads), None)
    if head is None or "vocab_size" not in arguments:
        raise UserError(family, "does not score a next item", "choose sasrec, bert4rec, gru4rec, gpt2 or lstm")

    def change(key: str, value: Any, why: str) -> None:
        if fitted.get(key) == value:
            return
        if key in fixed and fitted.get(key) is not None:
            raise UserError(f"model.{key}={fitted[key]}", why, f"leave it out, or set {value}")
        lines.append(f"model.{key}: {fitted.get(key)} -> {value}, {why}")
        fitted[key] = value

    masked = str(head).startswith("masked")
    for key in ("image_size", "patch_size", "d_input"):
        if config.get(key) is not None:
            change(key, None, "it reads items")
    if trained and int(config["vocab_size"]) != items + masked:
        what = f"scores {int(config['vocab_size']) - masked:,} items, and there are {items:,}"
        raise UserError("model", what, "train it anew")
    change("vocab_size", items + masked, "there are so many items" + (" and the mask" if masked else ""))
    change("head", head, "the task asks for it")
    if config.get("max_length") is not None and length is not None and not trained:
        change("max_length", length, "so many items are read at once")
    return fitted, lines, masked
