"""How a text is to be written: everything that a user can say of it, checked at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import nn

from dougong.errors import UserError, unknown
from dougong.runtime.prefixes import Prefix

DEFAULT_LENGTH = 128


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a text is written. Without any of these, each step takes the token of the highest score.

    Args:
        max_new_tokens: tokens to write at most; 128, or as many as fit, by default.
        min_new_tokens: before these are written, no end token may come.
        temperature: tokens are drawn, from scores divided by it; 0 takes the highest score. 1 where another of the
            next three is given.
        top_k: drawn from this many tokens of the highest scores (Fan et al. 2018, section 5.4).
        top_p: drawn from the fewest most probable tokens that together have this probability (Holtzman et al. 2020,
            section 3.1).
        min_p: drawn from tokens that have this share of the most probable one's probability (Nguyen et al. 2024,
            section 3).
        seed: of what is drawn. Random numbers follow from it and the prompt's tokens, so that a prompt gets the same
            text in a batch as alone; one that comes again in a call gets another text each time.
        samples: texts for each prompt: drawn ones, or the best beams.
        repetition_penalty: scores of tokens that are there already are divided by it where they are positive and
            multiplied where they are negative (Keskar et al. 2019, section 4.1).
        no_repeat_ngram: no run of this many tokens comes twice; 0 for no such rule.
        banned: tokens that are never written.
        beams: partial texts that are kept at each step (Wu et al. 2016, section 7); 1 for none of this.
        length_penalty: a text's log-probability is divided by its length to this power when beams are compared.
        early_stopping: True ends when there are as many texts as beams; False when the best unfinished one is no
            better than the worst finished one at its present length; "never" when it could not become better.
        stop: texts at which writing ends; they are not part of the answer.
        end: tokens that end a text; those that the model's files name by default.
        start: the token with which an encoder-decoder begins to write; the one that its files name by default.
        draft: a smaller model of the same vocabulary that guesses several tokens, which the model then judges in one
            step: the same text, or drawn ones of the same distribution (Leviathan et al. 2023, algorithm 1).
        lookup: guesses without a draft: what followed the last time that the text held its newest tokens, this many of
            them or fewer; 0 for none. The same text, drawn or not.
        prefix: what `dougong.prefix` read of the prompts already.

    Raises:
        UserError: a value that cannot be, or two that contradict one another.
    """

    max_new_tokens: int | None = None
    min_new_tokens: int = 0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0
    samples: int = 1
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    banned: Iterable[int] = ()
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    stop: str | Sequence[str] = ()
    end: int | Iterable[int] | None = None
    start: int | None = None
    draft: Any = None
    lookup: int = 0
    prefix: Prefix | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("min_new_tokens", 0), ("samples", 1), ("beams", 1)):
            _whole(name, getattr(self, name), least)
        for name in ("top_k", "no_repeat_ngram", "seed", "lookup"):
            _whole(name, getattr(self, name), 1 if name == "top_k" else 0)
        _number("temperature", self.temperature, 0, None, "0 or more")
        _number("top_p", self.top_p, 0, 1, "above 0 and at most 1", above=True)
        _number("min_p", self.min_p, 0, 1, "from 0 to 1")
        _number("repetition_penalty", self.repetition_penalty, 0, None, "above 0", above=True)
        _number("length_penalty", self.length_penalty, None, None, "a number")
        if self.early_stopping not in (True, False, "never"):
            raise UserError("early_stopping", f"{self.early_stopping!r} is no such rule", 'say True, False or "never"')
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if not all(isinstance(stop, str) and stop for stop in stops):
            raise UserError("stop", "holds an empty text", "give texts of one character or more")
        object.__setattr__(self, "stop", stops)
        object.__setattr__(self, "banned", tuple(self.banned))
        if self.end is not None:
            object.__setattr__(self, "end", (self.end,) if isinstance(self.end, int) else tuple(self.end))
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            raise UserError(
                "min_new_tokens",
                f"{self.min_new_tokens} is more than max_new_tokens, {self.max_new_tokens}",
                "ask for fewer",
            )
        if self.temperature == 0 and self.narrowed:
            raise UserError("temperature", f"0 draws nothing, so {self.narrowed} says nothing", "leave one of them out")
        if self.drawn and self.beams > 1:
            raise UserError(
                "beams", "do not go with drawn tokens", "leave out beams, or temperature, top_k, top_p, min_p"
            )
        if self.draft is not None and not isinstance(self.draft, nn.Module):
            raise UserError("draft", f"{type(self.draft).__name__} is no model", "give one that dougong.load opened")
        if self.draft is not None and self.lookup:
            raise UserError("draft", "and lookup both guess", "leave one of them out")
        if self.prefix is not None and not isinstance(self.prefix, Prefix):
            raise UserError("prefix", f"{type(self.prefix).__name__} is none", "make one with dougong.prefix")
        for name in (self.guesses, "prefix" if self.prefix is not None else ""):
            if name and self.beams > 1:
                raise UserError("beams", f"do not go with {name}", f"leave out beams, or {name}")
        if self.samples > 1 and not self.drawn and self.samples > self.beams:
            raise UserError(
                "samples",
                f"{self.samples} texts from one prompt would be equal",
                "give a temperature, or as many beams",
            )

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """The settings of these names.

        Raises:
            UserError: there is no such name.
        """
        known = [one.name for one in fields(cls)]
        for name in given:
            if name not in known:
                raise unknown("generate", "setting", name, known)
        return cls(**given)

    @property
    def narrowed(self) -> str:
        """The first of top_k, top_p and min_p that is set; else ""."""
        return next((name for name in ("top_k", "top_p", "min_p") if getattr(self, name) is not None), "")

    @property
    def guesses(self) -> str:
        """What guesses tokens: "draft", "lookup" or ""."""
        return "draft" if self.draft is not None else "lookup" if self.lookup else ""

    @property
    def drawn(self) -> bool:
        """Whether tokens are drawn at random."""
        return bool(self.temperature) or (self.temperature is None and bool(self.narrowed))


def _whole(name: str, value: Any, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(name, f"{value!r} will not do", f"give a whole number of {least} or more")


def _number(name: str, value: Any, low: float | None, high: float | None, say: str, above: bool = False) -> None:
    if value is None:
        return
    right = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    right = right and (low is None or value > low or (value == low and not above)) and (high is None or value <= high)
    if not right:
        raise UserError(name, f"{value!r} will not do", f"give a number {say}")
