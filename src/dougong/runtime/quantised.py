"""Weights of 8 or 4 bits: whole numbers, 32 of which share a scale. They are read as they lie; sums are float32.

Only weights are rounded, not what flows through the model. The scale of a group is the one that the group's largest
weight asks for, or a smaller one where the squared error is less (as in Frantar et al. 2022, section 4, without
their second-order correction). It is kept in bfloat16, and weights are rounded by the scale that is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dougong.parts.embeddings import Embedded, TokenEmbedding
from dougong.parts.experts import Experts

GROUP = 32
LANES = 16  # rows of a block
TOP = {8: 127, 4: 8}  # the largest whole number: of 4 bits -8 is one, so a group's largest weight is put there
KIND = {8: 2, 4: 3}  # the number that step.cpp knows them by
SHARES = {8: (1.0,), 4: (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)}  # of the largest weight, that are tried


class Codes(nn.Module):
    """A table (N, K) in whole numbers, or several, (E, N, K).

    Args:
        weight: (N, K) or (E, N, K), K a multiple of 32.
        bits: 8 or 4.
    """

    codes: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.bits, self.shape = bits, tuple(weight.shape)
        codes, scale = laid(*rounded(weight.detach().float(), bits), bits)
        # as step.cpp reads them: blocks of 16 rows, groups, four columns by four, the rows, and the four of each row
        self.register_buffer("codes", codes)  # uint8 (..., blocks, K / 32, bits, 16, 4)
        self.register_buffer("scale", scale)  # bfloat16 (..., blocks, K / 32, 16)

    def __len__(self) -> int:
        """Rows, or tables."""
        return int(self.shape[0])

    def table(self, which: int | None = None) -> Tensor:
        """The table, or this one of several, in float32: (N, K), or all of several, (E, N, K)."""
        codes, scale = (self.codes, self.scale) if which is None else (self.codes[which], self.scale[which])
        rows = self._floats(codes.movedim(-2, -4), scale.movedim(-1, -2)).flatten(-3, -2)
        return rows[..., : self.shape[-2], :]

    def rows(self, numbers: Tensor) -> Tensor:
        """These rows of one table, (...) to (..., K) in float32."""
        block, row = numbers // LANES, numbers % LANES
        return self._floats(self.codes[block, :, :, row], self.scale[block, :, row])

    def _floats(self, codes: Tensor, scale: Tensor) -> Tensor:
        """(..., K / 32, bits, 4) and (..., K / 32) to (..., K)."""
        if self.bits == 4:
            codes = torch.cat((codes & 15, codes >> 4), -2)
        return ((codes.flatten(-2).float() - 2 ** (self.bits - 1)) * scale.float()[..., None]).flatten(-2)

    def multiply(self, x: Tensor, bias: Tensor | None, which: int | None = None) -> Tensor:
        """(..., K) by the table, or by this one of several, to (..., N)."""
        from dougong.runtime.native import native

        kernels = native()
        if kernels is None or x.device.type != "cpu" or x.dtype != torch.float32 or not x.numel():
            return nn.functional.linear(x, self.table(which).to(x), bias)
        codes, scale = (self.codes, self.scale) if which is None else (self.codes[which], self.scale[which])
        return kernels.multiply(x, codes, scale, bias, self.shape[-2], KIND[self.bits])

    def extra_repr(self) -> str:
        return f"{' x '.join(map(str, self.shape))}, {self.bits} bits"

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """As the table of floats that it stands for: any program reads it, and rounding it again changes nothing."""
        name = prefix.removesuffix("codes.")
        destination[name[:-1] if name == prefix else name + "weight"] = self.table()


class Quantised(nn.Module):
    """A linear layer with weights of whole numbers. Args: layer: that it takes the place of; bits: 8 or 4."""

    def __init__(self, layer: nn.Linear, bits: int) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.codes, self.bias = Codes(layer.weight, bits), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        return self.codes.multiply(x, self.bias)


class QuantisedExperts(Experts):
    """Experts with weights of whole numbers; the router, which is small and decides, keeps its floats.

    Args:
        experts: that it takes the place of.
        bits: 8 or 4.
    """

    def __init__(self, experts: Experts, bits: int) -> None:
        nn.Module.__init__(self)
        self.n_chosen, self.activation, self.router = experts.n_chosen, experts.activation, experts.router
        for name in ("gate", "up", "down"):
            setattr(self, name, Codes(getattr(experts, name), bits))

    def answer(self, number: int, x: Tensor) -> Tensor:
        """One expert's, (T, D) to the same."""
        tables: Any = self
        inner = self.activation(tables.gate.multiply(x, None, number)) * tables.up.multiply(x, None, number)
        return tables.down.multiply(inner, None, number)  # type: ignore[no-any-return]


