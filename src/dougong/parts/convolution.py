"""Convolutions: over sequences as a mixer, and over feature maps as the blocks of a CNN."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dougong.parts.context import Context
from dougong.parts.segments import real_tokens

EMPTY = Context()


class Convolution(nn.Module):
    """A convolution over a sequence that keeps its length; zeros stand beyond its ends.

    Args:
        d_model: D, channels in.
        d_out: channels out.
        kernel_size: tokens that a filter sees.
        groups: of channels; D for a depthwise convolution.
        causal: a filter sees only its own token and those before it.
    """

    def __init__(self, d_model: int, d_out: int, kernel_size: int, *, groups: int = 1, causal: bool = False) -> None:
        super().__init__()
        self.filters = nn.Conv1d(d_model, d_out, kernel_size, groups=groups)
        after = 0 if causal else kernel_size // 2
        self.pad = (kernel_size - 1 - after, after)

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        """(B, L, D), or packed (T, D), to the same with d_out channels.

        Raises:
            ValueError: a cache, though the filters look ahead.
        """
        segments = context.segments
        dense = x if segments is None else segments.restore(x)
        if context.lengths is not None:
            dense = dense.masked_fill(~real_tokens(context.lengths, dense.shape[1]), 0)
        before, after = self.pad
        if context.cache is not None and before + after:
            if after:
                raise ValueError("a convolution that looks ahead cannot go on from a cache: make it causal")
            state = context.cache.state(self)
            past = dense.new_zeros((len(dense), before, dense.shape[2])) if state is None else state[0][0]
            dense, before = torch.cat((past, dense), 1), 0
            last = dense if segments is None else segments.restore(x, at_end=True)
            last = nn.functional.pad(last, (0, 0, self.pad[0], 0)) if segments is not None else last
            context.cache.leave(self, (last[None, :, -self.pad[0] :],))
        y = self.filters(nn.functional.pad(dense.transpose(1, 2), (before, after))).transpose(1, 2)
        return y if segments is None else segments.strip(y)


class Parallel(nn.Module):
    """Several bodies that read the same input, their outputs joined along the channels, or added.

    Filters of several widths (Kim 2014, section 2), or attention beside the feed-forward network (GPT-J).

    Args:
        bodies: modules with ``(x, context)``.
        join: "channels" or "sum".
    """

    def __init__(self, bodies: Sequence[nn.Module], join: str = "channels") -> None:
        super().__init__()
        if join not in ("channels", "sum"):
            raise ValueError(f"join must be 'channels' or 'sum', not {join!r}")
        self.bodies, self.join = nn.ModuleList(bodies), join

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        """(..., D) to (..., sum of the bodies' channels), or to their common shape."""
        answers = [body(x, context) for body in self.bodies]
        return torch.cat(answers, -1) if self.join == "channels" else torch.stack(answers).sum(0)


class Layers(nn.Sequential):
    """Modules one after another, as a branch's body: the context is not handed on."""

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Whatever the first module takes to what the last one gives."""
        for layer in self:
            x = layer(x)
        return x


class ChannelsLast(Layers):
    """Layers that run with channels innermost in memory, on the CPU, where their answer is laid out as usual again.

    For the first ones of a large picture: three channels and wide windows take half the time, pooling a tenth. Behind
    them maps are small, and the gradients of filters would have to be turned.
    """

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """As `Layers`, of maps (B, C, h, w)."""
        if x.device.type not in ("cpu", "meta"):
            return super().forward(x, context)
        return super().forward(x.contiguous(memory_format=torch.channels_last), context).contiguous()


Norm = Callable[[int], nn.Module]
"""What makes a norm of so many channels."""


def convolution(
    c_in: int,
    c_out: int,
    kernel_size: int,
    stride: int = 1,
    *,
    activation: nn.Module | None = None,
    norm: Norm = nn.BatchNorm2d,
) -> Layers:
    """Convolution without bias, a norm, and an activation if given: (B, C, h, w) to (B, C', h/stride, w/stride)."""
    conv = nn.Conv2d(c_in, c_out, kernel_size, stride, kernel_size // 2, bias=False)
    return Layers(conv, norm(c_out), *([activation] if activation is not None else []))


def basic_convolutions(c_in: int, c_out: int, stride: int = 1, norm: Norm = nn.BatchNorm2d) -> Layers:
    """Two 3x3 convolutions, the body of a residual branch (He et al. 2016, figure 5 left)."""
    return Layers(
        convolution(c_in, c_out, 3, stride, activation=nn.ReLU(), norm=norm), convolution(c_out, c_out, 3, norm=norm)
    )


def bottleneck_convolutions(c_in: int, c_out: int, stride: int = 1, norm: Norm = nn.BatchNorm2d) -> Layers:
    """1x1, 3x3 and 1x1 convolutions, the middle two narrowed by 4 (He et al. 2016, figure 5 right).

    The stride is in the 3x3 convolution, as in the widely used later version, not in the first 1x1 as in the paper.
    """
    middle = c_out // 4
    return Layers(
        convolution(c_in, middle, 1, activation=nn.ReLU(), norm=norm),
        convolution(middle, middle, 3, stride, activation=nn.ReLU(), norm=norm),
        convolution(middle, c_out, 1, norm=norm),
    )


class Subsample(nn.Module):
    """A shortcut without parameters: every ``stride``-th pixel, zeros for new channels (He et al. 2016, 4.1, A)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h/stride, w/stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.extra))
