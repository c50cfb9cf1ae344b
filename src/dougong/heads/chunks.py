"""Cross-entropy of scores that are one product, some tokens at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dougong.parts.products import linear, onednn

SCORES = {"cpu": 2**25, "other": 2**27}
"""Scores that are held at once: 128 MiB on the CPU, where more tokens make products no quicker, and fewer write the
gradient of the weights more often; 512 MiB elsewhere."""

LEAST = 1e-30
"""A share of less is too near to the least number of its type for its logarithm to be exact."""

ROW = 64
"""A row of scores is as many places long, or a multiple."""

COLUMNS = 2048
"""Words whose scores are computed at once on the CPU, so that what a product reads and writes stays in its caches."""


def _native() -> frozenset[torch.dtype]:
    """The half precisions in which this processor multiplies.

    Others are emulated: some ten times slower than float32, of which they are a part.
    """
    found = set()
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "fp16")):
        asked = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
        if torch.backends.mkldnn.is_available() and asked is not None and asked():
            found.add(dtype)
    return frozenset(found)


NATIVE = _native()


def chunk_of(tokens: int, vocabulary: int, device: str = "cpu") -> int:
    """Tokens at once, so that all chunks are about alike. Args: tokens: N; vocabulary: V; device: its type."""
    most = max(1, SCORES.get(device, SCORES["other"]) // max(1, vocabulary))
    return max(1, -(-tokens // max(1, -(-tokens // most))))


class Chunks:
    """The scores of tokens over a vocabulary, by chunks; in two tables that every chunk uses again.

    Args:
        hidden: (N, D).
        weight: (V, D).
        bias: (V,), or None.
        cap: of the scores, or None.
        precision: of products; that of the weights when None.
        size: tokens at once.
    """

    def __init__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, cap: float | None, precision: torch.dtype | None,
        size: int,
    ) -> None:  # fmt: skip
        factors = precision or weight.dtype
        exact = torch.promote_types(weight.dtype, torch.float32)
        if factors.itemsize < 4 and hidden.device.type == "cpu" and factors not in NATIVE:
            factors = torch.float32
        self.exact, self.half = exact, factors.itemsize < 4
        self.hidden, self.weight, self.size, self.cap = hidden.to(factors), weight.to(factors), size, cap
        self.bias = None if bias is None else bias.to(exact)
        self.quick = not torch.compiler.is_compiling() and onednn(self.hidden, self.weight)
        self.tables: list[Tensor] | None = None
        self.columns = [slice(0, len(weight))]
        if not torch.compiler.is_compiling():
            # rows that begin at a cache line are read and written up to 1.4 times as fast; what fills them has no share
            shape = (min(size, len(hidden)), -(-len(weight) // ROW) * ROW)
            self.tables = [hidden.new_empty(shape, dtype=exact) for _ in range(2)]
            self.tables[0][:, len(weight) :] = -torch.inf
            if hidden.device.type == "cpu":
                self.columns = [slice(at, min(at + COLUMNS, len(weight))) for at in range(0, len(weight), COLUMNS)]

    def __iter__(self) -> Any:
        """The first and last token of each chunk."""
        for start in range(0, len(self.hidden), self.size):
            yield slice(start, min(start + self.size, len(self.hidden)))

    def scores(self, part: slice, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The scores of a chunk (n, V), their shares of one (n, V), and the logarithm of their powers' sum (n, 1).

        Args:
            part: of the tokens.
            chosen: (n, 1), a word of each.
        """
        hidden = self.hidden[part]
        if self.tables is None:
            scores = (hidden @ self.weight.t()).to(self.exact)
        else:
            whole, room = (table[: len(hidden)] for table in self.tables)
            scores = whole[:, : len(self.weight)]
            for columns in self.columns:
                if self.half:
                    scores[:, columns] = hidden @ self.weight[columns].t()
                elif self.quick:
                    scores[:, columns] = linear(hidden, self.weight[columns])
                else:
                    torch.mm(hidden, self.weight[columns].t(), out=scores[:, columns])
        if self.bias is not None:
            scores.add_(self.bias)
        if self.cap is not None:
            scores.div_(self.cap).tanh_().mul_(self.cap)
        if self.tables is None:
            total = scores.logsumexp(-1, keepdim=True)
            return scores, (scores - total).exp(), total
        shares = torch.softmax(whole, -1, out=room)[:, : len(self.weight)]
        # what one word says of the sum is what a pass over all would find, unless its share is hardly a number
        share = shares.gather(1, chosen)
        if share.is_meta or bool((share > LEAST).all()):
            return scores, shares, scores.gather(1, chosen) - share.log()
        return scores, shares, scores.logsumexp(-1, keepdim=True)

    def back(self, part: slice, gradient: Tensor, keep: Tensor, into: Tensor | None, table: Tensor | None) -> None:
        """Through the product, from the gradient of a chunk's scores (n, V).

        Args:
            part: of the tokens.
            gradient: (n, V).
            keep: bool (n, 1), whether a token counts.
            into: (N, D), where the gradient of the hidden states is written, or None.
            table: (V, D), to which the gradient of the weights is added, and where that of the first chunk is written;
                or None.
        """
        rows, first = self.hidden[part] * keep if table is not None else None, not part.start
        states = None if into is None else into[part]
        for columns in self.columns:
            # narrowed block by block: what is made is read while it lies in a cache
            factor, weight = gradient[:, columns].to(self.weight.dtype), self.weight[columns]
            if states is not None:
                _add(states, factor, weight, first=not columns.start)
            if table is not None and rows is not None:
                _add(table[columns], factor.t(), rows, first=first)
        if states is not None:
            states.mul_(keep)


