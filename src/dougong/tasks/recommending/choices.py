"""How next items are learnt and judged, as far as a user may choose."""

from __future__ import annotations

from dataclasses import dataclass

from dougong.errors import UserError

LOSSES = ("softmax", "sampled-softmax", "binary")
RANKINGS = {"full": 0, "sampled-100": 100}
"""Ways to evaluate, and how many items are drawn beside the true one; 0 for all that there are."""
SOFTMAX = 20_000
"""Items up to which each true one is told from all others, unless the user says how it is learnt."""
DRAWN = {"sampled-softmax": 1024, "binary": 1}
"""Items that a true one is told from, unless the user says how many."""


@dataclass(frozen=True)
class Choices:
    """What a user may choose.

    Args:
        loss: "softmax": told from all items; "sampled-softmax": from some that the batch holds, corrected for how often
            they come; "binary": from items drawn at random, each by itself. Chosen by the number of items when None.
        negatives: items that a true one is told from, of the two that draw.
        ranking: how it is evaluated: among all items ("full"), or among 100 drawn at random and the true one
            ("sampled-100"), as papers did.
        seen: whether items that a user has met are left out of his ranking: "exclude", "include"; left out where the
            data holds no item twice for a user when None.
    """

    loss: str | None = None
    negatives: int | None = None
    ranking: str = "full"
    seen: str | None = None

    def __post_init__(self) -> None:
        for key, known in (("loss", LOSSES), ("ranking", tuple(RANKINGS)), ("seen", ("exclude", "include"))):
            if getattr(self, key) not in (None, *known):
                raise UserError(key, f"{getattr(self, key)!r} is none", f"write {', '.join(known)}")
