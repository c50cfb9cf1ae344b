"""Products, tables, normalisation, convolution, attention, recurrence, pooling and the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dougong.cost.shapes.rules import alike, new, rule


@rule("mm")
def mm(a: Tensor, b: Tensor) -> Tensor:
    """(N, K) by (K, M)."""
    return new(a, (a.shape[0], b.shape[1]))


@rule("addmm")
def addmm(added: Tensor, a: Tensor, b: Tensor, **keywords: Any) -> Tensor:
    """(N, K) by (K, M), something added."""
    return new(a, (a.shape[0], b.shape[1]))


@rule("bmm")
def bmm(a: Tensor, b: Tensor) -> Tensor:
    """(B, N, K) by (B, K, M)."""
    return new(a, (a.shape[0], a.shape[1], b.shape[2]))


@rule("embedding")
def embedding(table: Tensor, rows: Tensor, *rest: Any) -> Tensor:
    """Rows (...) of a table (V, D)."""
    return new(table, (*rows.shape, table.shape[1]))


@rule("embedding_dense_backward")
def embedding_backward(gradient: Tensor, rows: Tensor, n_rows: int, *rest: Any) -> Tensor:
    """The gradient of the whole table."""
    return new(gradient, (n_rows, gradient.shape[-1]))


@rule("index_select")
def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Some places of an axis."""
    shape = list(x.shape)
    shape[dim] = index.numel()
    return new(x, shape)


