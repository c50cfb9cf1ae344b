"""What a method is asked for, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dougong.explain.explanation import Check, Map, Units


@dataclass(frozen=True)
class Ask:
    """What the user asked for beside the method.

    Args:
        layers: attention layers wanted; the last one by default.
        heads: heads wanted; all by default.
        rows: query positions wanted; those that the classifier reads by default.
        steps: at most, on the path of integrated gradients.
    """

    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    rows: Sequence[int] | None = None
    steps: int = 512


@dataclass(frozen=True, eq=False)
class Finding:
    """The scores of one method on one subject.

    Args:
        units: what each score refers to.
        scores: (n,).
        meaning: of a score, in a sentence.
        signed: whether negative scores speak against the class.
        checks: that belong to this method.
        maps: the single maps behind the scores.
        notes: what else should be known.
    """

    units: Units
    scores: np.ndarray
    meaning: str
    signed: bool = False
    checks: Mapping[str, Check] = field(default_factory=dict)
    maps: tuple[Map, ...] = ()
    notes: tuple[str, ...] = ()
