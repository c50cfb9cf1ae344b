"""Positions: one part with four hooks, each of which does nothing unless a kind of position uses it.

The stack owns the position part, asks it once a pass, and hands the answers to every layer:

- ``embedding``: a value added to the embeddings (sinusoidal, learned, two-dimensional);
- ``shift``: a value added to the inputs of queries and keys in every layer (DETR);
- ``rotation``: a rotation of queries and keys (rotary);
- ``bias``: a value added to the scores (ALiBi, T5).

``rotation`` and ``bias`` relate two places of one sequence, so they act in self-attention only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dougong.parts.gaussian import gaussian
from dougong.parts.rope_scaling import Scaling

TINY = 1e-6
"""Added to a picture's height and width before it divides, as in the authors' own code of DETR."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where tokens stand.

    Args:
        index: (L,), or (T,) for a packed batch, or (B, L) where rows differ: the position of each token in its
            sequence, from 0.
        end: one more than the largest index, known without looking at the tensor.
        grid: (h, w) for a picture, whose patches follow the prefix row by row.
        prefix: tokens before the first patch (class tokens).
        sizes: (B, 2) rows and columns of each picture, where some fill less than the grid.
    """

    index: Tensor
    end: int
    grid: tuple[int, int] | None = None
    prefix: int = 0
    sizes: Tensor | None = None

    def rows_and_columns(self) -> tuple[Tensor, Tensor]:
        """The row and the column of each token, negative for prefix tokens.

        Raises:
            ValueError: the tokens are not those of a picture.
        """
        if self.grid is None:
            raise ValueError("two-dimensional positions need the grid (h, w) of a picture")
        patch = self.index - self.prefix
        return torch.div(patch, self.grid[1], rounding_mode="floor"), torch.where(
            patch < 0, patch, patch % self.grid[1]
        )


@dataclass(frozen=True, eq=False)
class Rotation:
    """A rotation of pairs of channels by an angle a token.

    Args:
        cos, sin: (L, R/2) or (B, L, R/2), R being the rotated channels.
        interleaved: which channels are a pair.
    """

    cos: Tensor
    sin: Tensor
    interleaved: bool = False

    def of(self, some: Callable[[Tensor], Tensor]) -> Rotation:
        """That of some of the tokens. Args: some: picks their rows."""
        return Rotation(some(self.cos), some(self.sin), self.interleaved)

    def apply(self, x: Tensor) -> Tensor:
        """(..., L, H, K) to the same: the first R of the K channels are rotated, the rest pass."""
        cos, sin = self.cos.to(x.dtype)[..., None, :], self.sin.to(x.dtype)[..., None, :]
        rotated, rest = x[..., : 2 * cos.shape[-1]], x[..., 2 * cos.shape[-1] :]
        if self.interleaved:
            a, b = rotated[..., 0::2], rotated[..., 1::2]
            turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
        else:
            a, b = rotated.chunk(2, -1)
            turned = torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
        return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


class Positions(nn.Module):
    """No positions at all: the four hooks, each of which gives None."""

    def embedding(self, places: Places) -> Tensor | None:
        """(L, D), or (B, L, D) where rows differ, to add to the embeddings, or None."""
        return None

    def shift(self, places: Places) -> Tensor | None:
        """(L, D) to add to the inputs of queries and keys in every layer, or None."""
        return None

    def rotation(self, places: Places) -> Rotation | None:
        """The rotation of queries and keys, or None."""
        return None

    def bias(self, query: Tensor, key: Tensor) -> Tensor | None:
        """(H, L, S) to add to the scores of queries at (L,) and keys at (S,), or None."""
        return None


def angles(position: Tensor, width: int, base: float, step: int = 2) -> Tensor:
    """(..., L) to (..., L, width / step): p * base^(-i/width) for i = 0, step, ...

    In float64 where the device has it: in float32 the angle at position 10,000 is known to a thousandth only.
    """
    wide = torch.float32 if position.device.type == "mps" else torch.float64
    exponent = torch.arange(0, width, step, device=position.device, dtype=wide) / width
    return position.to(wide)[..., None] * base**-exponent


def wave(position: Tensor, width: int, base: float, interleaved: bool = True) -> Tensor:
    """(..., L) to (..., L, width): sine and cosine in turn, or all sines first; later channels have longer waves."""
    angle = angles(position, width, base)
    if not interleaved:
        return torch.cat((angle.sin(), angle.cos()), -1)[..., :width]
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2)[..., :width]


class Sinusoidal(Positions):
    """PE(p, 2i) = sin(p / 10000^(2i/D)), PE(p, 2i+1) = cos(p / 10000^(2i/D)) (Vaswani et al. 2017, section 3.5).

    The wavelength depends on the dimension's index i. With one wavelength for all, D channels would say no more
    than two do, and positions a wavelength apart could not be told from each other.

    Args:
        d_model: D.
        base: of the wavelengths.
        interleaved: sine and cosine take turns, as in the paper; else all sines come first (Marian).
    """

    def __init__(self, d_model: int, base: float = 10000.0, interleaved: bool = True) -> None:
        super().__init__()
        self.d_model, self.base, self.interleaved = d_model, base, interleaved

    def embedding(self, places: Places) -> Tensor:
        return wave(places.index, self.d_model, self.base, self.interleaved)


class Learned(Positions):
    """One learned vector a position (Gehring et al. 2017, section 3.1; BERT, GPT-2, ViT).

    Args:
        max_length: positions there are.
        d_model: D.
        offset: rows of the table before position 0; RoBERTa and BART begin at row 2.

    Raises:
        ValueError: on a sequence longer than ``max_length``.
    """

    def __init__(self, max_length: int, d_model: int, offset: int = 0) -> None:
        super().__init__()
        self.max_length, self.offset = max_length, offset
        self.weight = gaussian(max_length + offset, d_model, std=0.02)

    def embedding(self, places: Places) -> Tensor:
        if places.end > self.max_length:
            raise ValueError(
                f"a sequence of {places.end} tokens is longer than the {self.max_length} learned positions"
            )
        return nn.functional.embedding(places.index + self.offset, self.weight)


class Sinusoidal2d(Positions):
    """Sinusoids of the row in the first half of the channels, of the column in the second (Parmar et al. 2018, 3.1).

    Prefix tokens get zeros.

    Args:
        d_model: D, a multiple of 4.
        base: of the wavelengths.
        span: places are told as shares of the picture's height and width, counted from 1, times this (2 pi in Carion et
            al. 2020), so that what is learnt of one size holds for others; None counts rows and columns from 0.
    """

    def __init__(self, d_model: int, base: float = 10000.0, span: float | None = None) -> None:
        super().__init__()
        if d_model % 4:
            raise ValueError(f"two-dimensional sinusoids need a width that is a multiple of 4, not {d_model}")
        self.d_model, self.base, self.span = d_model, base, span

    def embedding(self, places: Places) -> Tensor:
        """(L, D), or (B, L, D) where pictures fill different shares of the grid."""
        row, column = places.rows_and_columns()
        real = row >= 0
        if self.span is not None:
            assert places.grid is not None
            wide = torch.float32 if row.device.type == "mps" else torch.float64
            if places.sizes is None:
                height, width = places.grid
                row, column = ((at + 1).to(wide) / (size + TINY) for at, size in ((row, height), (column, width)))
            else:
                sizes = places.sizes.to(row.device, wide) + TINY
                row, column = ((at + 1) / sizes[:, axis, None] for axis, at in enumerate((row, column)))
            row, column = row * self.span, column * self.span
        half = self.d_model // 2
        both = torch.cat((wave(row, half, self.base), wave(column, half, self.base)), -1)
        return both * real[:, None]


class AtEveryLayer(Positions):
    """Positions that other kinds add to the embeddings, added instead to queries and keys in every layer.

    DETR (Carion et al. 2020, appendix A.4): ``AtEveryLayer(Sinusoidal2d(D))`` in its encoder, and
    ``AtEveryLayer(Learned(N, D))`` as the object queries of its decoder.
    """

    def __init__(self, positions: Positions) -> None:
        super().__init__()
        self.positions = positions

    def shift(self, places: Places) -> Tensor | None:
        return self.positions.embedding(places)


class Rotary(Positions):
    """Queries and keys rotated by angles that grow with the position (RoPE, Su et al. 2021, section 3.2).

    Args:
        d_rotary: R, the channels of a head that are rotated; all of them in the paper.
        base: of the wavelengths.
        scaling: for texts longer than those of the training.
        interleaved: pairs are neighbours (0, 1), (2, 3), ... as in the paper; else (0, R/2), (1, R/2 + 1), ... as in
            the Llama checkpoints of Hugging Face.
    """

    def __init__(
        self, d_rotary: int, base: float = 10000.0, interleaved: bool = False, scaling: Scaling | None = None
    ) -> None:
        super().__init__()
        if d_rotary % 2:
            raise ValueError(f"rotary positions turn pairs of channels: {d_rotary} is odd")
        self.d_rotary, self.base, self.interleaved = d_rotary, base, interleaved
        self.scaling = scaling or Scaling()

    def rotation(self, places: Places) -> Rotation:
        one = angles(torch.ones(1, device=places.index.device), self.d_rotary, self.base)[0]
        angle = places.index.to(one.dtype)[..., None] * self.scaling.stretch(one, self.base)
        strength = self.scaling.sharpening
        return Rotation(angle.cos() * strength, angle.sin() * strength, self.interleaved)


class Rotary2d(Positions):
    """Half of the pairs turn with the row, half with the column (axial RoPE; Heo et al. 2024, section 3.2).

    Prefix tokens are not turned. Args: d_rotary: R, a multiple of 4.
    """

    def __init__(self, d_rotary: int, base: float = 100.0) -> None:
        super().__init__()
        if d_rotary % 4:
            raise ValueError(f"two-dimensional rotary positions need a multiple of 4 channels, not {d_rotary}")
        self.d_rotary, self.base = d_rotary, base

    def rotation(self, places: Places) -> Rotation:
        row, column = places.rows_and_columns()
        angle = torch.cat([angles(axis.clamp(min=0), self.d_rotary, self.base, 4) for axis in (row, column)], -1)
        angle = angle * (row >= 0)[:, None]
        return Rotation(angle.cos(), angle.sin())


class ALiBi(Positions):
    """Scores fall linearly with distance, each head at its own slope (Press et al. 2022, section 3).

    With H a power of two the slopes are 2^(-8/H), 2^(-16/H), ...; otherwise those of the next lower power of two,
    followed by every second one of the next higher. Without a causal mask the distance is |q - k|.
    """

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads

    @classmethod
    def _slopes(cls, n_heads: int) -> list[float]:
        power = 2 ** int(math.log2(n_heads))
        slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
        return slopes if power == n_heads else slopes + cls._slopes(2 * power)[0::2][: n_heads - power]

    def bias(self, query: Tensor, key: Tensor) -> Tensor:
        distance = (query[:, None] - key[None, :]).abs()
        slopes = torch.tensor(self._slopes(self.n_heads), device=query.device)
        return -slopes[:, None, None] * distance


class RelativeBuckets(Positions):
    """A learned value a head and distance, far distances sharing buckets (T5: Raffel et al. 2020, section 2.1).

    Half of the buckets hold one distance each, the others grow logarithmically up to ``max_distance``.

    Args:
        n_heads: H.
        n_buckets: buckets in all, both directions together.
        max_distance: from here on all distances share the last bucket.
        bidirectional: keys after the query have half of the buckets; else they share bucket 0.
    """

    def __init__(self, n_heads: int, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True) -> None:
        super().__init__()
        self.n_buckets, self.max_distance, self.bidirectional = n_buckets, max_distance, bidirectional
        self.weight = gaussian(n_buckets, n_heads, std=0.02)

    def buckets(self, query: Tensor, key: Tensor) -> Tensor:
        """(L,) and (S,) to (L, S): the bucket of each pair."""
        distance = key[None, :] - query[:, None]
        buckets, count = torch.zeros_like(distance), self.n_buckets
        if self.bidirectional:
            count //= 2
            buckets = (distance > 0).long() * count
            distance = distance.abs()
        else:
            distance = -distance.clamp(max=0)
        exact = count // 2
        ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (ratio * (count - exact)).long()).clamp(max=count - 1)
        return buckets + torch.where(distance < exact, distance, far)

    def bias(self, query: Tensor, key: Tensor) -> Tensor:
        return nn.functional.embedding(self.buckets(query, key), self.weight).permute(2, 0, 1)
