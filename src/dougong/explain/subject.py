"""A model and one input as every method sees them: real-valued points in, the evidence for one class out.

`Subject` is a bare sequence of vectors or tokens; `pictures.PictureSubject` and `texts.TextSubject` know more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.explanation import Target, Units
from dougong.heads.classify import First, Last, Mean, Pooler
from dougong.heads.embed import Embed
from dougong.heads.language import MaskedLanguage
from dougong.heads.tag import Tag
from dougong.parts.embeddings import Embedded
from dougong.parts.output import Pending, deferring

BATCH = 128
MOST_POSITIONS = 16384
"""Positions of all sequences of a batch together, so that long texts do not fill the memory."""
NO_CLASSES = {
    Pooler: "it answers with one vector, not with scores of classes",
    Embed: "it answers with one vector, not with scores of classes",
    Tag: "it answers at each token, not with one class",
    MaskedLanguage: "it answers at each token, not with one class",
}

AT_TOKENS = (Tag, MaskedLanguage)


@dataclass(frozen=True)
class Grids:
    """The grids that a layer's queries and keys lie on, both over the whole picture.

    Args:
        queries: (h, w).
        keys: (h', w').
        stride: rows, and columns, of the queries' grid that became one key; what is left over at the end became none.
    """

    queries: tuple[int, int]
    keys: tuple[int, int]
    stride: int = 1


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained: here a sequence of which nothing more is known.

    Args:
        model: in evaluation mode.
        inputs: prepared, one sample: pixels (1, 3, h, w), vectors (1, L, d), tokens (1, L).
        points: the real-valued tensor that scores refer to: the inputs, or for tokens their embeddings (1, L, D).
        baseline: what stands for "nothing there", of the points' shape.
        classes: names of the classes; empty when unknown.
        target: the class that is explained.
        several: classes stand side by side, each with a sigmoid of its own; else one is chosen by softmax.
        place: the token whose answer is explained, of a model that answers at each; None for an answer of the whole.
    """

    model: nn.Module
    inputs: Tensor
    points: Tensor
    baseline: Tensor
    classes: tuple[str, ...]
    target: Target
    several: bool = False
    place: int | None = None

    auto: ClassVar[str] = "integrated-gradients"
    """The method where none is asked for: it explains every model and one class, and its scores add up."""
    cross: ClassVar[str] = ""
    """Where attention is shown of queries to a memory, rather than of positions to each other: who looks, in words."""
    looker: ClassVar[str] = ""
    """Who looks, in words, where that is no token."""
    reads_all: ClassVar[bool] = False
    """Whether the answer is read from every grid of a pyramid, rather than from its last."""
    noun: ClassVar[str] = "class"
    """What is asked about."""
    measure: ClassVar[str] = "probability"
    """What the target is given; see `Target`."""

    def marked(self, picture: np.ndarray | None) -> np.ndarray | None:
        """The picture as it is shown, with what is asked about marked on it."""
        return picture

    @property
    def nothing(self) -> str:
        """What an empty input is, in words."""
        return "zero at every position"

    @property
    def one_grid(self) -> bool:
        """Whether all attention is over one row of positions, so that its weights can be laid over the input."""
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of any explanation of this input should know."""
        return ()

    @property
    def evidence_words(self) -> str:
        """What ``evidence`` is, in words."""
        return "its logit" if self.several else "its logit less the mean logit"

    @property
    def aim(self) -> str:
        """What signed scores are parts of, in words."""
        return f"the evidence for the class ({self.evidence_words})"

    @property
    def watched(self) -> str:
        """What is watched while units are removed, in words."""
        return "the class's probability"

    def there(self, points: Tensor) -> str:
        """What the target is given at points (1, ...), in a sentence."""
        return f"The model gives the class {float(self.probability(points)):.1%} there."

    @property
    def batch(self) -> int:
        """How many points are asked about at once."""
        return max(1, min(BATCH, MOST_POSITIONS // self.points.shape[1]))

    @property
    def embedding(self) -> Any:
        """The model's embedding, when it has one."""
        return getattr(self.model, "embedding", None)

    def tokens_read(self) -> Tensor:
        """The different tokens of all that the model reads."""
        return self.inputs.unique()

    def with_model(self, model: nn.Module) -> Subject:
        """The same question put to another model of the same shape."""
        if self.inputs.is_floating_point():
            return replace(self, model=model)
        points = embed(model, self.inputs)
        return replace(self, model=model, points=points, baseline=self.empty(model, points))

    def empty(self, model: nn.Module, points: Tensor) -> Tensor:
        """The baseline of tokens that a model embeds as these points."""
        return torch.zeros_like(points)

    def logits(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the classes' scores before softmax, (N, C)."""
        return logits(self.model, self.inputs, points, self.place)

    def evidence(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the evidence for the target, (N,): its logit less the mean of all logits.

        Softmax does not change when all logits rise alike, so only differences between logits mean something. Where
        each class has a sigmoid of its own, its logit alone counts.
        """
        scores = self.logits(points)
        chosen = scores[:, self.target.index]
        return chosen if self.several or scores.shape[-1] == 1 else chosen - scores.mean(-1)

    @torch.no_grad()
    def probability(self, points: Tensor) -> Tensor:
        """Points (N, ...) to the target's probability, (N,), in batches."""
        parts = [shares(self.logits(part), self.several)[:, self.target.index] for part in points.split(self.batch)]
        return torch.cat(parts)

    def cells(self) -> Units:
        """What integrated gradients are summed over: the positions."""
        return self.patches()

    def patches(self) -> Units:
        """What attention is summed over: the positions."""
        count = self.points.shape[1]
        noun = "vector" if self.inputs.is_floating_point() else "token"
        names = tuple(f"{noun} {place + 1}" for place in range(count))
        return Units(noun, names, None, np.arange(count))

    def keys(self, grids: Sequence[Grids]) -> Units:
        """What attention on several grids is summed over: the places of the finest keys, or a few of them together.

        Args:
            grids: of the layers that are shown.
        """
        return self.patches()

    def by_point(self, attribution: Tensor) -> Tensor:
        """Attributions of the points' shape (1, ...), summed to the shape of the units' owner."""
        return attribution[0].sum(-1)

    def over_points(self, mask: Tensor) -> Tensor:
        """A mask (N, *owner's shape) that fits the points."""
        return mask[..., None]

    def sum_over(self, units: Units, attribution: Tensor) -> np.ndarray:
        """Attributions of the points' shape (1, ...) to one sum a unit, (n,)."""
        values, owner = self.by_point(attribution).double().cpu().numpy().ravel(), units.owner.ravel()
        owned = owner >= 0
        return np.bincount(owner[owned], values[owned], minlength=len(units))

    def without(self, units: Units, removed: Tensor) -> Tensor:
        """The points with some units set to the baseline: bool (N, n) to (N, ...). What no unit owns stays."""
        owner = torch.from_numpy(units.owner).to(self.points.device)
        nobody = removed.new_zeros(len(removed), 1)  # which the owner -1 is looked up in
        gone = torch.cat((removed, nobody), 1).to(self.points.device)[:, owner]
        return torch.where(self.over_points(gone), self.baseline, self.points)

    def read_by(self, units: Units) -> np.ndarray:
        """The unit of each position that the model's layers see, (S,); -1 for nobody's."""
        return units.owner

    def gather(self, units: Units, seen: np.ndarray, grids: Grids | None = None) -> np.ndarray:
        """Shares of positions (..., S) to shares of units (..., n); what belongs to no unit is left out.

        Args:
            units: n of them.
            seen: shares of the keys of a layer.
            grids: that its queries and keys lie on, if they do.
        """
        owner = self.read_by(units)
        return seen @ (owner[:, None] == np.arange(len(units))).astype(seen.dtype)

    def readout(self, grids: Grids | None = None) -> list[int] | None:
        """The rows that the answer is read at: the class token, the last token, a place; None for all of them.

        Args:
            grids: of the layer whose rows they are, where layers have grids of their own.
        """
        if self.place is not None:
            return [self.place % len(self.read_by(self.patches()))]
        pool = getattr(getattr(self.model, "head", None), "pool", None)
        if isinstance(pool, First | Pooler):
            return [0]
        if isinstance(pool, Last):
            return [-1]
        if isinstance(pool, Mean) and pool.skip:
            return list(range(pool.skip, len(self.read_by(self.patches()))))
        return None


def shares(scores: Tensor, several: bool) -> Tensor:
    """Logits (N, C) to probabilities, in float32 at least."""
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return wide.sigmoid() if several else wide.softmax(-1)


def logits(model: nn.Module, inputs: Tensor, points: Tensor, place: int | None = None) -> Tensor:
    """The model's scores (N, C) for points (N, ...) put in the place of the inputs, or of their embeddings.

    Args:
        model: in evaluation mode.
        inputs: one sample, (1, ...).
        points: that it is to see.
        place: the token whose scores are meant, of a model that answers at each; the last one when None.

    Raises:
        UserError: the model gives no scores for classes.
    """
    head = getattr(model, "head", None)
    for kind, why in NO_CLASSES.items():
        if isinstance(head, kind) and (place is None or kind not in AT_TOKENS):
            raise UserError("model", why, "give a classifier")
    if inputs.is_floating_point():
        output = model(points)
    else:
        with replaced_embedding(model, points), deferring():
            output = model(inputs.expand(len(points), -1))
        if isinstance(output, Pending) and output.hidden is not None:  # scores of one place are enough
            return output.head(output.hidden[:, [-1 if place is None else place]])[:, 0]
    scores = getattr(output, "logits", output)
    if not isinstance(scores, Tensor) or scores.dim() not in (2, 3):
        raise UserError("model", "it gives no scores for classes, so there is nothing to explain", "give a classifier")
    return scores[:, -1 if place is None else place] if scores.dim() == 3 else scores


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
