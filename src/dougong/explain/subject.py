"""A model and one input as every method sees them: real-valued points in, the evidence for one class out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.explanation import Target, Units
from dougong.heads.classify import First, Last, Mean
from dougong.parts.embeddings import Embedded, PatchEmbedding

CELLS_ACROSS = 16
"""A picture's side is cut into about this many cells; below 32 pixels a cell is one pixel."""
BATCH = 128


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained.

    Args:
        model: in evaluation mode.
        inputs: prepared, one sample: pixels (1, 3, h, w), vectors (1, L, d), tokens (1, L).
        points: the real-valued tensor that scores refer to: the inputs, or for tokens their embeddings (1, L, D).
        baseline: what stands for "nothing there", of the points' shape.
        classes: names of the classes; empty when unknown.
        target: the class that is explained.
    """

    model: nn.Module
    inputs: Tensor
    points: Tensor
    baseline: Tensor
    classes: tuple[str, ...]
    target: Target

    @property
    def is_image(self) -> bool:
        """Whether the input is a picture."""
        return self.inputs.dim() == 4

    @property
    def embedding(self) -> Any:
        """The model's embedding, when it has one."""
        return getattr(self.model, "embedding", None)

    def with_model(self, model: nn.Module) -> Subject:
        """The same question put to another model of the same shape."""
        if self.inputs.is_floating_point():
            return replace(self, model=model)
        points = embed(model, self.inputs)
        return replace(self, model=model, points=points, baseline=torch.zeros_like(points))

    def logits(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the classes' scores before softmax, (N, C)."""
        return logits(self.model, self.inputs, points)

    def evidence(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the evidence for the target, (N,): its logit less the mean of all logits.

        Softmax does not change when all logits rise alike, so only differences between logits mean something.
        """
        scores = self.logits(points)
        chosen = scores[:, self.target.index]
        return chosen - scores.mean(-1) if scores.shape[-1] > 1 else chosen

    @torch.no_grad()
    def probability(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the target's probability, (N,), in batches."""
        parts = [self.logits(part).float().softmax(-1)[:, self.target.index] for part in points.split(BATCH)]
        return torch.cat(parts)

    def cells(self) -> Units:
        """Square cells of a picture, or the positions of a sequence."""
        if not self.is_image:
            return self.positions()
        height, width = self.inputs.shape[-2:]
        side = max(1, max(height, width) // CELLS_ACROSS)
        return grid_units("pixel" if side == 1 else "cell", (height, width), (side, side))

    def patches(self) -> Units:
        """What the model reads as one token: the patches or rows of a picture, or the positions of a sequence."""
        if self.is_image and isinstance(self.embedding, PatchEmbedding):
            size, cell = self.embedding.image_size, self.embedding.patch_size
            kind = "row" if cell[1] == size[1] else "column" if cell[0] == size[0] else "patch"
            return grid_units(kind, size, cell)
        return self.positions()

    def positions(self) -> Units:
        """The positions of a sequence."""
        count = self.points.shape[1]
        noun = "vector" if self.inputs.is_floating_point() else "token"
        names = tuple(f"{noun} {place + 1}" for place in range(count))
        return Units(noun, names, None, np.arange(count))

    def sum_over(self, units: Units, attribution: Tensor) -> np.ndarray:
        """Attributions of the points' shape (1, ...) to one sum a unit, (n,)."""
        values = attribution[0].sum(0 if self.is_image else -1).double().cpu().numpy()
        return np.bincount(units.owner.ravel(), values.ravel(), minlength=len(units))

    def without(self, units: Units, removed: Tensor) -> Tensor:
        """The points with some units set to the baseline: bool (N, n) to (N, ...)."""
        owner = torch.from_numpy(units.owner).to(self.points.device)
        gone = removed.to(self.points.device)[:, owner]
        gone = gone[:, None] if self.is_image else gone[..., None]
        return torch.where(gone, self.baseline, self.points)

    def readout(self) -> list[int] | None:
        """The rows that the classifier reads: the class token, the last token; None for all of them."""
        pool = getattr(getattr(self.model, "head", None), "pool", None)
        if isinstance(pool, First):
            return [0]
        if isinstance(pool, Last):
            return [-1]
        if isinstance(pool, Mean) and pool.skip:
            return list(range(pool.skip, self.prefix + len(self.patches())))
        return None

    @property
    def prefix(self) -> int:
        """Tokens before the first patch."""
        return int(getattr(self.embedding, "n_prefix", 0))


def grid_units(kind: str, size: tuple[int, int], cell: tuple[int, int]) -> Units:
    """A picture of ``size`` (h, w) cut into cells, row by row; the last ones are smaller where it does not divide."""
    rows, columns = -(-size[0] // cell[0]), -(-size[1] // cell[1])
    names, boxes = [], []
    for row in range(rows):
        for column in range(columns):
            top, left = row * cell[0], column * cell[1]
            boxes.append((left, top, min(left + cell[1], size[1]), min(top + cell[0], size[0])))
            place = {"row": f"{row + 1}", "column": f"{column + 1}"}.get(kind, f"{row + 1},{column + 1}")
            names.append(f"{kind} {place}")
    down, across = np.arange(size[0]) // cell[0], np.arange(size[1]) // cell[1]
    return Units(kind, tuple(names), tuple(boxes), down[:, None] * columns + across)


def logits(model: nn.Module, inputs: Tensor, points: Tensor) -> Tensor:
    """The model's scores (N, C) for points (N, ...) put in the place of the inputs, or of their embeddings.

    Raises:
        UserError: the model gives no scores for classes.
    """
    if inputs.is_floating_point():
        output = model(points)
    else:
        with replaced_embedding(model, points):
            output = model(inputs.expand(len(points), -1))
    scores = getattr(output, "logits", output)
    if not isinstance(scores, Tensor) or scores.dim() not in (2, 3):
        raise UserError("model", "it gives no scores for classes, so there is nothing to explain", "give a classifier")
    return scores[:, -1] if scores.dim() == 3 else scores


@torch.no_grad()
def embed(model: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens (1, L) to their embeddings (1, L, D)."""
    embedding = getattr(model, "embedding", None)
    if not isinstance(embedding, nn.Module):
        raise UserError("model", "it has no embedding of tokens", "give real-valued inputs")
    return embedding(tokens).x


@contextlib.contextmanager
def replaced_embedding(model: nn.Module, points: Tensor) -> Iterator[None]:
    """While it lasts, the model's embedding gives these points (N, L, D)."""
    embedding = model.embedding
    assert isinstance(embedding, nn.Module)
    handle = embedding.register_forward_hook(lambda _, __, given: Embedded(points, given.grid, given.prefix))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; afterwards every module is as it was.

    cuDNN's recurrent kernels give no gradients in evaluation mode, so they are off meanwhile.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.backends.cudnn.flags(enabled=not any(isinstance(module, nn.RNNBase) for module in modes)):
            yield model
    finally:
        for module, training in modes.items():
            module.training = training
