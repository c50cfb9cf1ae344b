"""The Transformer for sequences of real-valued vectors: sensors, prices, features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dougong.architectures.arguments import Count, Depth, Share
from dougong.architectures.registry import register
from dougong.architectures.transformer import post_norm_block
from dougong.frames.encoder_decoder import EncoderDecoder
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.language import Project
from dougong.parts import initial
from dougong.parts.embeddings import LinearEmbedding
from dougong.parts.masks import OPEN, Causal, Explicit, Mask
from dougong.parts.output import Feature
from dougong.parts.positions import Sinusoidal


class Transformer(nn.Module):
    """The Transformer of Vaswani et al. 2017 on real-valued vectors: (B, L, input_dim) to (B, L, output_dim).

    A linear layer takes the place of the token table, and another that of the scores over tokens. With ``target_dim``
    there is a decoder, and ``model(x, target=y)`` is the encoder-decoder.

    Args:
        input_dim: width of the vectors read.
        output_dim: width of the vectors given back.
        nhead: H.
        num_layers: blocks; of the decoder as well, when there is one.
        dropout: of the embeddings and of each branch.
        d_model: D; 64 a head by default, as in the paper.
        d_ff: F; 4 D by default, as in the paper.
        target_dim: width of the target's vectors; None for an encoder alone.

    Examples:
        >>> model = Transformer(input_dim=16, output_dim=64, nhead=4, num_layers=2, dropout=0.1)
        >>> model(torch.zeros(2, 10, 16), lengths=torch.tensor([10, 7])).shape
        torch.Size([2, 10, 64])
    """

    def __init__(
        self,
        input_dim: Count,
        output_dim: Count,
        nhead: Count = 8,
        num_layers: Depth = 6,
        dropout: Share = 0.1,
        *,
        d_model: Count | None = None,
        d_ff: Count | None = None,
        target_dim: Count | None = None,
    ) -> None:
        super().__init__()
        width = d_model or 64 * nhead
        features = [Feature("hidden", width)]

        def stack(decoder: bool) -> Stack:
            inner = d_ff or 4 * width
            blocks = [post_norm_block(width, nhead, inner, dropout, decoder=decoder) for _ in range(num_layers)]
            return Stack(blocks, positions=Sinusoidal(width), before=nn.Dropout(dropout))

        read, head = LinearEmbedding(input_dim, width), Project(width, output_dim)
        self.model: Model | EncoderDecoder
        if target_dim is None:
            self.model = Model(read, stack(False), head, features)
        else:
            write = LinearEmbedding(target_dim, width)
            self.model = EncoderDecoder(read, stack(False), write, stack(True), head, features)
        initial.xavier(self)
        self.feature_info = features
        self.config: dict[str, Any] = {
            "architecture": "vectors",
            "input_dim": input_dim, "output_dim": output_dim, "nhead": nhead, "num_layers": num_layers,
            "dropout": dropout, "d_model": d_model, "d_ff": d_ff, "target_dim": target_dim,
        }  # fmt: skip

    @property
    def input_kind(self) -> str:
        """ "vectors", or "vectors_pair" with a decoder."""
        return self.model.input_kind

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        target: Tensor | None = None,
        target_lengths: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """(B, L, input_dim) to (B, L, output_dim); with a target (B, L', target_dim) to (B, L', output_dim).

        Args:
            x: the sequences read.
            lengths: (B,) real vectors of each; the rest is padding and changes nothing.
            mask: bool (B, L), True at vectors that may be read, or (B or 1, L, L), True where a query may attend.
            target: what is written so far; each place sees itself and those before it.
            target_lengths: (B,) real vectors of each target.
            causal: each place of x sees itself and those before it only.

        Raises:
            ValueError: a target without a decoder, a decoder without a target, or a mask of another shape.
        """
        given: Mask = OPEN
        if mask is not None:
            batch, length = x.shape[:2]
            if tuple(mask.shape) not in ((batch, length), (batch, length, length), (1, length, length)):
                raise ValueError(f"a mask is (B, L), (B, L, L) or (1, L, L), not {tuple(mask.shape)}")
            given = Explicit(mask[:, None] if mask.dim() == 2 else mask)
        seen = given & Causal() if causal else given
        if isinstance(self.model, Model):
            if target is not None:
                raise ValueError("this Transformer has no decoder: build it with target_dim=, the width of the target")
            hidden = self.model.body(self.model.embedding(x).x, lengths=lengths, mask=seen)
        else:
            if target is None:
                raise ValueError("this Transformer has a decoder: give target=, what is written so far")
            hidden = self.model.decoder(
                self.model.target_embedding(target).x,
                lengths=target_lengths,
                memory=self.model.encoder(self.model.source_embedding(x).x, lengths=lengths, mask=seen),
                memory_lengths=lengths,
                memory_mask=given if mask is not None and mask.dim() == 2 else OPEN,
            )
        assert self.model.head is not None
        return self.model.head(hidden)

    def example_inputs(
        self, batch: int = 1, length: int | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor | None, ...]:
        """Vectors of the right shape, all zero, and a target of its shape where there is a decoder."""
        examples = self.model.example_inputs(batch, length, device)
        return (examples[0], None, None, *examples[1:]) if len(examples) > 1 else examples


def vectors(
    *,
    input_dim: Count,
    output_dim: Count,
    nhead: Count = 8,
    num_layers: Depth = 6,
    dropout: Share = 0.1,
    d_model: Count | None = None,
    d_ff: Count | None = None,
    target_dim: Count | None = None,
) -> Transformer:
    """Transformer on real-valued vectors, (B, L, input_dim) to (B, L, output_dim); the arguments are its class's."""
    return Transformer(
        input_dim, output_dim, nhead, num_layers, dropout, d_model=d_model, d_ff=d_ff, target_dim=target_dim
    )


register("vectors", vectors)