class QuantisedEmbedding(TokenEmbedding):
    """Token vectors of whole numbers. Args: embedding: that it takes the place of; bits: 8 or 4."""

    def __init__(self, embedding: TokenEmbedding, bits: int) -> None:
        nn.Module.__init__(self)
        self.vocab_size, self.scale, self.types = embedding.vocab_size, embedding.scale, embedding.types
        self.codes = Codes(embedding.weight, bits)

    def forward(self, tokens: Tensor, types: Tensor | None = None) -> Embedded:
        """As `TokenEmbedding`."""
        x = self.codes.rows(tokens)
        return self.added(x * self.scale if self.scale != 1 else x, types)


class QuantisedHead(nn.Module):
    """Scores by the embedding's own vectors, as `dougong.heads.language.Tied`.

    Args:
        embedding: whose table is shared.
        scale: of the hidden states.
        bias: (V,) of the scores.
    """

    may_wait = True
    bias: Tensor | None
    codes: Codes

    def __init__(self, embedding: QuantisedEmbedding, scale: float, bias: Tensor | None) -> None:
        super().__init__()
        # no part of this module: the table is the embedding's, and saved with it
        self.__dict__["codes"] = embedding.codes
        self.scale = scale
        self.register_buffer("bias", bias)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to logits (B, L, V)."""
        return self.codes.multiply(hidden * self.scale if self.scale != 1 else hidden, self.bias)


def rounded(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """A table (..., N, K) of float32 as whole numbers, int8, and the scales (..., N, K / 32) of its groups.

    Raises:
        ValueError: K is no multiple of 32.
    """
    if weight.shape[-1] % GROUP:
        raise ValueError(f"rows of {weight.shape[-1]} weights do not divide into groups of {GROUP}")
    groups = weight.unflatten(-1, (-1, GROUP))
    place = groups.abs().argmax(-1, keepdim=True)
    largest = groups.gather(-1, place)
    top, least = TOP[bits], -(2 ** (bits - 1)) + (bits == 8)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for share in SHARES[bits]:
        # of 4 bits, the side that reaches to -8 is the one of the largest weight
        tried = (largest.abs() / top if bits == 8 else -largest / top) * share
        tried = tried.to(torch.bfloat16).float()
        values = (groups / torch.where(tried == 0, 1.0, tried)).round().clamp(least, 2 ** (bits - 1) - 1)
        error = ((values * tried - groups) ** 2).sum(-1, keepdim=True)
        if found:
            better = error < found[0][0]
            pairs = zip((error, tried, values), found[0], strict=True)
            error, tried, values = (torch.where(better, new, old) for new, old in pairs)
        found = [(error, tried, values)]
    _, scales, codes = found[0]
    return codes.to(torch.int8).flatten(-2), scales.squeeze(-1).to(torch.bfloat16)


def laid(values: Tensor, scale: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole numbers (..., N, K) and scales (..., N, K / 32) in the order in which step.cpp reads them.

    Returns:
        uint8 (..., blocks, K / 32, bits, 16, 4), where a byte of 4 bits holds a weight of a group's first half low and
        one of its second half high, and bfloat16 (..., blocks, K / 32, 16); rows that fill the last block are zeros.
    """
    more = -values.shape[-2] % LANES
    values, scale = nn.functional.pad(values, (0, 0, 0, more)), nn.functional.pad(scale, (0, 0, 0, more))
    codes = (values.to(torch.int16) + 2 ** (bits - 1)).to(torch.uint8)
    codes = codes.unflatten(-1, (-1, GROUP // 4, 4)).unflatten(-4, (-1, LANES)).movedim(-4, -2)
    if bits == 4:
        codes = codes[..., :4, :, :] | codes[..., 4:, :, :] << 4
    return codes.contiguous(), scale.unflatten(-2, (-1, LANES)).transpose(-1, -2).contiguous()
