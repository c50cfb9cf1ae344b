"""A stack: blocks in order. It owns the positions, and strips padding once at its entrance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from dougong.frames.branch import Block
from dougong.parts.cache import Cache
from dougong.parts.context import Context
from dougong.parts.masks import OPEN, Mask, Padding, has_table
from dougong.parts.positions import Places, Positions
from dougong.parts.segments import Segments, check_lengths, real_tokens


class Stack(nn.Module):
    """Blocks on a stream of tokens, (B, L, D) to (B, L, D).

    When ``lengths`` says that some rows are padded, the blocks see the real tokens only, (T, D). Padding stays, and is
    masked, where a given mask table needs tokens in their places, and while a model is exported or compiled.

    Args:
        blocks: modules with ``(x, context)``.
        positions: one part, or one for each kind of block, by kind.
        before: module on the embeddings once positions are added (norm, dropout).
        after: module at the end (the final norm of pre-norm stacks).
        memory_positions: of the memory, added to it where cross-attention makes keys of it (DETR).
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        *,
        positions: Positions | Mapping[str, Positions] | None = None,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
        memory_positions: Positions | None = None,
    ) -> None:
        super().__init__()
        by_kind = positions if isinstance(positions, Mapping) else {"": positions or Positions()}
        self.positions = nn.ModuleDict({kind or "all": part for kind, part in by_kind.items()})
        self.before, self.blocks, self.after = before or nn.Identity(), nn.ModuleList(blocks), after or nn.Identity()
        self.memory_positions = memory_positions
        unknown = {getattr(block, "kind", "") for block in self.blocks} - set(by_kind) if "" not in by_kind else set()
        if unknown:
            raise ValueError(f"blocks of kind {sorted(unknown)} have no positions; there are {sorted(by_kind)}")

    def forward(
        self,
        x: Tensor,
        *,
        lengths: Tensor | None = None,
        mask: Mask = OPEN,
        memory: Tensor | None = None,
        memory_lengths: Tensor | None = None,
        memory_mask: Mask = OPEN,
        cache: Cache | None = None,
        grid: tuple[int, int] | None = None,
        prefix: int = 0,
        sizes: Tensor | None = None,
        layers: list[Tensor] | None = None,
        only: int | None = None,
    ) -> Tensor:
        """(B, L, D) to (B, L, D); zeros where padding was.

        Args:
            x: embeddings.
            lengths: (B,) real tokens of each row; None when all are.
            mask: what a query may attend to, beside what each attention says itself.
            memory: (B, S, D) for cross-attention.
            memory_lengths: (B,) real tokens of each row of the memory.
            memory_mask: what may be attended to in the memory.
            cache: of the tokens before x; x holds new tokens only, padded in the first pass at most.
            grid: (h, w) of a picture.
            prefix: tokens before its first patch.
            sizes: (B, 2) rows and columns of each picture, where some fill less than the grid.
            layers: gets what each block gives, (B, L, D), for those that are judged by it too; of rows without padding.
            only: the one token of each sequence that is wanted, 0 the first or -1 the last: (B, 1, D) comes back, and
                the last block answers no others where it can do without.

        Raises:
            ValueError: lengths that do not fit, or lengths with a cache that holds tokens already.
        """
        if cache is not None and lengths is not None and cache.length:
            raise ValueError("lengths go with the first pass of a cache; after it, every row has as many new tokens")
        segments, lengths = self._segments(lengths, x, mask)
        if cache is not None and lengths is not None:
            raise ValueError("a cache cannot begin with padding that stays in its place")
        memory_segments = None
        if memory is not None and memory_lengths is not None:
            memory_segments, dense_lengths = self._segments(memory_lengths, memory, memory_mask)
            memory = memory if memory_segments is None else memory_segments.strip(memory)
            memory_mask = memory_mask if dense_lengths is None else memory_mask & Padding(dense_lengths)
        context = Context(
            mask=mask, segments=segments, lengths=lengths, memory=memory, memory_segments=memory_segments,
            memory_mask=memory_mask, cache=cache, grid=grid, prefix=prefix, sizes=sizes,
        )  # fmt: skip
        places, keys = self._places(x, context)
        if segments is not None:
            x = segments.strip(x)
        for part in self.positions.values():
            assert isinstance(part, Positions)
            added = part.embedding(places)
            x = x if added is None else x + added.to(x.dtype)
        x = self.before(x)
        contexts = {kind: self._placed(context, part, places, keys, x.dtype) for kind, part in self.positions.items()}
        whole = only is None or layers is not None or lengths is not None or has_table(mask)
        narrow = not whole and (cache is None or only != 0) and self._may_narrow()
        for number, block in enumerate(self.blocks):
            kind = getattr(block, "kind", "") or "all"
            given = contexts.get(kind) or contexts["all"]
            x = block(x, replace(given, only=only) if narrow and number == len(self.blocks) - 1 else given)
            if layers is not None:
                layers.append(x)
        x = self.after(x)
        if cache is not None:
            cache.advance(keys.shape[0] - context.past, segments.starts if segments is not None else None)
        if only is not None:
            if lengths is not None and only:
                return x[torch.arange(len(x), device=x.device), lengths.to(x.device) - 1][:, None]
            x = x if narrow else replace(context, only=only).wanted(x)
            return x if segments is None else x.new_empty(x.shape).index_copy(0, segments.order, x)[:, None]
        if segments is not None:
            return segments.restore(x)
        return x if lengths is None else x.masked_fill(~real_tokens(lengths, x.shape[1]), 0)

    def _may_narrow(self) -> bool:
        """Whether the last block can answer one token alone; not while somebody watches what the whole gives."""
        last = self.blocks[-1] if len(self.blocks) else None
        if not isinstance(last, Block) or torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return False
        return last.may_narrow and not any(part._forward_hooks or part._forward_pre_hooks for part in last.modules())

    @staticmethod
    def _segments(lengths: Tensor | None, x: Tensor, mask: Mask) -> tuple[Segments | None, Tensor | None]:
        """The packed layout, or the lengths where padding has to stay, or neither where nothing is padded."""
        if lengths is None:
            return None, None
        batch, length = x.shape[:2]
        if lengths.dim() == 1 and lengths.shape[0] != batch:
            raise ValueError(f"{len(lengths)} lengths for {batch} sequences: give one for each")
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return None, lengths
        if has_table(mask):
            return None, lengths if min(check_lengths(lengths, length)) < length else None
        return Segments.of(lengths, length), None

    def _places(self, x: Tensor, context: Context) -> tuple[Places, Tensor]:
        """Where the tokens stand, and the positions (S,) of all keys."""
        past = context.past
        end = past + x.shape[1]
        keys = torch.arange(end, device=x.device)
        if context.segments is not None:
            index = context.segments.index
        elif context.cache is not None and context.cache.starts is not None:
            index = keys[past:] - context.cache.starts[:, None]
        else:
            index = keys[past:]
        return Places(index, end, context.grid, context.prefix, context.sizes), keys

    def _placed(self, context: Context, part: nn.Module, places: Places, keys: Tensor, dtype: torch.dtype) -> Context:
        """The context with what one position part says, computed once for all layers."""
        assert isinstance(part, Positions)
        shift, memory_shift = part.shift(places), None
        if context.memory is not None and self.memory_positions is not None:
            memory_shift = self._memory_shift(context)
        return replace(
            context,
            shift=None if shift is None else shift.to(dtype),
            memory_shift=None if memory_shift is None else memory_shift.to(dtype),
            rotation=part.rotation(places),
            bias=part.bias(keys[context.past :], keys),
            shared={},
        )

    def _memory_shift(self, context: Context) -> Tensor | None:
        assert context.memory is not None and self.memory_positions is not None
        if context.memory_segments is not None:
            index, end = context.memory_segments.index, context.memory_segments.length
        else:
            end = context.memory.shape[1]
            index = torch.arange(end, device=context.memory.device)
        return self.memory_positions.shift(Places(index, end, context.grid, context.prefix, context.sizes))
