"""Strict entity F1: an entity counts as found when its first word, its last word and its type are all right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dougong.data.tagging import spans
from dougong.tasks.scores.bootstrap import interval_of


def ratios(right: float, given: float, true: float) -> dict[str, float]:
    """precision, recall and F1 of counts; 0 where there is nothing to divide by."""
    return {
        "precision": right / given if given else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (given + true) if given + true else 0.0,
    }


class EntityScores:
    """Entities found, given and true, by type (the measure of CoNLL 2003; Tjong Kim Sang and De Meulder, section 4).

    Broken sequences of tags, which models write now and then, are read as `dougong.data.tagging.spans` says.
    """

    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.true: Counter[str] = Counter()
        self._sentences: list[tuple[int, int, int]] = []

    def update(self, true: Sequence[str], given: Sequence[str]) -> None:
        """Add a sentence: its true tags and those given, in any scheme.

        Raises:
            ValueError: not as many of one as of the other.
            UserError: something that is no tag.
        """
        if len(true) != len(given):
            raise ValueError(f"{len(true)} true tags and {len(given)} given ones")
        wanted, found = set(spans(true)), set(spans(given))
        for counter, entities in ((self.right, wanted & found), (self.given, found), (self.true, wanted)):
            counter.update(kind for _, _, kind in entities)
        self._sentences.append((len(wanted & found), len(found), len(wanted)))

    def compute(self) -> dict[str, float]:
        """precision, recall and f1 over all entities (micro), and macro_f1, the mean over types true or given."""
        total = ratios(self.right.total(), self.given.total(), self.true.total())
        each = [row["f1"] for row in self.table().values()]
        return {**total, "macro_f1": sum(each) / len(each) if each else 0.0}

    def table(self) -> dict[str, dict[str, float]]:
        """precision, recall, f1 and support (how many are true) of each type, in alphabetical order."""
        return {
            kind: {**ratios(self.right[kind], self.given[kind], self.true[kind]), "support": self.true[kind]}
            for kind in sorted(self.given.keys() | self.true.keys())
        }

    def statistics(self) -> Tensor:
        """(N, 3): entities right, given and true of each sentence, in the order they came."""
        return torch.tensor(self._sentences, dtype=torch.float64).view(-1, 3)

    def interval(self, **settings: Any) -> tuple[float, float]:
        """The bootstrap interval of f1 over sentences; settings as for `dougong.tasks.scores.interval`."""
        return interval_of(self.statistics(), lambda sums: ratios(*sums.tolist())["f1"], **settings)


def entity_f1(true: Iterable[Sequence[str]], given: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Scores of whole sentences at once: those of `EntityScores.compute`, and ``by_type``.

    Raises:
        ValueError: not as many sentences, or tags in one, of both.
    """
    scores = EntityScores()
    for one, other in zip(true, given, strict=True):
        scores.update(one, other)
    return {**scores.compute(), "by_type": scores.table()}
