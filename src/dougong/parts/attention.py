"""Multi-head attention: plain, grouped, multi-query and cross, on torch's fused kernel.

Attention(Q, K, V) = softmax(Q K^T / sqrt(K)) V (Vaswani et al. 2017, section 3.2). The kernel never writes its
weights down, but to learn from short rows (`scaled_dot_product`). Who wants to see them asks for them: ``weights``
recomputes them from the same queries and keys, for the heads and rows wanted, and ``mix`` shows that they give the
layer's output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.parts.cache import Cache
from dougong.parts.context import Context
from dougong.parts.masks import OPEN, Begun, Causal, Mask, Padding, has_table, looks_ahead, reach
from dougong.parts.scaled_dot_product import add_mask, attend
from dougong.parts.segments import Segments

EMPTY = Context()


@dataclass(frozen=True, eq=False)
class Reading:
    """What keys and values are made of, when it is not the layer's own input.

    Args:
        x: (B, S, D), or packed (T, D) with its segments.
        segments: where each sequence of a packed x ends.
        mask: what may be attended to in it.
        shift: (S, D), (B, S, D) or (T, D) added where keys are made of it.
        bias: (B, H, L, S) added to the scores.
        grid: (h', w') of x, where it lies on a grid that was made of the queries'.
        stride: rows, and columns, of the queries' grid that became one of it.
    """

    x: Tensor
    segments: Segments | None = None
    mask: Mask = OPEN
    shift: Tensor | None = None
    bias: Tensor | None = None
    grid: tuple[int, int] | None = None
    stride: int = 1


class Memory(nn.Module):
    """The source of cross-attention: the encoder's hidden states (Vaswani et al. 2017, section 3.2.3).

    A source is called as ``source(x, context)`` and gives a `Reading`; other kinds may make it of x itself.
    """

    def forward(self, x: Tensor, context: Context) -> Reading:
        """The context's memory; x is not looked at.

        Raises:
            ValueError: the context has none.
        """
        if context.memory is None:
            raise ValueError("cross-attention needs a memory in its context")
        return Reading(
            context.memory, context.memory_segments, context.memory_mask, context.memory_shift, context.memory_bias
        )


class Attention(nn.Module):
    """Attention assembled from built parts; fewer key heads than query heads make it grouped or multi-query.

    A query that a mask leaves nothing to attend to mixes nothing: zeros go into the output projection.

    Args:
        query: module, (..., D) to (..., H * K). With its own norm in front: SASRec's query-only norm.
        key: module, (..., D) to (..., G * K).
        value: module, (..., D) to (..., G * K).
        output: module, (..., H * K) to (..., D).
        n_heads: H, query heads.
        n_kv_heads: G, key and value heads, a divisor of H (Ainslie et al. 2023, section 2.2); H by default.
        mask: what a query may attend to in every pass, beside what the context says.
        source: module that says what keys and values are made of; x by default. `Memory` makes it cross-attention.
            The mask, rotation and bias relate places of x to each other, so they have no say over another source.
        dropout: of the weights, in training.
        scale: of the scores; 1 / sqrt(K) by default.
        heads: module with ``(query, key) -> (query, key)``, each (..., heads, K), applied before rotation (Qwen3).
        scores: module applied to the scores before masking and softmax (Gemma 2's soft cap); takes the slow path.

    Raises:
        ValueError: ``n_kv_heads`` does not divide ``n_heads``.
    """

    def __init__(
        self,
        query: nn.Module,
        key: nn.Module,
        value: nn.Module,
        output: nn.Module,
        n_heads: int,
        n_kv_heads: int | None = None,
        *,
        mask: Mask = OPEN,
        source: nn.Module | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
        heads: nn.Module | None = None,
        scores: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = query, key, value, output
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_kv_heads} key heads do not divide {n_heads} query heads")
        self.mask, self.source, self.dropout, self.scale = mask, source, dropout, scale
        self.heads, self.scores = heads, scores

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        """(B, L, D), or packed (T, D) with the context's segments, to the same; or to what the context wants of it."""
        query, key, value, reading = self._project(x, context)
        return self.output(self._attend(query, key, value, reading, context).flatten(-2))

    @property
    def cross(self) -> bool:
        """Whether keys and values are made of something else than x."""
        return self.source is not None

    def weights(
        self, x: Tensor, context: Context = EMPTY, heads: Sequence[int] | None = None, rows: Sequence[int] | None = None
    ) -> Tensor:
        """The weights of the fused kernel, recomputed from the same queries and keys: (B, h, l, S), at least float32.

        Args:
            x: what the layer was given; packed batches come back padded.
            context: what it was given with.
            heads: query heads wanted; all by default.
            rows: query positions wanted; all by default.

        Raises:
            ValueError: with a cache, whose past keys are rotated and mixed already; ask a pass over the whole sequence.
        """
        if context.cache is not None:
            raise ValueError("attention weights are recomputed from a whole sequence: run it without a cache")
        query, key, _, reading = self._project(x, context)
        query, key, mask = self._dense(query, key, reading, context)
        length, keys = query.shape[1], key.shape[1]
        chosen = list(range(self.n_heads)) if heads is None else list(heads)
        group = self.n_heads // self.n_kv_heads
        wide = torch.promote_types(query.dtype, torch.float32)
        q = query[:, :, chosen].transpose(1, 2).to(wide)
        k = key[:, :, [head // group for head in chosen]].transpose(1, 2).to(wide)
        places: Any = slice(None) if rows is None else list(rows)
        bias = context.bias if reading is None else reading.bias
        bias = bias[..., chosen, :length, :][..., places, :keys] if bias is not None else None
        allowed = None
        if not mask.is_open(length, keys, 0):
            allowed = mask.dense(length, keys, 0, query.device)[..., places, :]
            allowed = allowed[:, chosen] if allowed.dim() == 4 and allowed.shape[1] == self.n_heads > 1 else allowed
        return self._softmax(q[:, :, places], k, bias, allowed)

    def mix(self, weights: Tensor, x: Tensor, context: Context = EMPTY) -> Tensor:
        """The layer's output from given weights (B, H, L, S) of all heads and rows: (B, L, D), padding restored."""
        query, _, value, reading = self._project(x, context)
        value = self._dense(query, value, reading, context)[1]
        value = value.repeat_interleave(self.n_heads // self.n_kv_heads, 2).transpose(1, 2)
        mixed = weights @ value.to(weights.dtype)
        return self.output(mixed.transpose(1, 2).flatten(-2).to(value.dtype))

    def _project(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor, Reading | None]:
        """Queries (..., L, H, K), keys and values (..., S, G, K), rotated, without the cache's past; and the source."""
        asking = context.wanted(x if context.shift is None else x + context.shift)
        query = self.query(asking).unflatten(-1, (self.n_heads, -1))
        key, value, reading = self._keys(x, context)
        if self.heads is not None:
            query, key = self.heads(query, key)
        if context.rotation is not None and reading is None:
            query, key = context.rotation.of(context.wanted).apply(query), context.rotation.apply(key)
        return query, key, value, reading

    def _keys(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor, Reading | None]:
        """Keys and values as they are projected, and what they are made of; a memory's are made once and kept."""
        cache = context.cache
        if self.source is not None and cache is not None:
            kept = cache.recall(self)
            if kept is not None:
                mask = OPEN if cache.memory_lengths is None else Padding(cache.memory_lengths)
                return *kept, Reading(kept[0], mask=mask)
        reading = None if self.source is None else self.source(x, context)
        source, shift = (x, context.shift) if reading is None else (reading.x, reading.shift)
        key, value = self.key(source if shift is None else source + shift), self.value(source)
        key, value = (side.unflatten(-1, (self.n_kv_heads, -1)) for side in (key, value))
        if reading is None or cache is None:
            return key, value, reading
        if not isinstance(self.source, Memory) or reading.mask != OPEN:
            raise ValueError("only a memory without a mask of its own goes with a cache")
        lengths = None
        if reading.segments is not None:
            key, value = reading.segments.restore(key), reading.segments.restore(value)
            lengths = reading.segments.padded_lengths
        cache.remember(self, key, value, lengths)
        return key, value, Reading(key, mask=OPEN if lengths is None else Padding(lengths))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, reading: Reading | None, context: Context) -> Tensor:
        """Mixed values, (..., L, H, K) as the queries are laid out."""
        segments = context.segments
        if reading is not None:
            query, key, mask = self._dense(query, key, reading, context)
            value = value if reading.segments is None else reading.segments.restore(value)
            mixed = self._kernel(query, key.transpose(1, 2), value.transpose(1, 2), mask, reading.bias, context, past=0)
            return mixed if segments is None else segments.strip(mixed)
        mask = context.mask & self.mask
        if segments is None:
            if context.lengths is not None:
                mask = mask & Padding(context.lengths)
            key, value = key.transpose(1, 2), value.transpose(1, 2)
            bias = context.bias
            if context.cache is not None:
                key, value = self._extend(key, value, mask, context.cache)
                mask = mask & self._begun(key.shape[2], query.shape[1], context)
                bias = None if bias is None else bias[:, :, bias.shape[2] - key.shape[2] :]
            # keys that a window has left behind are gone, so places count from the first that is there
            past = key.shape[2] - query.shape[1] if context.cache is not None or context.only else 0
            bias = None if bias is None else context.wanted(bias)
            return self._kernel(query, key, value, mask, bias, context, past)
        if context.cache is not None:
            ends = [segments.restore(side, at_end=True).transpose(1, 2) for side in (key, value)]
            self._extend(ends[0], ends[1], mask, context.cache)
        groups, asked = [], 0
        for start, count, length in segments.groups:
            end, asking = start + count * length, length if context.only is None else 1
            k, v = (side[start:end].unflatten(0, (count, length)) for side in (key, value))
            q = query[asked : asked + count * asking].unflatten(0, (count, asking))
            asked += count * asking
            past = length - 1 if context.only else 0
            bias = None if context.bias is None else context.bias[:, past : past + asking, :length]
            mixed = self._kernel(q, k.transpose(1, 2), v.transpose(1, 2), mask, bias, context, past)
            groups.append(mixed.flatten(0, 1))
        return torch.cat(groups)

    def _extend(self, key: Tensor, value: Tensor, mask: Mask, cache: Cache) -> tuple[Tensor, Tensor]:
        """New keys and values (B, G, L, K) go into the cache: those that the new tokens may see."""
        if looks_ahead(mask):
            raise ValueError("attention that looks ahead cannot go on from a cache: give it a causal mask")
        return cache.extend(self, key, value, reach(mask))

    @staticmethod
    def _begun(keys: int, new: int, context: Context) -> Mask:
        """Where rows of a cache begin, counted from the first of its ``keys`` newest tokens; one for all layers."""
        assert context.cache is not None
        starts = context.cache.starts
        if starts is None:
            return OPEN
        asked = ("begun", keys)
        if asked not in context.shared:
            gone = context.cache.length + new - keys
            context.shared[asked] = Begun(starts - gone)
        return context.shared[asked]

    def _dense(
        self, query: Tensor, other: Tensor, reading: Reading | None, context: Context
    ) -> tuple[Tensor, Tensor, Mask]:
        """Queries and keys (or values) with padding restored, and the mask that then holds."""
        if context.segments is not None:
            query = context.segments.restore(query)
        if reading is not None:
            mask, layout = reading.mask, reading.segments
        else:
            mask, layout = context.mask & self.mask, context.segments
        if layout is not None:
            other, mask = layout.restore(other), mask & Padding(layout.padded_lengths)
        elif context.lengths is not None and reading is None:
            mask = mask & Padding(context.lengths)
        return query, other, mask

    def _kernel(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, bias: Tensor | None, context: Context, past: int
    ) -> Tensor:
        """Queries (B, L, H, K), keys and values (B, G, S, K): mixed values (B, L, H, K)."""
        length, keys = query.shape[1], key.shape[2]
        query = query.transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        if self.scores is not None:
            allowed = None if mask.is_open(length, keys, past) else mask.dense(length, keys, past, query.device)
            group = self.n_heads // self.n_kv_heads
            weights = self._softmax(query, key.repeat_interleave(group, 1), bias, allowed).to(query.dtype)
            weights = nn.functional.dropout(weights, dropout)
            return (weights @ value.repeat_interleave(group, 1)).transpose(1, 2)
        causal, table, blind = self._arguments(length, keys, past, mask, bias, query, context)
        grouped = self.n_kv_heads != self.n_heads
        mixed = attend(query, key, value, table, dropout, causal, scale=self.scale, enable_gqa=grouped)
        return (mixed if blind is None else mixed.masked_fill(blind, 0)).transpose(1, 2)

    @staticmethod
    def _arguments(
        length: int, keys: int, past: int, mask: Mask, bias: Tensor | None, like: Tensor, context: Context
    ) -> tuple[bool, Tensor | None, Tensor | None]:
        """Whether the kernel's own causal path will do, else the table of what it may attend to or adds; blind rows."""
        kinds = [part for part in mask.parts() if not part.is_open(length, keys, past)]
        if bias is None and not kinds:
            return False, None, None
        if bias is None and kinds == [Causal()] and length == keys:
            return True, None, None
        sizes: tuple[Any, ...] = (length, keys, past)
        if torch.compiler.is_exporting():  # lengths left open have a name and no number
            sizes = tuple(map(str, sizes))
        of_memory = bias is not None and bias is context.memory_bias
        asked = (mask, *sizes, bias is None, of_memory)  # layers of one pass ask the same
        if asked not in context.shared:
            table = blind = None
            if kinds:
                table = mask.dense(length, keys, past, like.device)
                if has_table(mask):  # a given table can leave a query nothing, which the kernels answer with NaN
                    blind = ~table.any(-1, keepdim=True)
                    table = table | blind
            table = table if bias is None else add_mask(bias.to(like.dtype), table)
            context.shared[asked] = table, blind
        return False, *context.shared[asked]

    def _softmax(self, query: Tensor, key: Tensor, bias: Tensor | None, allowed: Tensor | None) -> Tensor:
        """softmax(Q K^T * scale + bias) over what is allowed, for (B, h, l, K) and (B, h, S, K); blind rows give 0."""
        scale = self.scale if self.scale is not None else 1 / math.sqrt(query.shape[-1])
        scores = (query @ key.transpose(-1, -2)) * scale
        if self.scores is not None:
            scores = self.scores(scores)
        wide = torch.promote_types(scores.dtype, torch.float32)
        scores = scores.to(wide) if bias is None else scores.to(wide) + bias
        if allowed is None:
            return scores.softmax(-1)
        blind = ~allowed.any(-1, keepdim=True)
        return add_mask(scores, allowed | blind).softmax(-1).masked_fill(blind, 0)


class SoftCap(nn.Module):
    """Scores kept within ±cap: cap * tanh(scores / cap) (Gemma 2, Riviere et al. 2024, section 2)."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, scores: Tensor) -> Tensor:
        """Any shape to the same."""
        return self.cap * torch.tanh(scores / self.cap)


class NormalisedHeads(nn.Module):
    """Queries and keys normalised head by head before rotation (Qwen3; Dehghani et al. 2023, section 2).

    Args:
        query: norm over K for the queries.
        key: norm over K for the keys.
    """

    def __init__(self, query: nn.Module, key: nn.Module) -> None:
        super().__init__()
        self.query, self.key = query, key

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """(..., H, K) and (..., G, K) to the same."""
        return self.query(query), self.key(key)


def multi_head_attention(
    d_model: int,
    n_heads: int,
    n_kv_heads: int | None = None,
    *,
    d_head: int | None = None,
    d_memory: int | None = None,
    bias: bool = True,
    **slots: Any,
) -> Attention:
    """Attention with linear projections.

    Args:
        d_model: D.
        n_heads: H.
        n_kv_heads: G; H by default.
        d_head: K; D / H by default.
        d_memory: width of the memory that cross-attention reads; D by default.
        bias: whether the projections have one.
        slots: the further arguments of `Attention`.

    Raises:
        ValueError: D is no multiple of H and ``d_head`` is not given.
    """
    if d_head is None and d_model % n_heads:
        raise ValueError(f"width {d_model} does not divide into {n_heads} heads")
    width, source = d_head or d_model // n_heads, d_memory or d_model
    groups = n_kv_heads or n_heads
    return Attention(
        nn.Linear(d_model, n_heads * width, bias),
        nn.Linear(source, groups * width, bias),
        nn.Linear(source, groups * width, bias),
        nn.Linear(n_heads * width, d_model, bias),
        n_heads,
        groups,
        **slots,
    )
