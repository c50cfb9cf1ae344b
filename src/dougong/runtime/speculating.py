"""Speculative decoding: several tokens are guessed cheaply, and the model judges all of them in one step.

A step over a few tokens reads the weights once, as one over a single token does, and so takes less than as many steps:
hardly longer where reading is all that counts (a GPU, many cores), 2.2 times as long for five tokens of GPT-2 on one
core. What is written is what the model alone would write: guesses are taken only as far as it agrees (Leviathan et al.
2023; Chen et al. 2023). A text is written by itself, since texts that stand side by side would agree with different
numbers of guesses, and would then have to wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from dougong.errors import UserError
from dougong.runtime.admitting import Request, Work
from dougong.runtime.choosing import Chooser, Rules
from dougong.runtime.prefixes import LEAST, common
from dougong.runtime.writer import Writer

FIRST = 4
"""Tokens that are guessed at first."""
MOST = 16
"""Tokens that are guessed at most."""
PAUSE = 16
"""Steps without a guess at most, where guesses are wrong again and again."""


@dataclass
class Place:
    """Where a text stands: what a guess depends on.

    Args:
        row: number of the text, whose random numbers are used.
        text: what it holds, the prompt included (an encoder-decoder's text begins anew).
        written: new tokens of it.
        room: new tokens that it may hold.
    """

    row: int
    text: list[int]
    written: int
    room: int


@dataclass
class Guess:
    """Tokens that may come next. Args: tokens: of them; shares: (tokens, V) probabilities that they were drawn by."""

    tokens: list[int] = field(default_factory=list)
    shares: list[Tensor] | None = None


class Guesser(Protocol):
    """Says what may come next."""

    def begin(self, prompt: Sequence[int], place: Place) -> None:
        """Another text begins."""

    def guess(self, place: Place, count: int) -> Guess:
        """At most ``count`` tokens that may come next."""


class Lookup:
    """Guesses that a text goes on as it did the last time that it held its newest tokens (prompt lookup decoding).

    Args:
        size: tokens that are compared at most; where so many never came before, fewer are.
        reads: the prompt is read by an encoder, and is looked through all the same.
    """

    def __init__(self, size: int, reads: bool) -> None:
        self.size, self.reads = size, reads

    def begin(self, prompt: Sequence[int], place: Place) -> None:
        """See `Guesser`."""
        self.before = list(prompt) if self.reads else []
        self.known: list[int] = []
        self.places: dict[tuple[int, ...], int] = {}  # run of tokens -> where the newest one of its kind ends

    def guess(self, place: Place, count: int) -> Guess:
        """See `Guesser`."""
        for token in [*self.before, *place.text][len(self.known) :]:
            self._mark()  # what stood at the end until now is followed by something
            self.known.append(token)
        for size in range(min(self.size, len(self.known)), 0, -1):
            found = self.places.get(tuple(self.known[-size:]))
            if found is not None:
                return Guess(self.known[found : found + count])
        return Guess()

    def _mark(self) -> None:
        end = len(self.known)
        for size in range(1, min(self.size, end) + 1):
            self.places[tuple(self.known[end - size :])] = end


class Draft:
    """Guesses what another, smaller model would write.

    Args:
        writer: of that model.
        rules: on its scores: those of the model itself, so that both mean the same.
        choose: takes its tokens.
    """

    def __init__(self, writer: Writer, rules: Rules, choose: Chooser) -> None:
        self.writer, self.rules, self.choose = writer, rules, choose

    def begin(self, prompt: Sequence[int], place: Place) -> None:
        """See `Guesser`."""
        self.read, self.holds = self.writer.begun(prompt), self.writer.limits()[1]
        room = place.room if self.holds is None else min(place.room, self.holds - len(self.read) + 1)
        self.writer.begin([prompt], room)

    def guess(self, place: Place, count: int) -> Guess:
        """See `Guesser`."""
        if self.holds is not None:
            count = min(count, self.holds - len(place.text) + 1)  # beyond its places it guesses nothing
        if count < 1:
            return Guess()
        kept = len(self.read)
        while self.read[:kept] != place.text[:kept]:
            kept -= 1  # guesses that were not taken
        self.writer.take_back(len(self.read) - kept)
        guess = Guess(shares=[] if self.choose.settings.drawn else None)
        new = place.text[kept:]
        for number in range(count):
            scores = self.writer.steps(torch.tensor([new], device=self.writer.device))[:, -1]
            text = [*place.text, *guess.tokens]
            scores = self.rules(scores, [text], [place.written + number], [place.room])
            if guess.shares is None:
                token = int(scores.argmax())
            else:
                shares = self.choose.shares(scores)
                token = int(self.choose.draw(shares, [place.row])[0])
                guess.shares.append(shares[0])
            self.read = text
            guess.tokens.append(token)
            if token in self.rules.ends:
                break
            new = [token]
        return guess


def drafting(draft: Any, writer: Writer) -> Writer:
    """What writes with a draft for another model.

    Args:
        draft: a model.
        writer: of the model that it guesses for.

    Raises:
        UserError: it cannot write what the other does, or take back what it has read.
    """
    found = Writer(draft, writer.start, whole=True)
    if found.reads != writer.reads:
        kinds = ("a decoder", "an encoder-decoder")
        raise UserError("draft", f"is {kinds[found.reads]} and the model {kinds[writer.reads]}", "give one of its kind")
    if found.n_vocabulary != writer.n_vocabulary:
        raise UserError(
            "draft",
            f"has another vocabulary: {found.n_vocabulary} tokens, and the model has {writer.n_vocabulary}",
            "give a model with the same tokenizer",
        )
    if found.recurs:
        raise UserError("draft", "takes tokens back, and this one's recurrence cannot", "give a decoder with attention")
    return found


class Speculation:
    """Texts that are written one after another, each with guesses.

    Args:
        writer: of the model; its cache is whole, so that tokens can be taken back.
        guesser: guesses what it may write.
        rules: on the scores.
        choose: takes the tokens.
        requests: the prompts.
    """

    def __init__(
        self, writer: Writer, guesser: Guesser, rules: Rules, choose: Chooser, requests: Sequence[Request]
    ) -> None:
        self.writer, self.guesser, self.rules, self.choose = writer, guesser, rules, choose
        self.waiting = deque((request, copy) for request in requests for copy in range(len(request.rows)))
        self.place: Place | None = None
        self.count = FIRST  # tokens that are guessed next
        self.pause = self.rest = 0  # steps without a guess: the last time, and still to come
        self.work: dict[int, Work] = {}

    def __bool__(self) -> bool:
        """Whether there is anything left to write."""
        return self.place is not None or bool(self.waiting)

    def advance(self) -> list[tuple[int, int]]:
        """Read a prompt, or take one step: the new tokens as (row, token), one or more of one row."""
        place = self.place
        if place is None:
            return self._begin(*self.waiting.popleft())
        count = min(self.count, place.room - place.written - 1) if self.rest == 0 else 0
        self.rest = max(0, self.rest - 1)
        guess = self.guesser.guess(place, count) if count > 0 else Guess()
        tokens = torch.tensor([[place.text[-1], *guess.tokens]], device=self.writer.device)
        new = self._judged(place, self.writer.steps(tokens)[0], guess)
        taken, proposed = common(new, guess.tokens), len(guess.tokens)
        self.writer.take_back(proposed - taken)
        if proposed:
            self.work[place.row].proposed += proposed
            self.work[place.row].accepted += taken
            self._adapt(taken, proposed)
        return [(place.row, token) for token in new]

    def _adapt(self, taken: int, proposed: int) -> None:
        """Two more guesses the next time when all were taken, one fewer when some were not; and none for a while, each
        time twice as long, where even a single one is wrong.
        """
        self.count = min(self.count + 2, MOST) if taken == proposed else max(1, self.count - 1)
        if taken:
            self.pause = 0
        elif proposed == 1:
            self.pause = self.rest = min(2 * self.pause or 1, PAUSE)

    def leave(self, rows: Collection[int]) -> None:
        """These rows have ended."""
        if self.place is not None and self.place.row in rows:
            self.place = None

    def _begin(self, request: Request, copy: int) -> list[tuple[int, int]]:
        """Read a prompt, and write the first token after it. Its samples share all but its last token."""
        if copy == 0 and len(request.rows) > 1 and len(request.prompt) > LEAST and not self.writer.reads:
            request.prefix = self.writer.prefix(request.prompt[:-1])
            request.owed += len(request.prefix)
        self.place = place = Place(request.rows[copy], self.writer.begun(request.prompt), 0, request.room)
        self.count, self.pause, self.rest = FIRST, 0, 0
        scores = self.writer.begin([request.prompt], request.room, prefix=request.prefix)
        self.guesser.begin(request.prompt, place)
        self.work[place.row] = Work(self.writer.read[0] + (request.owed if copy == 0 else 0))
        return [(place.row, token) for token in self._judged(place, scores, Guess())]

    def _judged(self, place: Place, scores: Tensor, guess: Guess) -> list[int]:
        """The guesses that the model agrees with, and one token more, from its scores (guesses + 1, V)."""
        new: list[int] = []
        for number in range(len(scores)):
            bent = self.rules(scores[number : number + 1], [place.text], [place.written], [place.room])
            guessed = guess.tokens[number] if number < len(guess.tokens) else None
            if guessed is not None and guess.shares is not None:
                shares = self.choose.shares(bent)[0]
                token = self.choose.judge(shares, guessed, guess.shares[number], place.row)
            else:  # a guess that nobody drew is right when the model's own choice is the same
                token = int(self.choose(bent, [place.row])[0])
            new.append(token)
            place.text.append(token)
            place.written += 1
            if token != guessed or token in self.rules.ends:
                break
        return new