def _add(table: Tensor, left: Tensor, right: Tensor, first: bool) -> None:
    """Add a product to a table, or begin it. By torch's own products: oneDNN's would copy factors that lie turned."""
    if left.dtype == table.dtype:
        table.addmm_(left, right, beta=0 if first else 1)
    elif first:
        table.copy_(left @ right)
    else:
        table.add_(left @ right)


def losses_in_chunks(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int, cap: float | None,
    precision: torch.dtype | None, size: int,
) -> Tensor:  # fmt: skip
    """The nats of each token, (N,), 0 where none counts; arguments as for `ChunkedCrossEntropy`."""
    chunks = Chunks(hidden, weight, bias, cap, precision, size)
    found = hidden.new_zeros(len(hidden), dtype=chunks.exact)
    keep = targets != ignore_index
    chosen = torch.where(keep, targets, 0)[:, None]
    for part in chunks:
        scores, _, whole = chunks.scores(part, chosen[part])
        found[part] = torch.where(keep[part], (whole - scores.gather(1, chosen[part]))[:, 0], 0)
    return found


class ChunkedCrossEntropy(torch.autograd.Function):
    """The mean cross-entropy of cap(hidden weight^T + bias), whose gradients are made with it, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int,
        smoothing: float, cap: float | None, precision: torch.dtype | None, size: int, learns: bool,
    ) -> Tensor:  # fmt: skip
        """The loss.

        Args:
            ctx: keeps the gradients.
            hidden: (N, D).
            weight: (V, D).
            bias: (V,), or None.
            targets: (N,) tokens.
            ignore_index: in ``targets`` where none counts.
            smoothing: share of the truth that is spread over the vocabulary.
            cap: of the scores, or None.
            precision: of products; that of the weights when None.
            size: tokens at once.
            learns: whether gradients will be asked for.
        """
        chunks = Chunks(hidden, weight, bias, cap, precision, size)
        exact: Any = {"dtype": chunks.exact}
        asked = [learns and needed for needed in ctx.needs_input_grad[:3]]
        to_hidden = torch.empty_like(hidden, **exact) if asked[0] else None
        to_weight = (torch.empty_like if len(hidden) else torch.zeros_like)(weight, **exact) if asked[1] else None
        to_bias = torch.zeros_like(bias, **exact) if asked[2] and bias is not None else None
        keep = targets != ignore_index
        chosen, count = torch.where(keep, targets, 0)[:, None], keep.sum()
        total = torch.zeros((), device=hidden.device, **exact)
        for part in chunks:
            scores, gradient, whole = chunks.scores(part, chosen[part])
            kept = keep[part, None]
            losses = whole - (1 - smoothing) * scores.gather(1, chosen[part])
            if smoothing:
                losses = losses - smoothing * scores.mean(1, keepdim=True)
            total = total + torch.where(kept, losses, 0).sum()
            if not any(asked):
                continue
            # of a mean over one token: its shares, less what was true
            gradient.scatter_add_(1, chosen[part], gradient.new_full((1, 1), smoothing - 1).expand(len(gradient), 1))
            if smoothing:
                gradient.sub_(smoothing / len(weight))
            if cap is not None:
                gradient.mul_(scores.div_(cap).square_().neg_().add_(1))
            chunks.back(part, gradient, kept, to_hidden, to_weight)
            if to_bias is not None:
                to_bias.add_(kept[:, 0].to(gradient.dtype) @ gradient)
        share = 1 / count.clamp_min(1).to(chunks.exact)
        saved = [None if one is None else one.mul_(share) for one in (to_hidden, to_weight, to_bias)]
        ctx.save_for_backward(
            *[None if one is None else one.to(given.dtype)  # type: ignore[union-attr]
              for one, given in zip(saved, (hidden, weight, bias), strict=True)]
        )  # fmt: skip
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """What was made in the forward pass, times the gradient of the loss."""
        # not multiplied by one, which would make a second table as large as the weights
        known = not torch.compiler.is_compiling() and gradient.device.type == "cpu"
        same = gradient.is_meta or (known and float(gradient) == 1)
        found = [one if one is None or same else one * gradient.to(one.dtype) for one in ctx.saved_tensors]
        return (*found, *[None] * 7)
