"""Embeddings: tokens, pictures and real-valued vectors become (B, L, D)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dougong.parts.gaussian import gaussian


@dataclass(frozen=True, eq=False)
class Embedded:
    """Args: x: (B, L, D); grid: (h, w) of a picture's patches; prefix: class tokens before them."""

    x: Tensor
    grid: tuple[int, int] | None = None
    prefix: int = 0


class TokenEmbedding(nn.Module):
    """One learned vector a token.

    Args:
        vocab_size: V.
        d_model: D.
        scale: the vectors are multiplied by it; sqrt(D) in Vaswani et al. 2017, section 3.4.
        n_types: kinds of token that have a vector of their own, added to the token's (first and second sentence in
            Devlin et al. 2019, section 3, figure 2); none by default.
    """

    kind = "tokens"

    def __init__(self, vocab_size: int, d_model: int, scale: float = 1.0, n_types: int = 0) -> None:
        super().__init__()
        self.vocab_size, self.scale = vocab_size, scale
        self.weight = gaussian(vocab_size, d_model, std=d_model**-0.5)
        self.types = gaussian(n_types, d_model, std=d_model**-0.5) if n_types else None

    def forward(self, tokens: Tensor, types: Tensor | None = None) -> Embedded:
        """Token numbers (B, L) to (B, L, D).

        Args:
            tokens: their numbers.
            types: (B, L) the kind of each token; all 0 by default.

        Raises:
            ValueError: types are given and there are none.
        """
        x = nn.functional.embedding(tokens, self.weight)
        return self.added(x * self.scale if self.scale != 1 else x, types)

    def added(self, x: Tensor, types: Tensor | None) -> Embedded:
        """The tokens' vectors (B, L, D) with those of their kinds.

        Raises:
            ValueError: types are given and there are none.
        """
        if self.types is None:
            if types is not None:
                raise ValueError("this model does not tell types of token apart: leave types out")
            return Embedded(x)
        return Embedded(x + (self.types[0] if types is None else nn.functional.embedding(types, self.types)))

    def example(self, batch: int, length: int | None, device: torch.device | str | None) -> Tensor:
        """Tokens of the right shape: (batch, length or 128)."""
        return torch.zeros((batch, length or 128), dtype=torch.long, device=device)


class LinearEmbedding(nn.Module):
    """Real-valued vectors through one linear layer. Args: d_input: their width; d_model: D."""

    kind = "vectors"

    def __init__(self, d_input: int, d_model: int) -> None:
        super().__init__()
        self.d_input = d_input
        self.project = nn.Linear(d_input, d_model)

    def forward(self, vectors: Tensor) -> Embedded:
        """(B, L, d_input) to (B, L, D).

        Raises:
            ValueError: the vectors have another width.
        """
        if vectors.dim() != 3 or vectors.shape[-1] != self.d_input:
            raise ValueError(f"expected vectors of shape (B, L, {self.d_input}), got {tuple(vectors.shape)}")
        return Embedded(self.project(vectors))

    def example(self, batch: int, length: int | None, device: torch.device | str | None) -> Tensor:
        """Vectors of the right shape: (batch, length or 128, d_input)."""
        return torch.zeros((batch, length or 128, self.d_input), device=device)


class PatchEmbedding(nn.Module):
    """A picture cut into patches, each through one linear layer (Dosovitskiy et al. 2021, section 3.1).

    A patch as wide as the picture and one pixel high makes the picture a sequence of its rows.

    Args:
        image_size: (h, w) in pixels.
        patch_size: (h, w) in pixels; must divide the picture.
        channels: of the picture.
        d_model: D.
        n_prefix: learned tokens put first: 1 class token in ViT, 2 tokens in DeiT, 0 for none.
        bias: of the linear layer.

    Raises:
        ValueError: the patches do not divide the picture.
    """

    kind = "image"

    def __init__(
        self,
        image_size: tuple[int, int],
        patch_size: tuple[int, int],
        channels: int,
        d_model: int,
        n_prefix: int = 0,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if image_size[0] % patch_size[0] or image_size[1] % patch_size[1]:
            raise ValueError(
                f"patches of {patch_size[0]}x{patch_size[1]} do not divide {image_size[0]}x{image_size[1]}"
            )
        self.image_size, self.patch_size, self.channels, self.n_prefix = image_size, patch_size, channels, n_prefix
        self.grid = (image_size[0] // patch_size[0], image_size[1] // patch_size[1])
        self.project = nn.Conv2d(channels, d_model, patch_size, patch_size, bias=bias)
        self.prefix = gaussian(n_prefix, d_model, std=0.02) if n_prefix else None

    @property
    def length(self) -> int:
        """L, prefix tokens and patches."""
        return self.n_prefix + self.grid[0] * self.grid[1]

    def forward(self, pixels: Tensor) -> Embedded:
        """(B, C, h, w) to (B, n_prefix + patches, D), patches row by row.

        Raises:
            ValueError: a picture of another size.
        """
        if tuple(pixels.shape[1:]) != (self.channels, *self.image_size):
            expected = f"(B, {self.channels}, {self.image_size[0]}, {self.image_size[1]})"
            raise ValueError(f"expected pixels of shape {expected}, got {tuple(pixels.shape)}")
        x = self.project(pixels).flatten(2).transpose(1, 2)
        if self.prefix is not None:
            x = torch.cat((self.prefix.expand(x.shape[0], -1, -1), x), 1)
        return Embedded(x, self.grid, self.n_prefix)

    def example(self, batch: int, length: int | None, device: torch.device | str | None) -> Tensor:
        """Pixels of the right shape; a picture has no length to choose."""
        return torch.zeros((batch, self.channels, *self.image_size), device=device)


def pair(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """A size given as one number or as (h, w), as (h, w)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


class MapEmbedding(nn.Module):
    """A picture through a convolutional stem to its first feature map.

    Args:
        stem: module, (B, 3, h, w) to (B, C, h', w').
        image_size: (h, w) of example pictures.
    """

    kind = "image"

    def __init__(self, stem: nn.Module, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.stem, self.image_size = stem, image_size

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, C, h', w')."""
        if pixels.dim() != 4:
            raise ValueError(f"expected pixels of shape (B, 3, h, w), got {tuple(pixels.shape)}")
        return self.stem(pixels)

    def example(self, batch: int, length: int | None, device: torch.device | str | None) -> Tensor:
        """Pixels of the right shape; a picture has no length to choose."""
        return torch.zeros((batch, 3, *self.image_size), device=device)
