"""GRU4Rec (Hidasi et al. 2016): the next item from those before it, by gated recurrent units."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch, Replace
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.language import written
from dougong.parts import initial
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.output import Feature
from dougong.parts.recurrence import Recurrence


@architecture
def gru4rec(
    *,
    vocab_size: Count = 3416,
    d_model: Count = 64,
    d_hidden: Count | None = None,
    n_layers: Depth = 1,
    dropout: Share = 0.25,
    tied: bool = True,
    head: Literal["next-item"] | None = "next-item",
) -> Model:
    """GRU4Rec: embedding, GRU layers, and a score of every item at each place (section 3).

    Args:
        vocab_size: V, items there are.
        d_model: D, width of the items' vectors.
        d_hidden: width of the state; D by default. Where it is another, a linear layer leads back to D.
        n_layers: recurrent layers.
        dropout: of the embeddings and of each layer's answer.
        tied: items are read and scored by one table (the "constrained embedding" of the authors' code).
        head: what is answered: a score of every item as the next one; None for the hidden states alone.
    """
    embedding = TokenEmbedding(vocab_size, d_model)
    width = d_hidden or d_model
    blocks = [
        Block(
            recurrence=Branch(
                Recurrence("gru", width if index else d_model, width), dropout=dropout, residual=Replace()
            )
        )
        for index in range(n_layers)
    ]
    back = nn.Identity() if width == d_model else nn.Linear(width, d_model)
    body = Stack(blocks, before=nn.Dropout(dropout), after=back)
    model = Model(embedding, body, written(embedding, d_model, tied) if head else None, [Feature("hidden", d_model)])
    initial.xavier(model)
    return model
