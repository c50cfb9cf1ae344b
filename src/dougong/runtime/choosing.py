"""Which token comes next: rules on the scores, then the highest one or a drawn one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dougong.runtime.settings import Settings

NEVER = float("-inf")
FEW = 256
"""Tokens among which a share of the probability is looked for first."""


class Rules:
    """What bends the scores of a batch's next tokens, row by row: repetition, bans, where an end may come.

    Args:
        settings: what is asked for.
        ends: tokens that end a text.
        first: the token that every text begins with, where the model's files force one (BART, Marian).
        last: the token that a text of full length ends with, where they force one.
    """

    def __init__(
        self, settings: Settings, ends: Iterable[int] = (), first: int | None = None, last: int | None = None
    ) -> None:
        self.settings, self.first, self.last = settings, first, last
        self.banned = sorted(set(settings.banned))
        self.ends = sorted(set(ends))

    def __call__(
        self, scores: Tensor, texts: Sequence[Sequence[int]], written: Sequence[int], room: Sequence[int]
    ) -> Tensor:
        """Scores (B, V) of the next tokens to scores of those that may come.

        Args:
            scores: of the model, float32.
            texts: what each row holds so far, its prompt included.
            written: new tokens that each holds.
            room: new tokens that each may hold.
        """
        settings = self.settings
        if settings.repetition_penalty != 1:
            scores = penalised(scores, texts, settings.repetition_penalty)
        if settings.no_repeat_ngram:
            scores = scores.clone()
            for row, text in enumerate(texts):
                scores[row, repeating(text, settings.no_repeat_ngram)] = NEVER
        if self.banned:
            scores = scores.index_fill(1, torch.tensor(self.banned, device=scores.device), NEVER)
        young = [row for row, count in enumerate(written) if count < settings.min_new_tokens]
        if self.ends and young:
            scores = scores.clone()
            scores[torch.tensor(young)[:, None], torch.tensor(self.ends)] = NEVER
        for row, (count, most) in enumerate(zip(written, room, strict=True)):
            forced = self.first if count == 0 else self.last if count == most - 1 else None
            if forced is not None:
                scores = scores.clone()
                scores[row] = NEVER
                scores[row, forced] = 0.0
        return scores


def penalised(scores: Tensor, texts: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Scores (B, V) with those of tokens that are in a row's text already made worse (Keskar et al. 2019, 4.1)."""
    there = torch.zeros_like(scores, dtype=torch.bool)
    for row, text in enumerate(texts):
        there[row, list(set(text))] = True
    return torch.where(there, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def repeating(text: Sequence[int], size: int) -> list[int]:
    """The tokens with which a text would end in ``size`` tokens that it holds already."""
    if len(text) < size:
        return []
    tail = tuple(text[len(text) - size + 1 :])
    return [text[end] for end in range(size - 1, len(text)) if tuple(text[end - size + 1 : end]) == tail]


def narrowed(scores: Tensor, settings: Settings) -> Tensor:
    """Scores (B, V) at the temperature, minus infinity where top_k, top_p or min_p leave a token out."""
    if settings.temperature is not None:
        scores = scores / settings.temperature
    if settings.top_k is not None and settings.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(settings.top_k).values[:, -1:], NEVER)
    if settings.top_p is not None and settings.top_p < 1:
        scores = scores.masked_fill(~nucleus(scores, settings.top_p), NEVER)
    if settings.min_p is not None:
        best = scores.max(-1, keepdim=True).values
        scores = scores.masked_fill((scores - best).exp() < settings.min_p, NEVER)
    return scores


def nucleus(scores: Tensor, share: float) -> Tensor:
    """The fewest most probable tokens that together have a share, bool (B, V); of equal ones those of lower numbers.

    Some hundred are nearly always enough, so that a vocabulary is not sorted for each token.

    Args:
        scores: (B, V).
        share: above 0, below 1.
    """
    whole, size = scores.double().logsumexp(-1, keepdim=True), FEW
    while True:
        best = scores.topk(min(size, scores.shape[-1])).values
        shares = (best.double() - whole).exp()
        count = (shares.cumsum(-1) - shares < share).sum(-1, keepdim=True)  # those before are not enough yet
        if best.shape[-1] == scores.shape[-1] or bool((count < best.shape[-1]).all()):
            break
        size *= 16
    least = best.gather(-1, count - 1)
    above, equal = scores > least, scores == least
    return above | equal & (equal.cumsum(-1) <= count - above.sum(-1, keepdim=True))


class Chooser:
    """Takes a token for each row.

    Every row draws from random numbers of its own: a text comes out the same in whatever batch it is written.

    Args:
        settings: what is asked for.
        streams: for each row, the number of its stream of random numbers: rows of one prompt differ in it.
    """

    def __init__(self, settings: Settings, streams: Sequence[int]) -> None:
        self.settings = settings
        self.sources = [torch.Generator().manual_seed((settings.seed * 1_000_003 + one) % 2**63) for one in streams]

    def __call__(self, scores: Tensor, rows: Sequence[int]) -> Tensor:
        """Scores (B, V) of the rows of these numbers to their next tokens, (B,)."""
        if not self.settings.drawn:
            return scores.argmax(-1)
        return self.draw(self.shares(scores), rows)

    def shares(self, scores: Tensor) -> Tensor:
        """Scores (B, V) to the probabilities with which tokens are drawn, float64."""
        return narrowed(scores, self.settings).double().softmax(-1)

    def draw(self, shares: Tensor, rows: Sequence[int]) -> Tensor:
        """Tokens (B,) by their probabilities (B, V), which need not add up to 1."""
        points = torch.stack([self._point(row) for row in rows])
        sums = shares.cumsum(-1)
        # a point in [0, sum) falls into the interval of one token, never into one of no width
        points = points.to(sums.device)[:, None] * sums[:, -1:]
        return torch.searchsorted(sums, points, right=True)[:, 0].clamp(max=shares.shape[-1] - 1)

    def judge(self, shares: Tensor, guess: int, guessed: Tensor, row: int) -> int:
        """The token of a row where another distribution drew a guess: drawn as if from ``shares`` alone.

        The guess is taken with probability min(1, p / q); else a token is drawn from max(0, p - q) (Leviathan et al.
        2023, algorithm 1 and appendix A.1; Chen et al. 2023, theorem 1).

        Args:
            shares: (V,) p, probabilities of the tokens.
            guess: a token that was drawn by ``guessed``.
            guessed: (V,) q, the probabilities that it was drawn by.
            row: whose random numbers are used.
        """
        if float(self._point(row)) * float(guessed[guess]) < float(shares[guess]):
            return guess
        rest = (shares - guessed).clamp(min=0)
        return int(self.draw((rest if float(rest.sum()) > 0 else shares)[None], [row])[0])

    def _point(self, row: int) -> Tensor:
        """A random number in [0, 1)."""
        return torch.rand((), generator=self.sources[row], dtype=torch.float64)
