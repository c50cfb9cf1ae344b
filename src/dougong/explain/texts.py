"""A text, or a pair of texts, to be explained by word."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.explanation import Units
from dougong.explain.subject import Subject
from dougong.figures import are, many

if TYPE_CHECKING:
    from dougong.data.tokenizing import Encoding

Span = tuple[int, int, int]
"""Number of the text, first character, and the one after the last."""

ALONE = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
"""Han characters and kana stand without blanks: each counts as a word."""
JOINTS = "'’-"
TOO_FEW = 4
"""Up to so many words, an order is too easily met by chance for deletion to tell anything: there are at most 24."""


@dataclass(frozen=True, eq=False)
class Passage:
    """A text as it was read.

    Args:
        texts: one, or two.
        words: n of them, in their order. Words that share a token are one.
        owner: (L,) the word of each token; -1 for a special token that was put there.
        unread: words that have no token, as those after the last token that the model reads.
        kind: of what stands as a word: "word", or "item" of a history.
    """

    texts: tuple[str, ...]
    words: tuple[Span, ...]
    owner: np.ndarray
    unread: int
    kind: str = "word"

    def units(self) -> Units:
        """The words as units."""
        names = tuple(self.texts[text][start:end] for text, start, end in self.words)
        return Units(self.kind, names, None, self.owner, self.words)


@dataclass(frozen=True, eq=False)
class TextSubject(Subject):
    """A text: scores refer to words. Args: see `Subject`; points are embeddings (1, L, D); passage: what was read;
    said: what else a reader should know, in a sentence."""

    passage: Passage | None = None
    said: str = ""

    @property
    def read(self) -> Passage:
        """The passage."""
        assert self.passage is not None
        return self.passage

    @property
    def nothing(self) -> str:
        """What an empty input is, in words."""
        kind = self.read.kind
        whole, rest = ("text", "; special tokens stay") if kind == "word" else ("history", "; positions stay")
        return f"the same {whole} with each {kind}'s embedding set to zero{rest}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What else was said; words that were not read; a text so short that deletion cannot pass."""
        found = [self.said] if self.said else []
        kind = self.read.kind
        if self.read.unread and kind == "item":
            found.append(
                f"The model reads {many(len(self.read.words), 'item')} of this history: {self.read.unread} older or "
                f"unknown {'one has' if self.read.unread == 1 else 'ones have'} no score."
            )
        elif self.read.unread:
            found.append(
                f"The model reads {many(len(self.read.owner), 'token')} of this text: {self.read.unread} of its words "
                f"{are(self.read.unread)} not among them, and {'has' if self.read.unread == 1 else 'have'} no score."
            )
        if len(self.read.words) == 1:
            found.append(
                f"One {kind} cannot be ranked: the checks by deletion and by randomised weights tell nothing here."
            )
        elif len(self.read.words) <= TOO_FEW:
            orders = math.factorial(len(self.read.words))
            found.append(
                f"With {len(self.read.words)} {kind}s there are {orders} orders, so chance often meets the best one: "
                "the check by deletion tells nothing here."
            )
        return tuple(found)

    def empty(self, model: nn.Module, points: Tensor) -> Tensor:
        """Zero for every token of a word."""
        return empty_text(points, self.read)

    def patches(self) -> Units:
        """The words."""
        return self.read.units()


def empty_text(points: Tensor, passage: Passage) -> Tensor:
    """The embeddings (1, L, D) of a text with those of its words set to zero."""
    special = torch.from_numpy(passage.owner < 0).to(points.device)
    return torch.where(special[None, :, None], points, torch.zeros_like(points))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where words stand: runs of letters and digits, with an apostrophe or a hyphen inside; each Han character and
    kana by itself; runs of other signs.

    >>> [text[slice(*span)] for text in ["It's 3 o'clock... 好看!"] for span in word_spans(text)]
    ["It's", '3', "o'clock", '...', '好', '看', '!']
    """
    kinds: list[str] = []
    for letter in text:
        category = unicodedata.category(letter)
        if category[0] in "ZC" and category != "Cf":
            kinds.append("")
        elif category[0] == "M" or category == "Cf":  # accents, vowel signs and joiners go with what they stand on
            kinds.append(kinds[-1] if kinds else "letter")
        elif any(low <= ord(letter) <= high for low, high in ALONE):
            kinds.append("alone")
        else:
            kinds.append("letter" if category[0] in "LN" or letter == "_" else "sign")
    for place, letter in enumerate(text[1:-1], 1):
        if letter in JOINTS and kinds[place - 1] == kinds[place + 1] == "letter":
            kinds[place] = "letter"
    spans: list[tuple[int, int]] = []
    for place, kind in enumerate(kinds):
        joined = place > 0 and kind == kinds[place - 1]
        if joined and kind == "alone":
            joined = unicodedata.category(text[place])[0] == "M" or unicodedata.category(text[place]) == "Cf"
        if not kind:
            continue
        if joined:
            spans[-1] = (spans[-1][0], place + 1)
        else:
            spans.append((place, place + 1))
    return spans


def read_passage(texts: Sequence[str], encoding: Encoding) -> Passage:
    """Words, and the tokens that each was read as.

    A token belongs to the words that its characters stand in. Where it reaches over several, these are one from there
    on. A token of blanks alone goes with the word after it.

    Args:
        texts: one, or two.
        encoding: of them together.

    Raises:
        UserError: there is no word that the model reads.
    """
    spans: list[Span] = [(number, *span) for number, text in enumerate(texts) for span in word_spans(text)]
    at = [np.full(len(text) + 1, -1) for text in texts]
    for word, (number, start, end) in enumerate(spans):
        at[number][start:end] = word
    leader = np.arange(len(spans))  # the first of the words that are one
    owner = np.full(len(encoding), -1)
    for place, (text, (start, end)) in enumerate(zip(encoding.texts, encoding.offsets, strict=True)):
        if text is None:
            continue
        inside = at[text][start:end]
        inside = inside[inside >= 0]
        if not len(inside):
            later = at[text][end:]
            later = later[later >= 0]
            inside = later[:1] if len(later) else at[text][at[text] >= 0][-1:]
        if len(inside):
            leader[inside[0] : inside[-1] + 1] = leader[inside[0]]
            owner[place] = inside[0]
    while len(spans) and (leader[leader] != leader).any():
        leader = leader[leader]
    owner = np.where(owner >= 0, leader[owner], -1) if len(spans) else owner
    kept = np.unique(owner[owner >= 0])
    if not len(kept):
        raise UserError("text", "holds no word that the model reads", "give a text with words")
    words = []
    for first in kept:
        members = np.flatnonzero(leader == first)
        words.append((spans[first][0], spans[first][1], spans[members[-1]][2]))
    unread = int((~np.isin(leader, kept)).sum())
    owner = np.where(owner >= 0, np.searchsorted(kept, owner), -1)
    return Passage(tuple(texts), tuple(words), owner, unread)


def texts_of(raw: Any) -> tuple[str, ...] | None:
    """The one sample that is meant by a text, a pair of texts, or a list of one of these; None for anything else."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if isinstance(raw, str):
        return (raw,)
    if isinstance(raw, tuple) and raw and all(isinstance(part, str) for part in raw):
        return raw
    return None
