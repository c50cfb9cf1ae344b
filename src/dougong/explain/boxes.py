"""A picture in which an object was found: what is explained is one box and its class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.explanation import Target, Units
from dougong.explain.pictures import PictureSubject, spread
from dougong.explain.subject import Grids, shares
from dougong.figures import many
from dougong.heads.boxes import corners, overlap

SAME = 0.5
"""Intersection over union from where a box that is found in a changed picture is the one that is explained."""
AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class BoxSubject(PictureSubject):
    """A picture and one box. Queries change places when the picture changes, so the box is known by where it lies.

    Args:
        box: (4,) left, top, right, bottom of what is explained, as shares of the picture.
    """

    box: Tensor | None = None

    auto = "attention"
    cross = "the query that found the box"

    @property
    def batch(self) -> int:
        """How many pictures are asked about at once."""
        return AT_ONCE

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the box lies, and how it is known again."""
        height, width = self.inputs.shape[-2:]
        left, top, right, bottom = (self.sides * torch.tensor([width, height, width, height])).round().int().tolist()
        return (
            f"The box lies from ({left}, {top}) to ({right}, {bottom}) in the picture as the model reads it, "
            f"{width}x{height} pixels. In a changed picture it counts as found where a box covers it by {SAME:.0%} "
            "(intersection over union).",
        )

    @property
    def sides(self) -> Tensor:
        """The box, on the CPU."""
        assert self.box is not None
        return self.box.float().cpu()

    def chosen(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The query whose box is the one explained: its number (N,), logits (N, C) and overlap (N,).

        Of those that overlap it, the one that is surest of the class.
        """
        output = self.model(points)
        assert self.box is not None
        iou = overlap(corners(output.boxes), self.box.to(output.boxes))[0]
        sure = shares(output.logits, self.several)[..., self.target.index]
        place = (iou * (sure + 1e-3)).detach().argmax(1)
        rows = torch.arange(len(points), device=points.device)
        return place, output.logits[rows, place], iou[rows, place]

    def logits(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the scores of the query that finds the box, (N, C or C + 1)."""
        return self.chosen(points)[1]

    @torch.no_grad()
    def probability(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the probability of the class at the box, (N,); 0 where no box is near it."""
        found = []
        for part in points.split(self.batch):
            _, scores, iou = self.chosen(part)
            found.append(shares(scores, self.several)[:, self.target.index] * (iou >= SAME))
        return torch.cat(found)

    def patches(self) -> Units:
        """The cells: places of the memory are of several sizes, and their shares are given to what they cover."""
        return self.cells()

    @torch.no_grad()
    def readout(self, grids: Grids | None = None) -> list[int]:
        """The query that finds the box."""
        return [int(self.chosen(self.points)[0])]

    @torch.no_grad()
    def gather(self, units: Units, seen: np.ndarray, grids: Grids | None = None) -> np.ndarray:
        """Shares of the memory's places (..., S) to shares of cells (..., n), each place spread over its own pixels."""
        output = self.model(self.points)
        levels = int(self.model.memory_levels)  # type: ignore[arg-type]
        height, width = units.owner.shape
        found, start = np.zeros((*seen.shape[:-1], len(units))), 0
        for each in output.features[-levels:]:
            rows, columns = each.shape[-2:]
            down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
            found += spread(units, seen[..., start : start + rows * columns], (rows, columns), down, across)
            start += rows * columns
        return found

    def marked(self, picture: np.ndarray | None) -> np.ndarray | None:
        """The picture with the box drawn on it."""
        if picture is None:
            return None
        from PIL import Image, ImageDraw

        drawing = Image.fromarray(np.ascontiguousarray(picture))
        width, height = drawing.size
        sides = (self.sides * torch.tensor([width - 1, height - 1, width - 1, height - 1])).tolist()
        ImageDraw.Draw(drawing).rectangle(tuple(sides), outline=(0, 0, 0), width=max(1, max(width, height) // 200))
        return np.asarray(drawing)


@torch.no_grad()
def box_subject(
    model: nn.Module, inputs: Tensor, classes: tuple[str, ...], target: int | str | None, rank: int | None
) -> BoxSubject:
    """The question about one box.

    Args:
        model: that finds boxes, in evaluation mode.
        inputs: pixels (1, 3, h, w).
        classes: their names.
        target: number or name of the class; the likeliest of the box by default.
        rank: which box, by probability, from 0; the most probable of the class, or of all, when None.

    Raises:
        UserError: a box or class that is not there.
    """
    from dougong.explain.opening import find_class

    output = model(inputs)
    logits, boxes = output.logits[0], output.boxes[0]
    count = len(classes) or logits.shape[-1]
    several = logits.shape[-1] == count
    scores = shares(logits, several)[:, :count]
    wanted = None if target is None else find_class(target, classes, logits[0, :count])
    order = (scores.amax(1) if wanted is None else scores[:, wanted]).argsort(descending=True, stable=True)
    place = 0 if rank is None else rank
    if not 0 <= place < len(order):
        raise UserError(
            f"at={place + 1}", f"the model gives {many(len(order), 'box')}", f"choose from 1 to {len(order)}"
        )
    query = int(order[place])
    index = int(scores[query].argmax()) if wanted is None else wanted
    name = classes[index] if index < len(classes) else str(index)
    about = f"box {place + 1} of those that are likeliest"
    found = Target(index, name, float(scores[query, index]), about)
    empty = torch.zeros_like(inputs)
    return BoxSubject(model, inputs, inputs, empty, classes, found, several, None, corners(boxes[query]))