@rule("native_layer_norm")
def layer_norm(x: Tensor, shape: list[int], weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised, and the mean and rate of each row."""
    rows = (*x.shape[: x.dim() - len(shape)], *[1] * len(shape))
    wide = (
        torch.float32
        if x.dtype in (torch.float16, torch.bfloat16) and (weight is None or weight.dtype != x.dtype)
        else x.dtype
    )
    return new(x, x.shape), new(x, rows, wide), new(x, rows, wide)


@rule("native_layer_norm_backward")
def layer_norm_backward(
    gradient: Tensor,
    x: Tensor,
    shape: list[int],
    mean: Tensor,
    rate: Tensor,
    weight: Any,
    bias: Any,
    wanted: list[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight and bias, where wanted."""
    return (
        new(x, x.shape) if wanted[0] else None,
        new(weight, weight.shape) if wanted[1] and weight is not None else None,
        new(bias, bias.shape) if wanted[2] and bias is not None else None,
    )


@rule("native_batch_norm")
def batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised, and in training the mean and rate of each channel."""
    channels = (x.shape[1],) if training else (0,)
    return alike(x), new(x, channels), new(x, channels)


@rule("native_batch_norm_backward")
def batch_norm_backward(
    gradient: Tensor, x: Tensor, weight: Tensor | None, *rest: Any
) -> tuple[Tensor | None, ...] | None:
    """Gradients of x, weight and bias, where wanted."""
    wanted = rest[-1]
    if weight is None:
        return None
    side = (x.shape[1],)
    return (
        alike(x) if wanted[0] else None,
        new(weight, side) if wanted[1] else None,
        new(weight, side) if wanted[2] else None,
    )


@rule("convolution")
def convolution(
    x: Tensor, weight: Tensor, bias: Any, stride: list[int], padding: list[int], dilation: list[int],
    transposed: bool, output_padding: list[int], groups: int,
) -> Tensor | None:  # fmt: skip
    """(B, C, ...) to (B, C', ...), laid out as x is: channel by channel, or pixel by pixel."""
    if transposed or not (x.is_contiguous() or by_pixel(x)) or not weight.is_contiguous():
        return None
    n = x.dim() - 2
    stride, padding, dilation = (value if len(value) == n else list(value) * n for value in (stride, padding, dilation))
    sides = [
        (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(n)
    ]
    out = new(x, (x.shape[0], weight.shape[0], *sides))
    return out.contiguous(memory_format=torch.channels_last) if by_pixel(x) else out


def by_pixel(x: Tensor) -> bool:
    """Whether maps (B, C, h, w) lie pixel by pixel, all channels of one side by side, and not the other way."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


@rule("convolution_backward")
def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *rest: Any
) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight and bias, where wanted, laid out as x is."""
    wanted = rest[-1]
    kernel = weight.contiguous(memory_format=torch.channels_last) if by_pixel(x) else alike(weight)
    return (
        alike(x) if wanted[0] else None,
        kernel if wanted[1] else None,
        new(weight, (gradient.shape[1],)) if wanted[2] else None,
    )


@rule("_scaled_dot_product_flash_attention_for_cpu")
def attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **keywords: Any) -> tuple[Tensor, Tensor]:
    """Mixed values (B, H, L, K) and the logarithm of each row's sum."""
    batch, heads, length, _ = query.shape
    mixed = new(query, (batch, length, heads, value.shape[-1])).transpose(1, 2)
    wide = torch.promote_types(query.dtype, torch.float32)
    return mixed, new(query, (batch, length, heads), wide).transpose(1, 2)


@rule("_scaled_dot_product_flash_attention_for_cpu_backward")
def attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **keywords: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values, each laid out a token at a time."""
    query, key, value = (new(side, side.transpose(1, 2).shape).transpose(1, 2) for side in (query, key, value))
    return query, key, value


@rule("mkldnn_rnn_layer")
def recurrent(
    x: Tensor, from_input: Tensor, from_state: Tensor, b1: Tensor, b2: Tensor, h: Tensor, c: Tensor, reverse: bool,
    sizes: list[int], mode: int, width: int, layers: int, has_biases: bool, both: bool, batch_first: bool, train: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Outputs (L, B, H), the last states, and in training oneDNN's workspace."""
    answers = new(x, (x.shape[0], x.shape[1], width)), new(h, h.shape), new(c, c.shape)
    if not train:
        return (*answers, new(x, (0,), torch.uint8))
    return (*answers, new(x, (recurrent_workspace(x.shape[0], x.shape[1], x.shape[2], width),), torch.uint8))


def recurrent_workspace(length: int, batch: int, d_input: int, width: int) -> int:
    """Bytes that oneDNN keeps for the backward pass of an LSTM layer in float32, found by trying (torch 2.13, x86).

    Gates (4 H a step); three tables of states as wide as the wider of input and state, and two as wide as the state,
    with a place before the first step, in two layers; outputs. Rows are padded to a cache line, tables to a page.
    """
    states = 2 * (length + 1) * batch
    tables = [
        length * batch * padded_row(4 * width),
        *[states * padded_row(max(d_input, width))] * 3,
        *[states * width] * 2,
        length * batch * padded_row(width),
    ]
    return sum(-(-4 * elements // PAGE) * PAGE for elements in tables)


PAGE = 4096


def padded_row(width: int) -> int:
    """Elements of a row padded to 64 bytes; to 64 more where rows would otherwise fall on each other in the cache."""
    padded = -(-width // 16) * 16
    return padded + 16 if padded % 256 == 0 else padded


@rule("mkldnn_rnn_layer_backward")
def recurrent_backward(
    x: Tensor, from_input: Tensor, from_state: Tensor, b1: Tensor, b2: Tensor, h: Tensor, c: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    """The gradient of each of them."""
    return tuple(new(each, each.shape) for each in (x, from_input, from_state, b1, b2, h, c))


@rule("max_pool2d_with_indices_backward")
def pool_backward(gradient: Tensor, x: Tensor, *rest: Any) -> Tensor:
    """The gradient of a map."""
    return alike(x)


@rule("max_pool2d_with_indices")
def pool(
    x: Tensor, kernel: list[int], stride: list[int] = [], padding: list[int] = [0, 0],  # noqa: B006
    dilation: list[int] = [1, 1], ceil: bool = False,  # noqa: B006
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """The largest of each window, and where it stood."""
    if ceil or not x.is_contiguous() or len(kernel) != 2 or (stride and len(stride) != 2):
        return None
    stride, padding, dilation = (
        stride or kernel,
        list(padding) * (3 - len(padding)),
        list(dilation) * (3 - len(dilation)),
    )
    sides = [(x.shape[i - 2] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    shape = (*x.shape[:-2], *sides)
    return new(x, shape), new(x, shape, torch.int64)


@rule("nll_loss_forward")
def nll_loss(
    scores: Tensor, targets: Tensor, weight: Any, reduction: int, ignored: int
) -> tuple[Tensor, Tensor] | None:
    """The loss, and the weight of all samples together."""
    return (new(scores, ()), new(scores, ())) if reduction == 1 else None


@rule("nll_loss_backward")
def nll_loss_backward(gradient: Tensor, scores: Tensor, *rest: Any) -> Tensor:
    """The gradient of the scores."""
    return new(scores, scores.shape)
