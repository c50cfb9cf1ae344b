"""A picture whose pixels have classes: why a region of it is of a class."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.explanation import Target
from dougong.explain.pictures import PictureSubject
from dougong.explain.subject import Grids
from dougong.heads.segment import enlarged
from dougong.parts.embeddings import PatchEmbedding

AT_ONCE = 16
"""Pictures that are asked about at once."""


@dataclass(frozen=True, eq=False)
class RegionSubject(PictureSubject):
    """A picture and a region of it: what is explained are the scores of classes, averaged over the region's pixels.

    Args:
        weights: (h', w') at the masks' own grid: what each of its places adds to the average. They add up to 1.
        said: which region it is, in words.
    """

    looker = "the region"
    reads_all = True

    weights: Tensor = field(default_factory=lambda: torch.ones(1, 1))
    said: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Which region it is."""
        return (f"What is explained is the mean score of {self.said}.",)

    @property
    def evidence_words(self) -> str:
        """What ``evidence`` is, in words."""
        return "its mean score in the region less the mean over all classes"

    @property
    def batch(self) -> int:
        """How many pictures are asked about at once."""
        return AT_ONCE

    def logits(self, points: Tensor) -> Tensor:
        """Points (N, 3, h, w) to the classes' mean scores in the region, (N, C)."""
        masks = self.model(points).masks
        return (masks * self.weights.to(masks)).sum((2, 3))

    def readout(self, grids: Grids | None = None) -> list[int] | None:
        """The patches of the region, of a model that reads patches, or the places of a grid that it touches."""
        if grids is not None and not self.one_grid:
            touched = F.adaptive_max_pool2d((self.weights > 0).float()[None, None], grids.queries)
            return [int(each) for each in touched.flatten().nonzero()[:, 0]]
        if not isinstance(self.embedding, PatchEmbedding):
            return None
        places = (self.weights.flatten() > 0).nonzero()[:, 0] + self.embedding.n_prefix
        return [int(each) for each in places]


@torch.no_grad()
def region_subject(
    model: nn.Module, inputs: Tensor, classes: tuple[str, ...], target: int | str | None, at: str | None,
    whole: tuple[int, int] | None = None,
) -> RegionSubject:  # fmt: skip
    """The question why a region is of a class.

    Args:
        model: whose head answers with masks, in evaluation mode.
        inputs: (1, 3, h, w).
        classes: their names, if known.
        target: number or name of the class; that which most pixels of the region are given by default.
        at: "x,y" for the connected region of one class around a pixel, "left,top,right,bottom" for a box, in pixels of
            the picture; all pixels that are given the class when None.
        whole: (h, w) of the picture before it was prepared; that of the inputs when None.

    Raises:
        UserError: a class that is not there, or a region that is none.
    """
    from dougong.explain.opening import find_class

    size = (inputs.shape[2], inputs.shape[3])
    masks = model(inputs).masks
    given = enlarged(masks.float(), size)[0].argmax(0).cpu().numpy()
    region, said = np.ones(size, bool), "all pixels"
    if at is not None:
        region, said = _asked(at, given, whole or size)
    counts = torch.from_numpy(np.bincount(given[region], minlength=masks.shape[1])).double()
    index = find_class(target, classes, counts)
    name = classes[index] if index < len(classes) else str(index)
    if at is None:
        region = given == index
        said = f"the pixels that are given {name}, {region.mean():.1%} of the picture"
        if not region.any():
            region, said = np.ones(size, bool), f"all pixels, as none is given {name}"
    weights = _weights(masks.shape[2:], torch.from_numpy(region))
    goal, empty = Target(index, name, 0.0, said), torch.zeros_like(inputs)
    subject = RegionSubject(model, inputs, inputs, empty, classes, goal, weights=weights, said=said)
    return replace(subject, target=replace(goal, probability=float(subject.probability(inputs)[0])))


def _asked(at: str, given: np.ndarray, whole: tuple[int, int]) -> tuple[np.ndarray, str]:
    """The region that a point or a box names, in pixels of the whole picture."""
    written = re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)+", at)
    numbers = [int(each) for each in at.split(",")] if written else []
    if len(numbers) not in (2, 4):
        raise UserError(f"at={at}", "is no place in a picture", "give x,y or left,top,right,bottom in pixels")
    down, across = given.shape[0] / whole[0], given.shape[1] / whole[1]
    region = np.zeros(given.shape, bool)
    if len(numbers) == 2:
        x, y = numbers
        if not (0 <= x < whole[1] and 0 <= y < whole[0]):
            raise UserError(f"at={at}", f"lies outside of the picture of {whole[1]}x{whole[0]}", "give a pixel of it")
        from scipy.ndimage import label

        row, column = int(y * down), int(x * across)
        parts, _ = label(given == given[row, column])
        region = parts == parts[row, column]
        return region, f"the region around pixel {x},{y}, {region.mean():.1%} of the picture"
    left, top, right, bottom = numbers
    if not (0 <= left < right <= whole[1] and 0 <= top < bottom <= whole[0]):
        raise UserError(f"at={at}", f"is no box in the picture of {whole[1]}x{whole[0]}", "give left,top,right,bottom")
    rows = slice(int(top * down), max(int(top * down) + 1, round(bottom * down)))
    region[rows, int(left * across) : max(int(left * across) + 1, round(right * across))] = True
    return region, f"the pixels in the box {at.replace(' ', '')}"


def _weights(grid: torch.Size, region: Tensor) -> Tensor:
    """What each place of a coarser grid adds to the mean of enlarged scores over a region: enlarging is linear."""
    with torch.enable_grad():
        places = torch.zeros(1, 1, *grid, requires_grad=True)
        mean = enlarged(places, region.shape)[0, 0][region].mean()
        (found,) = torch.autograd.grad(mean, places)
    return found[0, 0].detach()
