"""Sentence embeddings: folders in the layout of sentence-transformers (modules.json, a pooling, a normalisation)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dougong.architectures.weights import inside
from dougong.errors import UserError
from dougong.interop.loading import find, load, read_json


class Batches(Protocol):
    """What an embedder needs of a tokenizer."""

    def batch(self, texts: list[str], *, max_length: int | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) and lengths (B,)."""
        ...


def mean(hidden: Tensor, real: Tensor) -> Tensor:
    """The mean over real tokens (Reimers and Gurevych 2019, section 3).

    Args:
        hidden: (B, L, D).
        real: (B, L, 1), 1 where a token is, 0 in the padding; of hidden's type.
    """
    return (hidden * real).sum(1) / real.sum(1)


def _mean_sqrt(hidden: Tensor, real: Tensor) -> Tensor:
    return (hidden * real).sum(1) / real.sum(1).sqrt()


def _weighted(hidden: Tensor, real: Tensor) -> Tensor:
    """Later tokens count more (Muennighoff 2022, section 3)."""
    weights = real * torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype)[:, None]
    return (hidden * weights).sum(1) / weights.sum(1)


def _last(hidden: Tensor, real: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), real.sum((1, 2)).long() - 1]


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls_token": lambda hidden, real: hidden[:, 0],
    "max_tokens": lambda hidden, real: hidden.masked_fill(real == 0, float("-inf")).amax(1),
    "mean_tokens": mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean_tokens": _weighted,
    "lasttoken": _last,
}
"""Ways from hidden states (B, L, D) to one vector (B, D); several are put side by side, in this order."""


class Embedder:
    """Texts to vectors.

    Args:
        model: an encoder with hidden states.
        tokenizer: `dougong.data.tokenizing.Tokenizer`, or anything that makes batches as it does.
        pooling: names of `POOLINGS`.
        normalise: whether vectors get length 1.
        max_length: longer texts are cut to so many tokens; None for as long as the model takes.
        lower: whether texts are put in lower case first.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Batches, *, pooling: Sequence[str] = ("mean_tokens",),
        normalise: bool = True, max_length: int | None = None, lower: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer = model.eval(), tokenizer
        self.pooling, self.normalise = tuple(pooling), normalise
        config: dict[str, Any] = getattr(model, "config", None) or {}  # type: ignore[assignment]
        limits = [limit for limit in (max_length, config.get("max_length")) if limit]
        self.max_length, self.lower = min(limits, default=None), lower

    @staticmethod
    def open(
        source: str | Path, tokenizer: Batches,
        *, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> Embedder:  # fmt: skip
        """An embedder from a folder with modules.json.

        Raises:
            UserError: as `dougong.load`; or a module or way of pooling that we do not have.
        """
        folder = find(source)
        pooling: list[str] | None = None
        normalise, first = False, folder
        for step, (kind, path) in enumerate(_modules(folder)):
            if kind == "Transformer" and step == 0:
                first = path
            elif kind == "Pooling" and step > 0 and pooling is None:
                pooling = _pooling(path / "config.json")
            elif kind == "Normalize" and pooling:
                normalise = True
            else:
                known = "Transformer, Pooling, Normalize, in this order"
                raise UserError(str(folder / "modules.json"), f"step {step}, {kind}, is not supported", f"use {known}")
        if not pooling:
            raise UserError(str(folder / "modules.json"), "names no Pooling", "give a model of sentence-transformers")
        settings = first / "sentence_bert_config.json"
        held = read_json(settings) if settings.is_file() else {}
        limit = held.get("max_seq_length")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 3):
            raise UserError(str(settings), f"max_seq_length={limit!r}", "give a whole number of tokens")
        model = load(first, device=device, dtype=dtype)
        return Embedder(
            model, tokenizer, pooling=pooling, normalise=normalise, max_length=limit,
            lower=bool(held.get("do_lower_case")),
        )  # fmt: skip

    @torch.no_grad()
    def embed(self, texts: str | Sequence[str], batch_size: int = 32) -> Tensor:
        """One vector for each text, in the order given.

        Args:
            texts: a text, or several.
            batch_size: texts run at once; those of like length go together.

        Returns:
            (D,) for one text, (N, D) for N, on the CPU; D is the model's width times the number of poolings.
        """
        if isinstance(texts, str):
            return self.embed([texts])[0]
        ready = [text.lower() if self.lower else text for text in texts]
        order = sorted(range(len(ready)), key=lambda i: -len(ready[i]))
        device = next(self.model.parameters()).device
        found: list[Tensor] = [torch.empty(0)] * len(ready)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            tokens, lengths = self.tokenizer.batch([ready[i] for i in rows], max_length=self.max_length)
            vectors = self._vectors(tokens.to(device), lengths.to(device)).cpu()
            for row, vector in zip(rows, vectors, strict=True):
                found[row] = vector
        return torch.stack(found) if found else torch.empty(0, 0)

    def _vectors(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        hidden = self.model(tokens, lengths).hidden
        real = (torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None])[..., None].to(hidden.dtype)
        pooled = torch.cat([POOLINGS[name](hidden, real) for name in POOLINGS if name in self.pooling], -1)
        return nn.functional.normalize(pooled, dim=-1) if self.normalise else pooled


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """The kind and folder of each step."""
    file = folder / "modules.json"
    if not file.is_file():
        raise UserError(str(folder), "no modules.json", "give a model of sentence-transformers")
    try:
        steps = json.loads(inside(file, folder).read_text(encoding="utf-8"))
        found = [(str(step["type"]).rpartition(".")[2], folder / step["path"]) for step in steps]
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise UserError(str(file), f"is no list of modules ({type(error).__name__}: {error})", "restore it") from None
    for _, path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(str(file), f"{path} lies outside its folder", "do not trust it")
    return found


def _pooling(file: Path) -> list[str]:
    """The ways of pooling that are switched on."""
    held = read_json(file)
    named = [key.removeprefix("pooling_mode_") for key, on in held.items() if key.startswith("pooling_mode_") and on]
    if isinstance(mode := held.get("pooling_mode"), str):  # as newer versions write it
        named.append({"cls": "cls_token", "lasttoken": "lasttoken"}.get(mode, f"{mode}_tokens"))
    if unsupported := [name for name in named if name not in POOLINGS]:
        known = ", ".join(POOLINGS)
        raise UserError(str(file), f"pooling {unsupported[0]!r} is not supported (known: {known})", "use another model")
    if held.get("include_prompt") is False:
        raise UserError(str(file), "include_prompt=False is not supported", "use another model")
    return named
