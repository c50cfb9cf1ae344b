"""Sentence embeddings: folders in the layout of sentence-transformers (modules.json, a pooling, a normalisation)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from dougong.errors import UserError, unknown
from dougong.heads.embed import POOLINGS, pooled
from dougong.interop.loading import find, load
from dougong.interop.pipeline import Pipeline, write_pipeline
from dougong.interop.vocabulary import in_lower_case

if TYPE_CHECKING:
    from dougong.data.tokenizing import Tokenizer
    from dougong.parts.output import Feature


class Embedder:
    """Texts to vectors: ``model.embed`` of a model that was loaded from a folder of sentence-transformers.

    Args:
        model: an encoder or decoder with hidden states.
        tokenizer: of the model; by default opened from the folder that it was loaded from, at the first text.
        pooling: names of `POOLINGS`; several vectors are put side by side.
        normalise: whether vectors get length 1.
        max_length: longer texts are cut to so many tokens; by default to what the tokenizer's files say. Never more
            than the model takes.
        lower: whether texts are put in lower case first.
        prompts: texts to be put in front, by name.
        default_prompt: the name of that which is used unless another is asked for.
        include_prompt: whether a prompt's tokens are pooled with the others.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Tokenizer | None = None, *, pooling: Sequence[str] = ("mean",),
        normalise: bool = True, max_length: int | None = None, lower: bool = False,
        prompts: Mapping[str, str] | None = None, default_prompt: str | None = None, include_prompt: bool = True,
    ) -> None:  # fmt: skip
        for name in pooling:
            if name not in POOLINGS:
                raise unknown("pooling", "way of pooling", name, POOLINGS)
        self.model = model
        self.pipeline = Pipeline(
            tuple(pooling), normalise, max_length, lower, dict(prompts or {}), default_prompt, include_prompt
        )
        self._given = tokenizer
        self._tokenizer: Tokenizer | None = None

    @staticmethod
    def of(model: nn.Module, pipeline: Pipeline, width: int | None) -> Embedder:
        """The embedder that a folder's files describe.

        Raises:
            UserError: they were written for a model of another width, or it does not read texts alone.
        """
        if str(model.input_kind) != "tokens":
            raise UserError(
                str((getattr(model, "card", None) or {}).get("folder", "model")),
                f"embeddings of a model that reads {model.input_kind} are not supported", "use another model",
            )  # fmt: skip
        found = Embedder(model, pooling=pipeline.pooling)
        found.pipeline = pipeline
        here = found._width
        if width is not None and here is not None and width != here:
            card: Mapping[str, Any] = getattr(model, "card", None) or {}
            raise UserError(
                str(card.get("folder", "pooling")), f"the pooling takes vectors of {width}, the model gives {here}",
                "give the files that belong together",
            )  # fmt: skip
        return found

    @staticmethod
    def open(
        source: str | Path, tokenizer: Tokenizer | None = None,
        *, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> Embedder:  # fmt: skip
        """The embedder of a folder or hub id with modules.json.

        Raises:
            UserError: as `dougong.load`; or it names no pooling.
        """
        model = load(source, device=device, dtype=dtype)
        found = getattr(model, "embed", None)
        if not isinstance(found, Embedder):
            where = find(source)
            said = "names no Pooling" if (where / "modules.json").is_file() else "is not there"
            raise UserError(str(where / "modules.json"), said, "give a model of sentence-transformers")
        found._given = tokenizer
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Embedder:
        """One for a copy of the model; tokenizers do not change and are shared."""
        new = copy.copy(self)
        new.model = copy.deepcopy(self.model, memo)
        return new

    def __repr__(self) -> str:
        return f"Embedder({self.pipeline})"

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's.

        Raises:
            UserError: there is none, or it does not fit the model.
        """
        if self._tokenizer is None:
            from dougong.data.tokenizing import Tokenizer

            card: Mapping[str, Any] = getattr(self.model, "card", None) or {}
            if self._given is None and "folder" not in card:
                raise UserError("embed", "the model was not loaded from a folder", "give its tokenizer")
            held = self._given or Tokenizer.open(card["folder"])
            if size := self._config.get("vocab_size"):
                held.check(size, str(card.get("folder", "embed")))
            self._tokenizer = in_lower_case(held) if self.pipeline.lower else held
        return self._tokenizer

    @property
    def _config(self) -> dict[str, Any]:
        return cast("dict[str, Any]", getattr(self.model, "config", None) or {})

    @property
    def _width(self) -> int | None:
        """D of the hidden states: that of a network which reads both ways is twice the model's."""
        features: list[Feature] | None = getattr(self.model, "feature_info", None)
        width = features[-1].channels if features else self._config.get("d_model")
        return None if width is None else int(width)

    @property
    def max_length(self) -> int | None:
        """How many tokens of a text are read; None for all."""
        limit = self.pipeline.max_length or self.tokenizer.max_length
        return min((each for each in (limit, self._config.get("max_length")) if each), default=None)

    def __call__(self, texts: str | Sequence[str], **settings: Any) -> Tensor:
        """As `embed`."""
        return self.embed(texts, **settings)

    @torch.no_grad()
    def embed(
        self, texts: str | Sequence[str], *, batch_size: int = 32, prompt: str | None = None,
        prompt_name: str | None = None,
    ) -> Tensor:  # fmt: skip
        """One vector for each text, in the order given.

        Args:
            texts: a text, or several.
            batch_size: texts run at once; those of like length go together.
            prompt: put in front of every text.
            prompt_name: of one of the model's prompts, in place of ``prompt``.

        Returns:
            (D,) for one text, (N, D) for N, on the CPU; D is the model's width times the number of poolings.

        Raises:
            UserError: no texts but something else, one without a token, an unknown prompt, or no tokenizer.
        """
        if isinstance(texts, str):
            return self.embed([texts], batch_size=batch_size, prompt=prompt, prompt_name=prompt_name)[0]
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise UserError(f"text {number}", f"is a {type(text).__name__}", "give str")
        if batch_size < 1:
            raise UserError("batch_size", f"{batch_size}", "give 1 or more")
        before = self._prompt(prompt, prompt_name)
        skip = self._skipped(before) if before and not self.pipeline.include_prompt else 0
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        weights = next(self.model.parameters())
        width = (self._width or 0) * len(self.pipeline.pooling)
        found = torch.empty(len(texts), width, dtype=weights.dtype)
        was_training = self.model.training
        self.model.eval()
        try:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                tokens, lengths = self.tokenizer.batch([before + texts[i] for i in rows], max_length=self.max_length)
                if not lengths.all():
                    raise UserError(f"text {rows[int(lengths.argmin())]}", "holds no token", "leave it out")
                found[rows] = self._vectors(tokens.to(weights.device), lengths.to(weights.device), skip).cpu()
        finally:
            self.model.train(was_training)
        return found

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        """What is put in front."""
        if prompt is not None:
            return prompt
        name = self.pipeline.default_prompt if name is None else name
        if name is None:
            return ""
        if name not in self.pipeline.prompts:
            raise unknown("prompt_name", "prompt", name, self.pipeline.prompts)
        return self.pipeline.prompts[name]

    def _skipped(self, prompt: str) -> int:
        """Tokens of a prompt that are not pooled: all but a special one at its end."""
        ids = self.tokenizer.encode(prompt, max_length=self.max_length).ids
        return len(ids) - (bool(ids) and ids[-1] in self.tokenizer.special_ids.values())

    def _vectors(self, tokens: Tensor, lengths: Tensor, skip: int) -> Tensor:
        found = pooled(self.model(tokens, lengths).hidden, lengths, self.pipeline.pooling, skip)
        return nn.functional.normalize(found, dim=-1) if self.pipeline.normalise else found

    def save(self, folder: Path) -> None:
        """Write what makes the folder of a saved model one of sentence-transformers: modules.json and what it names."""
        write_pipeline(self.pipeline, folder, self._width or 0)
