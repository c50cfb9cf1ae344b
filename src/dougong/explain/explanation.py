"""The one contract: what was explained, the score of each unit, and whether the explanation can be trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dougong.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

ALIKE = 1.2
"""Shares of which the largest is less than this many times the smallest hardly differ."""


@dataclass(frozen=True)
class Target:
    """The class that is explained, or the text that another one was compared with.

    Args:
        index: of the class.
        name: of the class; or the other text.
        probability: that the model gives it; or the cosine, where ``measure`` says so.
        about: what it is an answer about, where that is not the whole input: the tag of a word, what follows.
        measure: "probability", or "cosine" of two texts that were compared.
    """

    index: int
    name: str
    probability: float
    about: str = ""
    measure: str = "probability"

    @property
    def question(self) -> str:
        """What was asked."""
        if self.measure == "cosine":
            return f"Why so close to “{self.name}”?"
        return f"Why “{self.name}” as {self.about}?" if self.about else f"Why “{self.name}”?"

    @property
    def given(self) -> str:
        """What the model gives it, in a sentence."""
        if self.measure == "cosine":
            return f"The cosine of the two is {self.probability:.2f}."
        return f"The model gives it {self.probability:.1%}."

    @property
    def said(self) -> str:
        """What the model answers, in a few words."""
        if self.measure == "cosine":
            return f"{self.probability:.2f} is its cosine with “{self.name}”"
        name = self.name if self.name.strip() else f"“{self.name}”"  # a blank would not be seen
        return f"says {name} ({self.probability:.1%})"

    @property
    def watched(self) -> str:
        """What the deletion curves show."""
        return "cosine of the two texts" if self.measure == "cosine" else f"probability of “{self.name}”"


@dataclass(frozen=True, eq=False)
class Units:
    """What each score refers to.

    Args:
        kind: "pixel", "cell", "patch", "row" or "column" of a picture; "word" of a text; "token" or "vector" of another
            sequence.
        names: one a unit.
        boxes: (left, top, right, bottom) in pixels of the prepared picture, one a unit; None for sequences.
        owner: the unit of each pixel, (h, w), or of each position, (L,); -1 where there is none.
        spans: (number of the text, first character, the one after the last), one a word; None for what is no text.
    """

    kind: str
    names: tuple[str, ...]
    boxes: tuple[tuple[int, int, int, int], ...] | None
    owner: np.ndarray
    spans: tuple[tuple[int, int, int], ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def plural(self) -> str:
        """The kind, of several."""
        return f"{self.kind}es" if self.kind == "patch" else f"{self.kind}s"


@dataclass(frozen=True)
class Check:
    """One test of the explanation itself.

    Args:
        value: what was measured.
        meaning: what it says and when it passes, in a sentence.
        passed: whether it does.
    """

    value: float
    meaning: str
    passed: bool


SMALL = 0.2
"""Below it, curves have an axis of their own height."""


@dataclass(frozen=True, eq=False)
class Curves:
    """The target's probability as units are removed.

    Args:
        removed: (P,) shares of the units removed, 0 to 1.
        most: (P,) most important units first.
        least: (P,) least important units first.
        random: (R, P) in random orders.
    """

    removed: np.ndarray
    most: np.ndarray
    least: np.ndarray
    random: np.ndarray

    @property
    def ends(self) -> tuple[float, float]:
        """What an axis for them reaches from and to: 0 to 1, less far up where all of them are small, as of one item
        among thousands, and further down where a cosine is negative."""
        every = np.concatenate((self.most.ravel(), self.least.ravel(), self.random.ravel()))
        highest = float(every.max())
        return min(0.0, float(every.min())), 1.0 if not 0 < highest < SMALL else 1.1 * highest


@dataclass(frozen=True, eq=False)
class Map:
    """The attention of one head, or of several. Args: name: which; scores: (n,) one a unit."""

    name: str
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model gives one input one class.

    Args:
        target: the class.
        units: what each score refers to.
        scores: (n,) one a unit.
        method: by which they were found.
        checks: tests of the explanation, by name.
        signed: whether a negative score speaks against the class; else scores are shares, at least 0.
        picture_seen: uint8 (h, w, 3), the picture as the model sees it; None for sequences.
        texts: that were explained, one or two; none where the input was no text.
        curves: of the deletion check.
        maps: the single maps that the scores were made of, if any.
        notes: what else should be known, in sentences.
        source: the name of the input, if it has one.
        meaning: of a score, in words.
    """

    target: Target
    units: Units
    scores: np.ndarray
    method: str
    checks: Mapping[str, Check]
    signed: bool = False
    picture_seen: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    curves: Curves | None = None
    maps: tuple[Map, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""
    meaning: str = ""

    @property
    def trusted(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks.values())

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The units with the highest scores, as (name, score)."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return [(self.units.names[index], float(self.scores[index])) for index in order]

    def key(self) -> str:
        """How to read the colours of the heat map."""
        low, high = float(self.scores.min()), float(self.scores.max())
        if self.signed:
            most = max(abs(low), abs(high))
            what = "Orange brings the texts together, blue takes them apart" if self.target.measure == "cosine" else (
                "Orange speaks for the class, blue against it"
            )  # fmt: skip
            return f"{what}: {self.meaning}. Full colour is {most:.2g}."
        said = f"The deeper the orange, the higher the score: {self.meaning}. No colour is {low:.3g}, full {high:.3g}."
        alike = high < ALIKE * low
        return f"{said} The scores hardly differ: do not read much into the colours." if alike else said

    def to_dict(self) -> dict[str, Any]:
        """Everything but the picture, as JSON can hold it."""
        boxes = self.units.boxes
        curves = self.curves
        return {
            "source": self.source,
            "texts": list(self.texts),
            "target": {
                "index": self.target.index, "name": self.target.name,
                self.target.measure: self.target.probability, "about": self.target.about,
            },
            "method": self.method,
            "meaning": self.meaning,
            "signed": self.signed,
            "units": {
                "kind": self.units.kind,
                "names": list(self.units.names),
                "boxes": None if boxes is None else [list(box) for box in boxes],
                "spans": None if self.units.spans is None else [list(span) for span in self.units.spans],
            },
            "scores": [float(score) for score in self.scores],
            "checks": {
                name: {"value": check.value, "meaning": check.meaning, "passed": check.passed}
                for name, check in self.checks.items()
            },
            "curves": None if curves is None else {
                name: np.asarray(getattr(curves, name)).tolist() for name in ("removed", "most", "least", "random")
            },
            "maps": [{"name": each.name, "scores": each.scores.tolist()} for each in self.maps],
            "notes": list(self.notes),
        }  # fmt: skip

    def picture(self) -> Image:
        """Picture, heat map, deletion curve and checks as one drawing."""
        from dougong.explain.draw import draw

        return draw(self)

    def html(self) -> str:
        """The same as a page that needs no other file and no network."""
        from dougong.explain.page import explanation_page

        return explanation_page(self)

    def save(self, path: str | Path) -> Path:
        """Write a drawing (.png), a page (.html) or the numbers (.json).

        Raises:
            UserError: another ending, or a folder that is not there.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in (".png", ".html", ".json"):
            raise UserError(str(path), f"an explanation cannot be saved as {kind or 'a file without an ending'!s}",
                            "end the name in .png, .html or .json")  # fmt: skip
        if not path.absolute().parent.is_dir():
            raise UserError(str(path), f"there is no folder {path.parent}", "make it first, or name another")
        if kind == ".png":
            self.picture().save(path)
        elif kind == ".html":
            path.write_text(self.html(), encoding="utf-8")
        else:
            path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
        return path
