"""Texts that are written side by side: prompts that wait take the places of those that have ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dougong.runtime.choosing import Chooser, Rules
from dougong.runtime.prefixes import Prefix
from dougong.runtime.writer import Writer

PLACES = 32
"""Texts that are written side by side."""
SPARE = 64
"""Columns of the cache beside those of the longest text, where prompts wait: rows are moved once in so many steps."""
ENOUGH = 8
"""Free places for which it pays to read more prompts: a reading takes about as long as a step of all rows."""


@dataclass
class Request:
    """A prompt that is to be gone on from.

    Args:
        prompt: tokens.
        rows: numbers of the texts that go on from it.
        room: new tokens of each at most.
        prefix: a beginning that is not read again.
        owed: tokens that were read for it and others before it, counted with it.
    """

    prompt: list[int]
    rows: list[int]
    room: int
    prefix: Prefix | None = None
    owed: int = 0


@dataclass
class Work:
    """What one text took. Args: read, proposed, accepted: see `dougong.runtime.Generation`."""

    read: int = 0
    proposed: int = 0
    accepted: int = 0


class Together:
    """Up to `PLACES` texts side by side, a token of each at every step (Orca; Yu et al. 2022, section 3).

    Every row has its own positions and random numbers, so whoever comes and goes beside it changes nothing but the
    last bits.

    Args:
        writer: of the model.
        rules: on the scores.
        choose: takes the tokens.
        requests: the prompts, which are admitted in this order.
    """

    def __init__(self, writer: Writer, rules: Rules, choose: Chooser, requests: Sequence[Request]) -> None:
        self.writer, self.rules, self.choose = writer, rules, choose
        self.waiting = deque(requests)
        writer.spare = SPARE if sum(len(one.rows) for one in requests) > PLACES else 0
        self.alive: list[int] = []  # rows in the order of the cache's
        self.texts: dict[int, list[int]] = {}
        self.written: dict[int, int] = {}
        self.rooms: dict[int, int] = {}
        self.work: dict[int, Work] = {}
        self.tokens = torch.empty(0, dtype=torch.long)

    def __bool__(self) -> bool:
        """Whether there is anything left to write."""
        return bool(self.alive or self.waiting)

    def advance(self) -> list[tuple[int, int]]:
        """One step: a new token of each row, as (row, token)."""
        scores = [self.writer.step(self.tokens)] if self.alive else []
        scores += self._admitted()
        alive = self.alive
        bent = self.rules(
            torch.cat(scores), [self.texts[row] for row in alive], [self.written[row] for row in alive],
            [self.rooms[row] for row in alive],
        )  # fmt: skip
        self.tokens = self.choose(bent, alive)
        new = sorted(zip(alive, self.tokens.tolist(), strict=True))
        for row, token in new:
            self.texts[row].append(token)
            self.written[row] += 1
        return new

    def leave(self, rows: Collection[int]) -> None:
        """These rows have ended: their keys leave the cache."""
        going = [place for place, row in enumerate(self.alive) if row not in rows]
        if going and len(going) < len(self.alive):
            if self.waiting:  # their places will be taken: no other row is copied, but for those from behind
                behind = iter([place for place in going if place >= len(going)])
                staying = set(going)
                going = [place if place in staying else next(behind) for place in range(len(going))]
                self.writer.settle(going)
            else:
                self.writer.keep(torch.tensor(going, device=self.tokens.device))
            self.tokens = self.tokens[torch.tensor(going, device=self.tokens.device)]
        self.alive = [self.alive[place] for place in going]

    def _admitted(self) -> list[Tensor]:
        """Scores of the first tokens after prompts that are read now, if there is place for some."""
        if not self.waiting:
            return []
        copies = len(self.waiting[0].rows)
        free = max(1, PLACES // copies) - len(self.alive) // copies - (len(self.alive) % copies > 0)
        if free <= 0 or (self.alive and free * copies < ENOUGH and free < len(self.waiting)):
            return []
        new = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
        read = self.writer.join if self.alive else self.writer.begin
        scores = read([each.prompt for each in new], [each.room for each in new], copies, new[0].prefix)
        for request, count in zip(new, self.writer.read, strict=True):
            for row in request.rows:
                self.texts[row], self.written[row] = self.writer.begun(request.prompt), 0
                self.rooms[row], self.work[row] = request.room, Work()
            self.work[request.rows[0]].read = count + request.owed
            self.alive += request.rows
        return [scores]
