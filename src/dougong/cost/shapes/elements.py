"""Functions of single elements, reductions, joining, copies, and tensors made from nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dougong.cost.shapes.rules import alike, common_shape, new, rule


@rule(
    "tanh", "sigmoid", "gelu", "relu", "silu", "exp", "log", "neg", "rsqrt", "sqrt", "erf", "sin", "cos", "softplus",
    "mul.Scalar", "add.Scalar", "sub.Scalar", "div.Scalar", "pow.Tensor_Scalar", "leaky_relu", "elu", "hardtanh",
)  # fmt: skip
def unary(x: Tensor, *rest: Any, **keywords: Any) -> Tensor | None:
    """One tensor to one like it."""
    if not x.is_floating_point() or keywords.get("dtype") not in (None, x.dtype):
        return None
    if any(isinstance(value, Tensor | complex) for value in rest):
        return None
    return alike(x)


@rule("_log_softmax", "_softmax", "_safe_softmax")
def softmax(x: Tensor, *rest: Any, **keywords: Any) -> Tensor | None:
    """One tensor to one like it."""
    return unary(x, *rest, **keywords) if x.is_contiguous() else None


@rule(
    "gelu_backward", "threshold_backward", "silu_backward", "tanh_backward", "sigmoid_backward",
    "_softmax_backward_data", "_log_softmax_backward_data", "leaky_relu_backward",
)  # fmt: skip
def unary_backward(gradient: Tensor, x: Tensor, *rest: Any, **keywords: Any) -> Tensor | None:
    """The gradient of one that went through such a function."""
    if (
        gradient.shape != x.shape
        or gradient.stride() != x.stride()  # which of two layouts it takes depends on the function
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
