"""Pictures as tokens on a grid: convolutions that a stack of tokens can hold, and the way between maps and tokens."""

from __future__ import annotations

from torch import Tensor, nn

from dougong.parts.attention import Reading
from dougong.parts.context import Context
from dougong.parts.embeddings import Embedded


def as_tokens(maps: Tensor) -> Tensor:
    """(B, D, h, w) to (B, h w, D), row by row."""
    return maps.flatten(2).transpose(1, 2)


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, h w, D) to (B, D, h, w). Args: tokens: row by row; grid: (h, w)."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def grid_of(context: Context) -> tuple[int, int]:
    """(h, w) of the picture whose patches, and nothing else, the tokens are.

    Raises:
        ValueError: there is no grid, or other tokens come before the patches.
    """
    if context.grid is None or context.prefix:
        raise ValueError("a convolution over patches needs the grid of a picture, and no tokens before them")
    return context.grid


class OverlappingPatches(nn.Module):
    """A map cut into patches that overlap, each through one linear layer and a norm (Xie et al. 2021, section 3.1).

    Args:
        c_in: channels of the map.
        d_model: D.
        patch_size: in pixels.
        stride: pixels between neighbours.
        norm: module, (..., D) to the same.
    """

    def __init__(self, c_in: int, d_model: int, patch_size: int, stride: int, norm: nn.Module) -> None:
        super().__init__()
        self.project = nn.Conv2d(c_in, d_model, patch_size, stride, patch_size // 2)
        self.norm = norm

    def forward(self, maps: Tensor) -> Embedded:
        """(B, C, h, w) to (B, L, D) with its grid."""
        x = self.project(maps)
        return Embedded(self.norm(as_tokens(x)), (x.shape[2], x.shape[3]))


class ReducedGrid(nn.Module):
    """The source of keys and values that are fewer: a convolution with stride over the grid, and a norm.

    Xie et al. 2021, equation 2, as Wang et al. 2021 (PVT, section 3.3) build it.

    Args:
        d_model: D.
        ratio: rows, and columns, that become one.
        norm: module, (..., D) to the same.
    """

    def __init__(self, d_model: int, ratio: int, norm: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(d_model, d_model, ratio, ratio)
        self.norm = norm

    def forward(self, x: Tensor, context: Context) -> Reading:
        """(B, h w, D) to a `Reading` of (B, (h / ratio) (w / ratio), D)."""
        fewer = self.reduce(as_map(x, grid_of(context)))
        grid = (fewer.shape[2], fewer.shape[3])
        return Reading(self.norm(as_tokens(fewer)), grid=grid, stride=self.reduce.stride[0])


class GridConvolution(nn.Module):
    """A depthwise convolution over the grid, which tells patches where they are (Xie et al. 2021, equation 3).

    Args:
        width: F, channels.
        kernel_size: odd.
    """

    def __init__(self, width: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.filters = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """(B, h w, F) to the same."""
        return as_tokens(self.filters(as_map(x, grid_of(context or Context()))))


class StochasticDepth(nn.Module):
    """In training, the answers of some samples are left out whole and the others enlarged (Huang et al. 2016, 3).

    Args:
        share: of samples left out.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...), one sample a row, to the same."""
        if not self.training or not self.share:
            return x
        kept = x.new_empty((x.shape[0], *[1] * (x.dim() - 1))).bernoulli_(1 - self.share)
        return x * (kept / (1 - self.share))

    def extra_repr(self) -> str:
        return f"{self.share:g}"
