"""Beam search: the best partial texts are kept side by side (Sutskever et al. 2014, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from dougong.runtime.choosing import Rules
from dougong.runtime.settings import Settings
from dougong.runtime.writer import Writer

WORST = -1e9
"""Below every score of a text, and finite, so that it can be compared and divided."""


@dataclass
class Search:
    """The beams of one prompt.

    Args:
        settings: how many beams, and how their texts are compared.
        begun: what every text holds before its first new token.
        ends: tokens that end a text.
        room: new tokens that a text may hold.
        stopped: whether a text's new tokens hold a stop string.
    """

    settings: Settings
    begun: list[int]
    ends: frozenset[int]
    room: int
    stopped: Callable[[Sequence[int]], bool] | None = None
    texts: list[list[int]] = field(default_factory=list)  # of the running beams, new tokens only
    scores: list[float] = field(default_factory=list)
    finished: list[tuple[float, list[int]]] = field(default_factory=list)  # best first
    hopeful: bool = True  # whether a running beam may yet be better than what is finished
    full: bool = False  # every candidate of the last step ended

    def __post_init__(self) -> None:
        self.texts = [[] for _ in range(self.settings.beams)]
        # all beams are alike at first: only one of them counts, so that they part
        self.scores = [0.0, *[WORST] * (self.settings.beams - 1)]

    @property
    def done(self) -> bool:
        """Whether the search has ended."""
        enough = len(self.finished) == self.settings.beams and self.settings.early_stopping is True
        return not self.hopeful or enough or self.full

    def advance(self, scores: Sequence[float], beams: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Take the step's best candidates, best first; the beams that go on, as numbers of those they grew from.

        Args:
            scores: log-probability of each candidate, a whole text.
            beams: the beam that it continues.
            tokens: its last token.
        """
        count, written = self.settings.beams, len(self.texts[0]) + 1
        texts = [[*self.texts[beam], token] for beam, token in zip(beams, tokens, strict=True)]
        ended = [
            text[-1] in self.ends or written == self.room or (self.stopped is not None and self.stopped(text))
            for text in texts
        ]
        # the candidates beyond the beams' number are there to go on with, and do not finish
        found = [
            (score / written**self.settings.length_penalty, text)
            for score, text, end in zip(scores[:count], texts, ended, strict=False)
            if end
        ]
        self.finished = sorted([*self.finished, *found], key=lambda each: -each[0])[:count]
        going = sorted(range(len(texts)), key=lambda i: -(scores[i] + (WORST if ended[i] else 0.0)))[:count]
        self.texts = [texts[i] for i in going]
        self.scores = [scores[i] + (WORST if ended[i] else 0.0) for i in going]
        self.full = all(ended)
        self.hopeful = self._hope(written)
        return [beams[i] for i in going]

    def _hope(self, written: int) -> bool:
        """Whether the best running beam, at the length that favours it, beats the worst finished text."""
        settings = self.settings
        longest = settings.early_stopping == "never" and settings.length_penalty > 0
        best = self.scores[0] / (self.room if longest else written) ** settings.length_penalty
        return len(self.finished) < settings.beams or best > self.finished[-1][0]


def search(
    writer: Writer, prompts: Sequence[Sequence[int]], rules: Rules, room: int,
    stopped: Sequence[Callable[[Sequence[int]], bool]] | None = None, show: Callable[[int], None] | None = None,
) -> list[list[tuple[float, list[int]]]]:  # fmt: skip
    """For each prompt, its finished texts as (score, new tokens), best first.

    A text's score is its log-probability divided by its length to the power ``length_penalty``.

    Args:
        writer: gives the scores.
        prompts: tokens.
        rules: on the log-probabilities.
        room: new tokens that a text may hold.
        stopped: for each prompt, whether new tokens hold a stop string.
        show: called after each step with the number of prompts that are still searched.
    """
    settings, ends = rules.settings, frozenset(rules.ends)
    count, keep = settings.beams, max(2, 1 + len(ends)) * settings.beams
    searches = [
        Search(settings, writer.begun(prompt), ends, room, None if stopped is None else stopped[number])
        for number, prompt in enumerate(prompts)
    ]
    going = list(range(len(prompts)))
    scores = writer.begin(prompts, room)
    rows = torch.arange(len(prompts), device=scores.device).repeat_interleave(count)
    scores = scores[rows]
    writer.keep(rows)
    while True:
        texts = [searches[number].begun + text for number in going for text in searches[number].texts]
        written = len(searches[going[0]].texts[0])
        gains = rules(scores.log_softmax(-1), texts, [written] * len(texts), [room] * len(texts))
        totals = gains + torch.tensor([each for number in going for each in searches[number].scores]).to(gains)[:, None]
        best = totals.view(len(going), -1).topk(min(keep, totals.shape[-1] * count))
        n_vocabulary = scores.shape[-1]
        kept: list[int] = []
        left: list[int] = []
        places = best.indices.tolist()
        for place, (number, values) in enumerate(zip(going, best.values.tolist(), strict=True)):
            one = searches[number]
            beams = one.advance(
                values, [i // n_vocabulary for i in places[place]], [i % n_vocabulary for i in places[place]]
            )
            if not one.done:
                left.append(number)
                kept += [place * count + beam for beam in beams]
        if show is not None:
            show(len(going))
        if not left:
            return [one.finished for one in searches]
        going = left
        writer.keep(torch.tensor(kept, device=scores.device))
        tokens = [text[-1] for number in going for text in searches[number].texts]
        scores = writer.step(torch.tensor(tokens, device=scores.device))
