"""Rules without weights that a model must beat: what is popular, what goes with the last item, what goes with all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from dougong.data.interactions import InteractionData

NEIGHBOURS = 100
"""Items kept as like each item."""
BLOCK = 2048
FEW = 1e-6
"""Popularity tells apart what a rule leaves equal, as it does all items that go with none of a history."""


class Baselines:
    """The rules, made of the training interactions.

    Args:
        data: in splits.
    """

    def __init__(self, data: InteractionData) -> None:
        from scipy import sparse

        context = data.context("train")
        owner = np.repeat(np.arange(len(data.users)), np.diff(context.starts))
        shape = (len(data.users), len(data.items))
        met = sparse.csr_matrix((np.ones(len(owner), np.float32), (owner, context.item)), shape)
        met.data[:] = 1.0  # met twice is met
        self.met, self.by_item = met, met.T.tocsr()
        popularity = data.popularity.astype(np.float32)
        self.popular = popularity / max(1.0, float(popularity.max(initial=0)))
        self._like: Any = None

    def rules(self) -> dict[str, Callable[[Sequence[np.ndarray]], Tensor]]:
        """By name, functions from histories (oldest first) to scores of all items, (N, V)."""
        return {
            "popularity": self.popularity,
            "last-item co-occurrence": self.co_occurrence,
            "item-kNN": self.neighbours,
        }

    def popularity(self, histories: Sequence[np.ndarray]) -> Tensor:
        """How often each item was met in training."""
        return torch.from_numpy(np.tile(self.popular, (len(histories), 1)))

    def co_occurrence(self, histories: Sequence[np.ndarray]) -> Tensor:
        """How many users met an item and the last one of the history."""
        last = np.array([history[-1] for history in histories])
        return self._scores(self.by_item[last] @ self.met)

    def neighbours(self, histories: Sequence[np.ndarray]) -> Tensor:
        """The sum over a history of how like an item is to each of its own (Deshpande and Karypis 2004, section 4)."""
        from scipy import sparse

        if self._like is None:
            self._like = self.likeness()
        sizes = [len(np.unique(history)) for history in histories]
        items = np.concatenate([np.unique(history) for history in histories])
        rows = np.repeat(np.arange(len(histories)), sizes)
        held = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, items)), (len(histories), self.met.shape[1]))
        return self._scores(held @ self._like)

    def likeness(self) -> Any:
        """The cosine of each two items, as columns of users, of an item's nearest `NEIGHBOURS` alone; (V, V) sparse."""
        from scipy import sparse

        lengths = np.sqrt(np.maximum(np.diff(self.by_item.indptr), 1)).astype(np.float32)
        parts = []
        for start in range(0, self.by_item.shape[0], BLOCK):
            both = (self.by_item[start : start + BLOCK] @ self.met).tocoo()
            row, column = both.row, both.col
            cosine = both.data / (lengths[row + start] * lengths[column])
            other = column != row + start
            row, column, cosine = row[other], column[other], cosine[other]
            order = np.lexsort((column, -cosine, row))
            row, column, cosine = row[order], column[order], cosine[order]
            rank = np.arange(len(row)) - np.searchsorted(row, row)
            near = rank < NEIGHBOURS
            shape = (min(BLOCK, self.by_item.shape[0] - start), self.by_item.shape[0])
            parts.append(sparse.csr_matrix((cosine[near], (row[near], column[near])), shape))
        return sparse.vstack(parts, format="csr").astype(np.float32)

    def _scores(self, found: Any) -> Tensor:
        return torch.from_numpy(found.toarray() + FEW * self.popular)
