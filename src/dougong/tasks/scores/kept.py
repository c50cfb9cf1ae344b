"""Numbers of each sample of a split: in memory while they are few, in a temporary file else."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable
from typing import IO

import numpy as np
import torch
from torch import Tensor

AT_HAND = 2**20
"""Numbers that are held in memory."""


class Kept:
    """Rows of numbers in the order they came, float64.

    Args:
        width: K, numbers of a row.
    """

    def __init__(self, width: int) -> None:
        self.width, self._held = width, array("d")
        self._file: IO[bytes] | None = None

    def add(self, numbers: Iterable[float]) -> None:
        """Add those of one row or of several, one row after another."""
        self._held.extend(numbers)
        if len(self._held) >= AT_HAND:
            if self._file is None:
                self._file = tempfile.TemporaryFile()
            self._held.tofile(self._file)
            del self._held[:]

    def rows(self) -> Tensor:
        """All rows, (N, K); of many, a mapped file."""
        if self._file is None:
            return torch.from_numpy(np.array(self._held, np.float64)).view(-1, self.width)
        self._held.tofile(self._file)
        del self._held[:]
        self._file.flush()
        return torch.from_numpy(np.memmap(self._file, np.float64, "c")).view(-1, self.width)
