"""Losses over some items of a catalogue: what a next item is told from need not be all others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dougong.heads.losses import Table, table_of
from dougong.parts.output import Output, Pending

IGNORED = -100
"""Among targets where nothing is asked."""


def binary(output: Output, targets: Tensor) -> Tensor:
    """-log s(r_true) - sum log(1 - s(r_other)), the mean over places in nats (Kang and McAuley 2018, equation 6).

    Args:
        output: hidden states (B, L, D) with a head of one product; logits that are `Pending` are never made.
        targets: (B, L, 1 + K) the item that came, `IGNORED` where none is asked, and K that did not.
    """
    keep = targets[..., 0] != IGNORED
    items = targets[keep]
    table = product(output, keep)
    scores = torch.einsum("nd,nkd->nk", table.hidden, F.embedding(items, table.weight))
    scores = _finished(scores, table, None if table.bias is None else table.bias[items])
    return -(F.logsigmoid(scores[:, 0]) + F.logsigmoid(-scores[:, 1:]).sum(1)).mean()


def sampled_softmax(output: Output, targets: Tensor, others: Tensor, shares: Tensor, draws: int) -> Tensor:
    """Cross-entropy against some other items, each score less the logarithm of how likely its item was to be among them
    (Bengio and Senecal 2008; from a stream of data, Yi et al. 2019, section 3), the mean over places in nats.

    Items that are drawn often would else be pushed down for being popular. The true item counts once.

    Args:
        output: as for `binary`.
        targets: (B, L) the item that came, `IGNORED` where none is asked.
        others: (C,) distinct items that were drawn, the same for all places.
        shares: (V,) of each item the probability that one draw gives it.
        draws: how many there were.
    """
    keep = targets != IGNORED
    wanted = targets[keep]
    table = product(output, keep)

    def corrected(scores: Tensor, items: Tensor) -> Tensor:
        scores = _finished(scores, table, None if table.bias is None else table.bias[items])
        return scores - (-torch.expm1(draws * torch.log1p(-shares[items]))).log().to(scores.dtype)

    right = corrected((table.hidden * F.embedding(wanted, table.weight)).sum(1), wanted)
    scores = corrected(table.hidden @ table.weight[others].t(), others).masked_fill(
        others == wanted[:, None], -torch.inf
    )
    return (torch.cat((right[:, None], scores), 1).logsumexp(1) - right).mean()


def product(output: Output, keep: Tensor) -> Table:
    """Hidden states of some places and the table of items that they are multiplied with.

    Args:
        output: of a model under `deferring`.
        keep: bool (B, L).

    Raises:
        ValueError: the head is no product of hidden states and a table.
    """
    assert output.hidden is not None
    if isinstance(output, Pending):
        output.check()
        with torch.autocast(keep.device.type, output.autocast, enabled=output.autocast is not None):
            found = table_of(output.head, output.hidden[keep])
        if found is not None:
            return found
    raise ValueError("this loss needs a head that scores items by a table: choose loss=softmax")


def scores_at(output: Output, places: Tensor) -> Tensor:
    """The scores of all items at one place of each row, (B, V), in float32 at least.

    Args:
        output: logits that are `Pending` are made for these places alone.
        places: (B,).
    """
    assert output.hidden is not None
    rows = torch.arange(len(places), device=output.hidden.device)
    if isinstance(output, Pending) and "logits" not in vars(output):
        output.check()
        head: nn.Module = output.head
        with torch.autocast(output.hidden.device.type, output.autocast, enabled=output.autocast is not None):
            found = head(output.hidden[rows, places][:, None])[:, 0]
    else:
        assert output.logits is not None
        found = output.logits[rows, places]
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _finished(scores: Tensor, table: Table, bias: Tensor | None) -> Tensor:
    scores = scores if bias is None else scores + bias
    return scores if table.cap is None else table.cap * (scores / table.cap).tanh()
