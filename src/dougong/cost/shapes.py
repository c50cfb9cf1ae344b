"""The shapes that common operations give, so that tracing them costs microseconds.

torch works these out itself on the meta device, by Python code that first imports its compiler: over a second for
the first operation, and half a millisecond for each. A rule here takes the plain cases and gives None for any other,
which then goes torch's way. tests/cost holds every rule against the operation run for real.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations by name: "mm", or "add.Tensor" for one overload."""

    def register(function: Rule) -> Rule:
        for name in names:
            packet, _, overload = name.partition(".")
            if hasattr(aten, packet):
                RULES[getattr(getattr(aten, packet), overload or "default")] = function
        return function

    return register


def new(like: Tensor, shape: Any, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor."""
    return torch.empty(shape, dtype=dtype or like.dtype, device="meta")


def alike(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor of the same shape and order of axes, without holes."""
    strides, expected = [0] * x.dim(), 1
    for axis in sorted(range(x.dim()), key=lambda axis: (x.stride(axis), -axis)):
        strides[axis] = expected
        expected *= max(x.shape[axis], 1)
    return torch.empty_strided(x.shape, strides, dtype=dtype or x.dtype, device="meta")


def common_shape(*shapes: Any) -> tuple[int, ...]:
    """The shape that some are broadcast to."""
    sides = itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return tuple(max(side) if 0 not in side else 0 for side in sides)[::-1]


@rule(
    "tanh", "sigmoid", "gelu", "relu", "silu", "exp", "log", "neg", "rsqrt", "sqrt", "erf", "sin", "cos", "softplus",
    "mul.Scalar", "add.Scalar", "sub.Scalar", "div.Scalar", "pow.Tensor_Scalar", "_log_softmax", "_softmax",
    "_safe_softmax", "leaky_relu", "elu", "hardtanh",
)  # fmt: skip
def unary(x: Tensor, *rest: Any, **keywords: Any) -> Tensor | None:
    """One tensor to one like it."""
    if not x.is_floating_point() or keywords.get("dtype") not in (None, x.dtype):
        return None
    if any(isinstance(value, Tensor | complex) for value in rest):
        return None
    return alike(x)


@rule(
    "gelu_backward", "threshold_backward", "silu_backward", "tanh_backward", "sigmoid_backward",
    "_softmax_backward_data", "_log_softmax_backward_data", "leaky_relu_backward",
)  # fmt: skip
def unary_backward(gradient: Tensor, x: Tensor, *rest: Any, **keywords: Any) -> Tensor | None:
    """The gradient of one that went through such a function."""
    if (
        gradient.shape != x.shape
        or gradient.dtype != x.dtype
        or any(isinstance(r, torch.dtype) and r != x.dtype for r in rest)
    ):
        return None
    return alike(gradient)


@rule(
    "add_.Tensor", "sub_.Tensor", "mul_.Tensor", "div_.Tensor", "add_.Scalar", "mul_.Scalar", "div_.Scalar",
    "bernoulli_.float", "copy_", "zero_", "fill_.Scalar", "tanh_", "sigmoid_", "relu_", "masked_fill_.Scalar",
    "neg_", "sub_.Scalar", "addcmul_", "clamp_min_",
)  # fmt: skip
def in_place(x: Tensor, *rest: Any, **keywords: Any) -> Tensor:
    """The same tensor."""
    return x


@rule("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum", "minimum")
def binary(a: Any, b: Any, **keywords: Any) -> Tensor | None:
    """Two tensors, broadcast, or a tensor and a number."""
    if not isinstance(a, Tensor):
        return None
    if not isinstance(b, Tensor):
        plain = a.is_floating_point() or (
            a.dtype == torch.int64 and isinstance(b, int) and "rounding_mode" not in keywords
        )
        return alike(a) if plain and not isinstance(b, complex) else None
    if not a.is_floating_point() and not b.is_floating_point():
        return None
    return broadcast(a, b, torch.result_type(a, b))


@rule("eq.Tensor", "ne.Tensor", "lt.Tensor", "le.Tensor", "gt.Tensor", "ge.Tensor")
def comparison(a: Tensor, b: Tensor) -> Tensor | None:
    """Two tensors, broadcast, to true and false."""
    return broadcast(a, b, torch.bool)


def broadcast(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor | None:
    """An empty tensor of the common shape, laid out as the larger of the two."""
    shape = common_shape(a.shape, b.shape)
    if a.is_contiguous() and b.is_contiguous():
        return new(a, shape, dtype)
    first = a if a.shape == shape else b
    return alike(first, dtype) if first.shape == shape and 0 not in first.stride() else None


@rule("where.self")
def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor | None:
    """One or the other."""
    if a.dtype != b.dtype or not (condition.is_contiguous() and a.is_contiguous() and b.is_contiguous()):
        return None
    return new(a, common_shape(condition.shape, a.shape, b.shape))


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


@rule("sum.dim_IntList", "mean.dim")
def reduction(
    x: Tensor, dim: list[int] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor | None:
    """Some axes summed up."""
    if not dim or not (x.is_floating_point() or x.dtype == torch.bool):
        return None
    dtype = dtype or (torch.int64 if x.dtype == torch.bool else x.dtype)
    axes = {axis % x.dim() for axis in dim}
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keepdim or axis not in axes]
    return new(x, shape, dtype)


@rule("amax", "amin")
def extreme(x: Tensor, dim: list[int] = [], keepdim: bool = False) -> Tensor | None:  # noqa: B006
    """The largest or smallest along some axes."""
    return reduction(x, dim, keepdim) if x.is_floating_point() else None


@rule("sum")
def total(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor | None:
    """Everything summed up."""
    return new(x, (), dtype) if x.is_floating_point() else None


@rule("cat")
def cat(parts: list[Tensor], dim: int = 0) -> Tensor | None:
    """Tensors joined along an axis."""
    first = parts[0]
    if first.dim() > 3 and not all(part.is_contiguous() for part in parts):
        return None
    if any(part.dim() != first.dim() or part.dtype != first.dtype for part in parts):
        return None
    shape = list(first.shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return new(first, shape)


@rule("stack")
def stack(parts: list[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along a new axis."""
    shape = list(parts[0].shape)
    shape.insert(dim % (len(shape) + 1), len(parts))
    return new(parts[0], shape)


@rule("clone")
def clone(x: Tensor, *, memory_format: torch.memory_format = torch.preserve_format) -> Tensor | None:
    """A copy."""
    return (
        alike(x)
        if memory_format == torch.preserve_format
        else None
        if memory_format != torch.contiguous_format
        else new(x, x.shape)
    )


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
    """(B, C, ...) to (B, C', ...)."""
    if transposed or not x.is_contiguous() or not weight.is_contiguous():
        return None
    n = x.dim() - 2
    stride, padding, dilation = (value if len(value) == n else list(value) * n for value in (stride, padding, dilation))
    sides = [
        (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(n)
    ]
    return new(x, (x.shape[0], weight.shape[0], *sides))


@rule("convolution_backward")
def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *rest: Any
) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight and bias, where wanted."""
    wanted = rest[-1]
    return (
        alike(x) if wanted[0] else None,
        alike(weight) if wanted[1] else None,
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
    workspace = recurrent_workspace(x.shape[0], x.shape[1], x.shape[2], width) if train else 0
    return new(x, (x.shape[0], x.shape[1], width)), new(h, h.shape), new(c, c.shape), new(x, (workspace,), torch.uint8)


def recurrent_workspace(length: int, batch: int, d_input: int, width: int) -> int:
    """Bytes that oneDNN keeps for the backward pass of an LSTM layer, as measured with torch 2.13 on x86.

    Gates (4 H), states on both sides of each step, as wide as the wider of input and state, and a little more.
    """
    states = 6 * (length + 1) * max(d_input, width)
    return round(4 * batch * ((5.5 * length + 4.375) * width + states))


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


@rule("zeros", "ones", "full", "empty.memory_format")
def filled(shape: list[int], *rest: Any, dtype: torch.dtype | None = None, **keywords: Any) -> Tensor | None:
    """A tensor made from nothing."""
    if rest and dtype is None:
        return None
    return torch.empty(shape, dtype=dtype, device="meta") if keywords.get("device") == torch.device("meta") else None


@rule("zeros_like", "ones_like", "full_like", "empty_like", "rand_like")
def filled_like(x: Tensor, *rest: Any, **keywords: Any) -> Tensor | None:
    """One like another."""
    plain = {key: value for key, value in keywords.items() if value is not None and key != "pin_memory"}
    return alike(x) if plain in ({}, {"memory_format": torch.preserve_format}) else None


@rule("new_zeros", "new_ones", "new_full", "new_empty")
def filled_anew(x: Tensor, shape: list[int], *rest: Any, dtype: torch.dtype | None = None, **keywords: Any) -> Tensor:
    """A tensor of another's type."""
    return new(x, shape, dtype)


@rule("scalar_tensor")
def scalar(value: float, *, dtype: torch.dtype | None = None, **keywords: Any) -> Tensor | None:
    """One number."""
    return torch.empty((), dtype=dtype, device="meta") if dtype is not None else None


@rule("tril", "triu")
def triangle(x: Tensor, *rest: Any) -> Tensor | None:
    """One corner of a matrix."""
    return new(x, x.shape) if x.is_contiguous() else None


@rule("select_backward", "slice_backward")
def part_backward(gradient: Tensor, shape: list[int], *rest: Any) -> Tensor:
    """The gradient of what a part was taken from."""
    return new(gradient, shape)


@rule("_to_copy")
def converted(x: Tensor, *, dtype: torch.dtype | None = None, **keywords: Any) -> Tensor | None:
    """A copy in another type."""
    if dtype is None or any(keywords.get(key) is not None for key in ("layout", "device", "memory_format")):
        return None
    return alike(x, dtype)


@rule("arange", "arange.start")
def arange(*ends: Any, dtype: torch.dtype | None = None, **keywords: Any) -> Tensor | None:
    """Numbers from one to another."""
    if not all(isinstance(end, int) for end in ends) or keywords.get("device") != torch.device("meta"):
        return None
    return torch.empty(ends[-1] - (ends[0] if len(ends) > 1 else 0), dtype=dtype or torch.int64, device="meta")


@rule("arange.start_step")
def arange_by_step(start: Any, end: Any, step: Any = 1, **keywords: Any) -> Tensor | None:
    """Every so many numbers."""
    if not all(isinstance(value, int) for value in (start, end, step)) or step < 1:
        return None
    return arange(-((start - end) // step), **keywords)


@rule("pow.Scalar")
def power(base: float, x: Tensor) -> Tensor | None:
    """A number to the power of each."""
    return alike(x) if x.is_floating_point() else None


@rule("constant_pad_nd")
def padded(x: Tensor, pad: list[int], value: float = 0) -> Tensor | None:
    """Something put around a tensor."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return None
    shape = list(x.shape)
    for axis in range(len(pad) // 2):
        shape[-1 - axis] += pad[2 * axis] + pad[2 * axis + 1]
    return new(x, shape)
