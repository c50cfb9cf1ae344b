"""The operations of a decoder's step: its parts are walked once, and each becomes a few operations of step.cpp.

What is known are the parts that decoders of today are made of; a model with any other part is refused by name. Nothing
is decided by a model's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.frames.branch import Add, Block, Branch, Replace
from dougong.frames.encoder_decoder import EncoderDecoder
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.language import Capped, Project, Tied
from dougong.parts.attention import Attention, Memory, NormalisedHeads, SoftCap
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.experts import Experts
from dougong.parts.feedforward import Activation, FeedForward, GatedFeedForward
from dougong.parts.masks import Causal, Window, reach
from dougong.parts.norms import LayerNorm, RMSNorm
from dougong.parts.positions import ALiBi, Places, Positions, RelativeBuckets
from dougong.parts.recurrence import Recurrence
from dougong.runtime.native.compiling import TYPES
from dougong.runtime.quantised import KIND, Codes, Quantised, QuantisedEmbedding, QuantisedExperts, QuantisedHead

# Kinds of operation and of activation, as in step.cpp.
EMBED, PLACE, RMS, LAYER, LINEAR, ATTEND, ACTIVATE, GATE, ADD, CAP, CROSS, CHOOSE, MIX, CELL = range(14)
ACTIVATIONS = {"relu": 1, "gelu": 2, "gelu_tanh": 3, "gelu_quick": 4, "silu": 5, "tanh": 6, "sigmoid": 7}

CELLS: dict[type, int] = {nn.RNN: 0, nn.GRU: 1, nn.LSTM: 2}


class NotCaptured(Exception):
    """The model has a part that no operation stands for."""


@dataclass
class Buffer:
    """What an operation reads or writes.

    Args:
        number: which one it is.
        width: values for each token.
        more: values beside them, however many tokens there are.
    """

    number: int
    width: int
    more: int = 0


class Operations:
    """What a step of a decoder does, in order: ``ops``, each a dictionary of fields of step.cpp's Op.

    Args:
        model: on the CPU, with weights of float32, bfloat16 or whole numbers.
        end: tokens that a text may hold.

    Raises:
        NotCaptured: it has a part that no operation stands for.
    """

    def __init__(self, model: nn.Module, end: int) -> None:
        if type(model) is EncoderDecoder:
            embedding, stack = model.target_embedding, model.decoder
        elif type(model) is Model:
            embedding, stack = model.embedding, model.body
        else:
            raise NotCaptured(type(model).__name__)
        if type(stack) is not Stack or stack.memory_positions is not None:
            raise NotCaptured(type(stack).__name__)
        for part in model.modules():
            if part._forward_hooks or part._forward_pre_hooks:
                if part is not model:
                    raise NotCaptured(f"hooks on {type(part).__name__}")
        self.end = end
        self.held: list[Tensor] = []  # what the operations point to
        self.ops: list[dict[str, Any]] = []
        self.buffers: list[Buffer] = []
        self.layers: list[Attention] = []
        self.readers: list[Attention] = []  # of an encoder's states
        self.recurrences: list[tuple[Recurrence, Buffer]] = []  # with where their states lie in a step
        self.biases: dict[str, int] = {}
        self.stream = self._buffer(_width(embedding))
        self._embed(embedding)
        self.tables: dict[str, tuple[int, int, int, bool]] = {}
        for kind, part in stack.positions.items():
            self._position(kind, part)
        self._in_place(stack.before, self.stream)
        for block in stack.blocks:
            self._block(block)
        self._in_place(stack.after, self.stream)
        self.scores = self._head(model.head)

    # Where values lie.

    def _buffer(self, width: int, more: int = 0) -> Buffer:
        self.buffers.append(Buffer(len(self.buffers), width, more))
        return self.buffers[-1]

    def _pointer(self, tensor: Tensor | None) -> int:
        """Of a tensor that is kept as it is."""
        if tensor is None:
            return 0
        if tensor.device.type != "cpu" or not tensor.is_contiguous():
            raise NotCaptured(f"a weight on {tensor.device.type}")
        self.held.append(tensor)
        return tensor.data_ptr()

    def _float(self, tensor: Tensor | None) -> int:
        """Of a small tensor's copy in float32."""
        return 0 if tensor is None else self._pointer(tensor.detach().to(torch.float32, copy=True).contiguous())

    def _emit(self, kind: int, *, wait: bool = True, **fields: Any) -> None:
        self.ops.append({"kind": kind, "wait": int(wait), **fields})

    # What each part becomes.

    def _embed(self, part: nn.Module) -> None:
        if type(part) is QuantisedEmbedding:
            weight = self._codes(part.codes)
        elif type(part) is TokenEmbedding:
            weight = self._plain(part.weight)
        else:
            raise NotCaptured(type(part).__name__)
        types = self._float(part.types[0]) if part.types is not None else 0
        self._emit(
            EMBED,
            out=self.stream,
            width=self.stream.width,
            inner=self.stream.width,
            factor=part.scale,
            bias=types,
            **weight,
        )

    def _plain(self, weight: Tensor) -> dict[str, Any]:
        if weight.dtype not in TYPES:
            raise NotCaptured(f"weights of {weight.dtype}")
        return {"type": TYPES[weight.dtype], "weight": self._pointer(weight.detach())}

    def _codes(self, codes: Codes) -> dict[str, Any]:
        return {"type": KIND[codes.bits], "weight": self._pointer(codes.codes), "scale": self._pointer(codes.scale)}

    def _position(self, kind: str, part: nn.Module) -> None:
        """A table of what is added to the embeddings, one of angles, or neither."""
        assert isinstance(part, Positions)
        some = torch.arange(1)
        if part.shift(Places(some, 1)) is not None:
            raise NotCaptured(type(part).__name__)
        if type(part) in (ALiBi, RelativeBuckets):  # what they add depends on the distance alone
            found = part.bias(torch.tensor([self.end - 1]), torch.arange(self.end))
            assert found is not None
            self.biases[kind] = self._float(found[:, 0].flip(-1))
        elif part.bias(some, some) is not None:
            raise NotCaptured(type(part).__name__)
        places = Places(torch.arange(self.end), self.end)
        added, turned = part.embedding(places), part.rotation(places)
        if added is not None:
            self._emit(PLACE, out=self.stream, width=self.stream.width, weight=self._float(added))
        if turned is not None:
            self.tables[kind] = (
                self._float(turned.cos), self._float(turned.sin), 2 * turned.cos.shape[-1], turned.interleaved
            )  # fmt: skip

    def _in_place(self, part: nn.Module, buffer: Buffer) -> None:
        """A norm of the values in a buffer, or nothing."""
        if type(part) is nn.Sequential:
            for each in part:
                self._in_place(each, buffer)
        elif type(part) not in (nn.Identity, nn.Dropout):
            self._norm(part, buffer, buffer)

    def _norm(self, part: nn.Module, source: Buffer, target: Buffer) -> None:
        if type(part) is RMSNorm:
            weight, bias, kind = part.weight + part.offset, None, RMS
        elif type(part) is LayerNorm and len(part.normalized_shape) == 1:
            weight, bias, kind = part.weight, part.bias, LAYER
        else:
            raise NotCaptured(type(part).__name__)
        self._emit(
            kind, source=source, out=target, width=source.width, eps=part.eps, weight=self._float(weight),
            bias=self._float(bias),
        )  # fmt: skip

    def _linear(self, part: nn.Module, source: Buffer, target: Buffer | None = None, wait: bool = True) -> Buffer:
        """A linear layer into a new buffer; with ``target``, its answer is added to what that holds."""
        if type(part) is Quantised:
            weight = self._codes(part.codes)
        elif type(part) is nn.Linear:
            weight = self._plain(part.weight)
        else:
            raise NotCaptured(type(part).__name__)
        out = target or self._buffer(part.out_features)
        self._emit(
            LINEAR, wait=wait, source=source, out=out, width=part.out_features, inner=part.in_features,
            bias=self._float(part.bias), flag=int(target is not None), **weight,
        )  # fmt: skip
        return out

    def _block(self, block: nn.Module) -> None:
        if type(block) is not Block:
            raise NotCaptured(type(block).__name__)
        for branch in block.children():
            if type(branch) is not Branch:
                raise NotCaptured(type(branch).__name__)
            source, joined = self.stream, branch.residual
            replaced = type(joined) is Replace
            if not replaced and (type(joined) is not Add or joined.shortcut is not None):
                raise NotCaptured(type(joined).__name__)
            if type(branch.before) is not nn.Identity:
                source = self._buffer(self.stream.width)
                self._norm(branch.before, self.stream, source)
            # the last linear layer adds to the stream by itself, unless something comes between
            scale: Any = getattr(joined, "scale", None)
            straight = not replaced and type(branch.inside) is nn.Identity and scale is None
            target = self.stream if straight else None
            answer = self._body(branch.body, source, target, block.kind or "all")
            if not straight:
                self._in_place(branch.inside, answer)
            if replaced:
                self.stream = answer
            elif not straight:
                self._emit(ADD, source=answer, out=self.stream, width=self.stream.width, weight=self._float(scale))
            self._in_place(branch.after, self.stream)

    def _body(self, body: nn.Module, source: Buffer, target: Buffer | None, kind: str) -> Buffer:
        known: dict[type, Callable[..., Buffer]] = {
            Attention: self._attention, FeedForward: self._feed_forward, GatedFeedForward: self._gated,
            Experts: self._experts, QuantisedExperts: self._experts, Recurrence: self._recurrence,
        }  # fmt: skip
        if type(body) not in known:
            raise NotCaptured(type(body).__name__)
        return known[type(body)](body, source, target, kind)

    def _feed_forward(self, body: FeedForward, source: Buffer, target: Buffer | None, kind: str) -> Buffer:
        if body.mix is not None:
            raise NotCaptured(type(body.mix).__name__)
        up = self._linear(body.up, source, wait=False)
        self._emit(ACTIVATE, source=up, out=up, width=up.width, choice=_choice(body.activation))
        return self._linear(body.down, up, target)

    def _gated(self, body: GatedFeedForward, source: Buffer, target: Buffer | None, kind: str) -> Buffer:
        gate = self._linear(body.gate, source, wait=False)
        up = self._linear(body.up, source, wait=False)
        self._emit(
            GATE, source=gate, in2=up, out=gate, width=gate.width, choice=_choice(body.activation)
        )  # fmt: skip
        return self._linear(body.down, gate, target)

    def _experts(self, body: Experts, source: Buffer, target: Buffer | None, kind: str) -> Buffer:
        """The router's scores, a plan of who reads which token, and each expert on the copies that it gets."""
        scores, count, copies = self._linear(body.router, source), len(body.gate), body.n_chosen
        plan = self._buffer(2 * copies, count + 1)
        gathered = self._buffer(copies * source.width)
        both: dict[str, Any] = {"in3": plan, "groups": count, "copies": copies}
        self._emit(CHOOSE, source=scores, in2=source, out=gathered, width=source.width, **both)

        def linear(table: Tensor | Codes, inner: Buffer, wait: bool = False) -> Buffer:
            _, n_out, n_in = table.shape
            weight = self._codes(table) if isinstance(table, Codes) else self._plain(table)
            out = self._buffer(copies * n_out)
            self._emit(LINEAR, wait=wait, source=inner, out=out, width=n_out, inner=n_in, **both, **weight)
            return out

        gate, up = linear(body.gate, gathered), linear(body.up, gathered)
        self._emit(
            GATE, source=gate, in2=up, out=gate, width=gate.width // copies, choice=_choice(body.activation),
            copies=copies,
        )  # fmt: skip
        answers = linear(body.down, gate, wait=True)
        out = target or self._buffer(source.width)
        self._emit(MIX, source=answers, out=out, width=source.width, flag=int(target is not None), **both)
        return out

    def _recurrence(self, body: Recurrence, source: Buffer, target: Buffer | None, kind: str) -> Buffer:
        """The products of the input and of the state, then the gates; one token at a time."""
        layer = body.layer
        if body.bidirectional or type(layer) not in CELLS or target is not None:
            raise NotCaptured(type(layer).__name__)
        width = layer.hidden_size
        state, answer = self._buffer(2 * width), self._buffer(width)
        products = []
        for side, given, inner in (("ih", source, layer.input_size), ("hh", state, width)):
            weight, bias = getattr(layer, f"weight_{side}_l0"), getattr(layer, f"bias_{side}_l0")
            products.append(self._buffer(len(weight)))
            self._emit(
                LINEAR, source=given, out=products[-1], width=len(weight), inner=inner, bias=self._float(bias),
                **self._plain(weight),
            )  # fmt: skip
        self._emit(
            CELL, source=products[0], in2=products[1], in3=state, out=answer, width=width, choice=CELLS[type(layer)]
        )  # fmt: skip
        self.recurrences.append((body, state))
        return answer

    def _attention(self, body: Attention, source: Buffer, target: Buffer | None, kind: str) -> Buffer:
        if body.cross:
            return self._cross(body, source, target)
        kinds = {type(part) for part in body.mask.parts()}
        if not kinds <= {Causal, Window} or Causal not in kinds:
            raise NotCaptured("attention that does more than look back")
        query = self._linear(body.query, source, wait=False)
        key = self._linear(body.key, source, wait=False)
        value = self._linear(body.value, source)
        width = query.width // body.n_heads
        mixed = self._buffer(query.width)
        cosines, sines, rotary, interleaved = self.tables.get(kind) or self.tables.get("all") or (0, 0, 0, False)
        far = reach(body.mask)
        norms: dict[str, Any] = {}
        if body.heads is not None:
            norms = self._norms_of_heads(body.heads)
        self._emit(
            ATTEND, source=query, in2=key, in3=value, out=mixed, width=width, heads=body.n_heads,
            groups=body.n_kv_heads, layer=len(self.layers), reach=-1 if far is None else far, scale=cosines,
            more=sines, rotary=rotary, interleaved=int(interleaved), inner=self.end,
            bias=self.biases.get(kind) or self.biases.get("all") or 0, **self._scoring(body, width), **norms,
        )  # fmt: skip
        self.layers.append(body)
        return self._linear(body.output, mixed, target)

    def _cross(self, body: Attention, source: Buffer, target: Buffer | None) -> Buffer:
        if type(body.source) is not Memory or body.heads is not None or body.mask.parts():
            raise NotCaptured("attention to something else than an encoder's states")
        query = self._linear(body.query, source)
        mixed, width = self._buffer(query.width), query.width // body.n_heads
        self._emit(
            CROSS, source=query, out=mixed, width=width, heads=body.n_heads, groups=body.n_kv_heads,
            layer=len(self.readers), **self._scoring(body, width),
        )  # fmt: skip
        self.readers.append(body)
        return self._linear(body.output, mixed, target)

    @staticmethod
    def _scoring(body: Attention, width: int) -> dict[str, Any]:
        if body.scores is not None and type(body.scores) is not SoftCap:
            raise NotCaptured(type(body.scores).__name__)
        return {
            "factor": body.scale if body.scale is not None else width**-0.5,
            "cap": body.scores.cap if body.scores is not None else 0.0,
        }

    def _norms_of_heads(self, heads: nn.Module) -> dict[str, Any]:
        query, key = getattr(heads, "query", None), getattr(heads, "key", None)
        if type(heads) is not NormalisedHeads or type(query) is not RMSNorm or type(key) is not RMSNorm:
            raise NotCaptured(type(heads).__name__)
        if query.eps != key.eps:
            raise NotCaptured("norms of queries and keys that differ")
        both = {"query_norm": query, "key_norm": key}
        return {"eps": key.eps, **{name: self._float(norm.weight + norm.offset) for name, norm in both.items()}}

    def _head(self, head: nn.Module | None) -> Buffer:
        if type(head) is Capped and type(head.cap) is SoftCap:
            scores = self._head(head.head)
            self._emit(CAP, source=scores, out=scores, width=scores.width, cap=head.cap.cap)
            return scores
        if type(head) is Project:
            return self._linear(head.linear, self.stream)
        source = self.stream
        if isinstance(head, Tied | QuantisedHead) and head.scale != 1:
            source = self._buffer(self.stream.width)
            self._emit(CAP, source=self.stream, out=source, width=source.width, factor=head.scale)
        if type(head) is QuantisedHead:
            weight, count, bias = self._codes(head.codes), head.codes.shape[0], head.bias
        elif type(head) is Tied:
            weight, count, bias = self._plain(head.weight), head.weight.shape[0], head.bias
        else:
            raise NotCaptured(type(head).__name__)
        scores = self._buffer(count)
        self._emit(LINEAR, source=source, out=scores, width=count, inner=source.width, bias=self._float(bias), **weight)
        return scores


def _width(part: nn.Module) -> int:
    if type(part) is QuantisedEmbedding:
        return part.codes.shape[1]
    if type(part) is TokenEmbedding:
        return int(part.weight.shape[1])
    raise NotCaptured(type(part).__name__)


def _choice(part: nn.Module) -> int:
    name = part.name if type(part) is Activation else type(part).__name__
    if name not in ACTIVATIONS:
        raise NotCaptured(name)
    return ACTIVATIONS[name]
