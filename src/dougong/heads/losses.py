"""Losses of language heads that never hold the scores of a whole vocabulary at all tokens.

The scores of 2,048 tokens over 50,257 words take 412 MB in float32, and a loss written plainly holds several tables
of that size: scores, their logarithms, their gradient. Of them all, a training step needs one number and the gradients
of the hidden states and of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dougong.heads.chunks import ChunkedCrossEntropy, chunk_of, losses_in_chunks
from dougong.heads.language import Capped, MaskedLanguage, Project, Tied
from dougong.parts.attention import SoftCap
from dougong.parts.output import Output, Pending


@dataclass(frozen=True, eq=False)
class Table:
    """Scores as one product: cap * tanh((hidden weight^T + bias) / cap), or without cap.

    Args:
        hidden: (N, D).
        weight: (V, D).
        bias: (V,).
        cap: of the scores.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    cap: float | None = None


def table_of(head: nn.Module, hidden: Tensor) -> Table | None:
    """A head's answer as a product, where it is one; None for heads of other kinds, and where hooks want to see it.

    Args:
        head: of a language model.
        hidden: (N, D).
    """
    if any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in head.modules()):
        return None
    if type(head) is Tied:
        return Table(hidden * head.scale if head.scale != 1 else hidden, head.weight, head.bias)
    if type(head) is Project and type(head.linear) is nn.Linear:
        return Table(hidden, head.linear.weight, head.linear.bias)
    if type(head) is MaskedLanguage:
        return Table(head.transform(hidden), head.weight, head.bias)
    if type(head) is Capped and type(head.cap) is SoftCap:
        inner = table_of(head.head, hidden)
        if inner is not None and inner.cap is None:
            return Table(inner.hidden, inner.weight, inner.bias, head.cap.cap)
    return None


def cross_entropy(
    output: Output, targets: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, chunk: int | None = None
) -> Tensor:
    """`torch.nn.functional.cross_entropy` of a model's answer, the mean in nats over the tokens that count.

    Of an answer whose logits are `Pending` only the places that count are scored, in chunks; the gradients of the
    hidden states and the weights are computed with them, so that no scores are kept, nor computed again, for the
    backward pass. They equal those of the plain way up to rounding. The result can be differentiated once.

    Args:
        output: with logits (..., V), waiting or not.
        targets: the tokens that came, (...).
        ignore_index: in ``targets`` where none counts.
        label_smoothing: share of the truth that is spread evenly over the vocabulary (Szegedy et al. 2016, section 7).
        chunk: tokens at once; as many as is quick and small by default.
    """
    table, wanted = _waiting(output, targets, ignore_index)
    if table is None:
        scores = _exact(output.logits)
        return F.cross_entropy(scores, targets.flatten(), ignore_index=ignore_index, label_smoothing=label_smoothing)
    assert isinstance(output, Pending)
    kind = _kind(table.hidden)
    size = chunk or chunk_of(len(wanted), len(table.weight), kind)
    with torch.autocast(kind, enabled=False):
        return ChunkedCrossEntropy.apply(  # type: ignore[no-any-return]
            table.hidden, table.weight, table.bias, wanted, ignore_index, label_smoothing, table.cap, output.autocast,
            size, torch.is_grad_enabled(),
        )  # fmt: skip


@torch.no_grad()
def token_losses(output: Output, targets: Tensor, ignore_index: int = -100, chunk: int | None = None) -> Tensor:
    """The nats of each token, of the shape of ``targets``, 0 where none counts; arguments as for `cross_entropy`."""
    table, wanted = _waiting(output, targets, ignore_index)
    if table is None:
        scores = _exact(output.logits)
        found = F.cross_entropy(scores, targets.flatten(), ignore_index=ignore_index, reduction="none")
        return found.view(targets.shape)
    assert isinstance(output, Pending)
    kind = _kind(table.hidden)
    size = chunk or chunk_of(len(wanted), len(table.weight), kind)
    with torch.autocast(kind, enabled=False):
        some = losses_in_chunks(
            table.hidden, table.weight, table.bias, wanted, ignore_index, table.cap, output.autocast, size
        )
    if some.shape == targets.flatten().shape:
        return some.view(targets.shape)
    every = some.new_zeros(targets.numel())
    every[targets.flatten() != ignore_index] = some
    return every.view(targets.shape)


def _waiting(output: Output, targets: Tensor, ignore_index: int) -> tuple[Table | None, Tensor]:
    """The scores of the places that count, and the tokens that came there; None for an answer that has its logits.

    Raises:
        ValueError: there are not as many targets as places.
    """
    if not isinstance(output, Pending) or "logits" in vars(output):
        return None, targets
    assert output.hidden is not None
    output.check()
    if output.hidden.shape[:-1] != targets.shape:
        raise ValueError(f"targets {tuple(targets.shape)} for hidden states {tuple(output.hidden.shape)}")
    hidden, wanted = output.hidden.flatten(0, -2), targets.flatten()
    # a compiled pass wants sizes that no number in a tensor decides, and where nothing is computed there is no number
    if not torch.compiler.is_compiling() and not wanted.is_meta:
        counted = wanted != ignore_index
        if not counted.all():
            hidden, wanted = hidden[counted], wanted[counted]
    with torch.autocast(_kind(hidden), output.autocast, enabled=output.autocast is not None):
        return table_of(output.head, hidden), wanted


def _kind(hidden: Tensor) -> str:
    """The device whose products are narrowed, or would be: shapes without values have none of their own."""
    return "cpu" if hidden.is_meta else hidden.device.type


def _exact(logits: Tensor | None) -> Tensor:
    """Logits (..., V) as (N, V), in float32 at least."""
    assert logits is not None
    return logits.flatten(0, -2).to(torch.promote_types(logits.dtype, torch.float32))
