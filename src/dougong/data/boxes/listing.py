"""What a reader of boxes finds in a source, before any picture is opened."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from dougong.data.listing import Fault, Listing, Sample, warning

CORNERS, SIZED, CENTRED = (
    "left, top, right, bottom", "x, y, width, height", "centre x, centre y, width, height"
)  # fmt: skip
"""How files write a box."""
EMPTY = ""
"""What stands for the class of a picture without objects where pictures are divided by class."""


@dataclass(frozen=True)
class Box:
    """One object.

    Args:
        where: its file, with the row or the annotation's id.
        label: its class's name; None where that is not known, which is a fault that is noted already.
        left, top, right, bottom: in pixels, from the picture's upper left corner; in shares of the picture where
            ``shares`` says so.
        shares: see above.
        crowd: a box around many objects: never learnt from, and no miss where it is not found.
        written: the numbers as they stand in the file, where they are no corners.
        form: what they are, in words.
    """

    where: str
    label: str | None
    left: float
    top: float
    right: float
    bottom: float
    shares: bool = False
    crowd: bool = False
    written: tuple[float, ...] = ()
    form: str = CORNERS


@dataclass(frozen=True)
class BoxSample(Sample):
    """A picture with its objects.

    Args:
        boxes: of its objects.
        stated: (h, w) as the source says, to be compared with the picture's own; None where it does not.
    """

    boxes: tuple[Box, ...] = ()
    stated: tuple[int, int] | None = None


@dataclass
class BoxListing(Listing):
    """All pictures of a source, and what was decided for the user.

    Args:
        format: of the source, in words.
        notes: to be said aloud.
    """

    format: str = ""
    notes: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """The classes' names in order: as declared, else as found."""
        if self.classes is not None:
            return list(self.classes)
        return sorted({box.label for box in self.boxes() if box.label is not None})

    def boxes(self) -> list[Box]:
        """All objects."""
        return [box for sample in self.samples for box in boxes_of(sample)]

    def divided(self) -> Listing:
        """The same pictures under the class that is rarest of all in each, by which they are divided into splits."""
        often = Counter(box.label for box in self.boxes() if box.label is not None)
        found = []
        for sample in self.samples:
            rare = min((each.label for each in boxes_of(sample) if each.label), key=lambda n: (often[n], n), default="")
            assert isinstance(sample, BoxSample)
            found.append(
                BoxSample(sample.where, rare, sample.read, sample.split, sample.name, sample.boxes, sample.stated)
            )
        return Listing(self.name, list(found), sorted({str(each.label) for each in found}), [], self.partial)


def boxes_of(sample: Sample) -> tuple[Box, ...]:
    """The objects of a picture."""
    return sample.boxes if isinstance(sample, BoxSample) else ()


def placed(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an object in pixels, cut to its picture. Args: box; size: (h, w)."""
    height, width = size
    across, down = (width, height) if box.shares else (1, 1)
    left, right = (min(max(0.0, side * across), width) for side in (box.left, box.right))
    top, bottom = (min(max(0.0, side * down), height) for side in (box.top, box.bottom))
    return left, top, right, bottom


def box_fault(box: Box, size: tuple[int, int] | None) -> Fault | None:
    """What is wrong with an object's box: first what makes it useless, then what can be borne.

    Args:
        box: the object.
        size: (h, w) of its picture; None where the picture cannot be read.
    """
    numbers = (box.left, box.top, box.right, box.bottom)
    said = f"box {', '.join(f'{each:g}' for each in box.written or numbers)} ({box.form})"
    mend = "correct it, or take it out"
    if not all(math.isfinite(each) for each in numbers):
        return Fault(box.where, f"{said} holds what is no number", mend, kind="no number")
    if box.right < box.left or box.bottom < box.top:
        return Fault(box.where, f"{said} has a negative width or height", mend, kind="negative box")
    if box.right == box.left or box.bottom == box.top:
        return Fault(box.where, f"{said} is empty: it has no width or no height", mend, kind="empty box")
    if size is None:
        return None
    height, width = (1, 1) if box.shares else size
    picture = "the picture" if box.shares else f"the picture of {width}x{height} pixels"
    if box.left >= width or box.top >= height or box.right <= 0 or box.bottom <= 0:
        return Fault(box.where, f"{said} lies outside {picture}", mend, kind="box outside")
    slack = 1e-3 if box.shares else 1.0  # rounding, and formats that count pixels from 1
    if box.left < -slack or box.top < -slack or box.right > width + slack or box.bottom > height + slack:
        fault = f"{said} reaches beyond {picture}"
        return warning(box.where, fault, "nothing where it is meant so: it is cut at the edge")
    return None
