"""softmax(Q K^T * scale) V: by torch's fused kernel, or by two products where that kernel is slow.

The kernel keeps nothing of the size of the weights. What it saves is little where rows are short, and on the CPU its
backward pass in half precision is slow there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

SHORT = 128
"""Keys up to which torch's kernel for the CPU learns in bfloat16 more slowly than by products: with 16 keys it takes
11 times as long, with 64 four times, with 128 one and a half; forward and backward on Zen 4."""


def short(query: Tensor, key: Tensor) -> bool:
    """Whether scores of these are written down where they run on the CPU. Args: as for `attend`."""
    learns = torch.is_grad_enabled() and query.requires_grad and not torch.compiler.is_compiling()
    return learns and query.dtype == torch.bfloat16 and key.shape[-2] <= SHORT


def attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """`torch.nn.functional.scaled_dot_product_attention`, and its arguments; by two products where rows are `short`."""
    if query.device.type == "cpu" and short(query, key):
        return by_products(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal, scale=scale,
        enable_gqa=enable_gqa,
    )  # fmt: skip


def by_products(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """`attend` with its weights written down, in float32 at least until they mix."""
    if enable_gqa:
        group = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    products = query @ key.transpose(-1, -2)
    wide = torch.promote_types(products.dtype, torch.float32)
    scores = products.to(wide) * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = add_mask(scores, attn_mask) if attn_mask.dtype == torch.bool else scores + attn_mask
    return nn.functional.dropout(scores.softmax(-1).to(value.dtype), dropout_p) @ value


def add_mask(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Scores with minus infinity where attending is not allowed."""
    return scores if allowed is None else scores.masked_fill(~allowed, -math.inf)
