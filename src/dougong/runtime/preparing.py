"""Preparing a finished model for inference on the machine that it is on: its tree is rewritten, in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dougong import console
from dougong.errors import UserError
from dougong.figures import many, size
from dougong.frames.model import Model
from dougong.heads.language import Tied
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.experts import Experts
from dougong.parts.output import Pending
from dougong.runtime.kernels import Packed, gains
from dougong.runtime.native import native
from dougong.runtime.native.compiling import compiler
from dougong.runtime.quantised import GROUP, Quantised, QuantisedEmbedding, QuantisedExperts, QuantisedHead
from dougong.runtime.writer import Writer

Precision = Literal["float32", "bf16", "int8", "int4"]
BITS = {"int8": 8, "int4": 4}
NAMES: dict[type[nn.Module], str] = {
    nn.Conv1d: "convolutions", nn.Conv2d: "convolutions", nn.RNNBase: "recurrent layers",
}  # fmt: skip
"""Parts whose weights stay as they are where whole numbers are asked for."""


@dataclass(frozen=True)
class Prepared:
    """What was done to a model.

    Args:
        precision: of its weights.
        layers: linear layers that run by another kernel, or in whole numbers, by what became of them.
        left: parts with weights that stayed in floats though whole numbers were asked for.
        n_bytes: of all weights now.
        before: of all weights before.
        compiled: whether its blocks are compiled.
    """

    precision: str
    layers: dict[str, int]
    left: list[str]
    n_bytes: int
    before: int
    compiled: bool


def prepare(model: nn.Module, precision: Precision = "float32", *, compile: bool = False) -> nn.Module:
    """Make a model ready to run fast here; it can no longer be trained. Its answers stay those of its weights.

    float32 stays float32: kernels differ in the last bits. bf16 turns all weights and what flows between layers into
    bfloat16. int8 and int4 round the weights of linear layers and token embeddings, 32 of which share a scale, and
    compute in float32. What `dougong.save` writes of a prepared model is a plain one again, with rounded weights.

    Args:
        model: of dougong, on the CPU or a GPU; it is changed.
        precision: "float32", "bf16", "int8" or "int4".
        compile: compile the blocks (torch.compile): some tens of seconds at the first input, then less time for
            each; for models that read, as encoders and pictures'. Left out, with a line, where there is no compiler.

    Returns:
        the model; what was done to it is its ``prepared``.

    Raises:
        UserError: a precision that there is not, that the machine lacks, or whole numbers on a GPU; or a model that was
            prepared already.

    >>> model = dg.prepare(dg.load("gpt2"), precision="int8")  # doctest: +SKIP
    """
    if precision not in get_args(Precision):
        raise UserError("precision", f"{precision!r} is none that is known", f"say {', '.join(get_args(Precision))}")
    if getattr(model, "prepared", None) is not None:
        raise UserError("model", "is prepared already", "load it again, and prepare it once")
    device = next(model.parameters()).device.type
    before, left = _bytes(model), list[str]()
    layers: dict[str, int] = {}
    model.eval().requires_grad_(False)
    if precision in BITS:
        if device != "cpu":
            raise UserError("precision", f"{precision} is computed on the CPU", "say bf16 on a GPU")
        if next(model.parameters()).dtype != torch.float32:
            model.float()
        layers, left = _quantise(model, BITS[precision])
        if not layers:
            raise UserError(
                "precision", f"{precision}: no layer's width is a multiple of {GROUP}", "say float32 or bf16"
            )
    elif precision == "bf16":
        model.to(torch.bfloat16)
        _floats_outside(model)
    else:
        model.float()
    if device == "cpu" and precision not in BITS and not _steps(model):
        layers = _pack(model)
    if compile and device == "cpu" and compiler() is None:
        console.note("nothing is compiled: there is no C++ compiler")
        compile = False
    if compile:
        compile_blocks(model)
    model.prepared = Prepared(precision, layers, left, _bytes(model), before, compile)  # type: ignore[assignment]
    if left:
        console.note(f"{precision}: {', '.join(left)} stay as they were")
    return model


def prepared(model: nn.Module, precision: str | None) -> nn.Module:
    """The model, prepared for a precision if one is asked for; see `prepare`."""
    return model if precision is None else prepare(model, precision)  # type: ignore[arg-type]


def described(model: nn.Module) -> str:
    """What preparing did, in a line."""
    done: Any = getattr(model, "prepared", None)
    if done is None:
        return "as loaded"
    kinds = ", ".join(f"{many(count, 'layer')} {name}" for name, count in done.layers.items())
    return f"{done.precision}, weights of {size(done.n_bytes)}" + (f", {kinds}" if kinds else "")


def _steps(model: nn.Module) -> bool:
    """Whether the model writes by our own kernels, which read weights as they lie."""
    if native() is None:
        return False
    try:
        Writer(model, start=0)
    except UserError:
        return False
    return True


def _pack(model: nn.Module) -> dict[str, int]:
    def rewritten(part: nn.Linear) -> nn.Module | None:
        return Packed(part) if gains(part) else None

    count = _rewrite(model, rewritten)
    return {"packed": count} if count else {}


def _rewrite(model: nn.Module, rewritten: Callable[[nn.Linear], nn.Module | None]) -> int:
    """Put other modules in the place of linear layers; how many. One that stands in several places stays one."""
    found: dict[int, nn.Module] = {}
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if type(part) is nn.Linear and not isinstance(parent, Experts):
                other = found.get(id(part)) or rewritten(part)
                if other is not None:
                    found[id(part)] = other
                    setattr(parent, name, other)
    return len(found)


def _quantise(model: nn.Module, bits: int) -> tuple[dict[str, int], list[str]]:
    """Linear layers, and the table that a language model reads and writes with, in whole numbers."""
    left = {NAMES[kind] for part in model.modules() for kind in NAMES if isinstance(part, kind)}

    def rewritten(part: nn.Linear) -> nn.Module | None:
        if part.in_features % GROUP:
            left.add(f"layers of {part.in_features} inputs")
            return None
        return Quantised(part, bits)

    count = _rewrite(model, rewritten) + _quantise_experts(model, bits, left)
    embedding = getattr(model, "embedding", None)
    if isinstance(model, Model) and type(embedding) is TokenEmbedding and embedding.weight.shape[1] % GROUP == 0:
        users = [part for part in model.modules() if getattr(part, "weight", None) is embedding.weight]
        tied = [part for part in users if type(part) is Tied]
        if len(users) == 1 + len(tied):  # nobody else looks into the table
            table = QuantisedEmbedding(embedding, bits)
            model.embedding = table
            _put_heads(model, tied, table)
    return {f"of {bits} bits": count} if count else {}, sorted(left)


def _quantise_experts(model: nn.Module, bits: int, left: set[str]) -> int:
    """Mixtures of experts in whole numbers; how many layers those were. What cannot be is added to ``left``."""
    count = 0
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if type(part) is Experts:
                if part.gate.shape[-1] % GROUP or part.down.shape[-1] % GROUP:
                    left.add("experts")
                else:
                    setattr(parent, name, QuantisedExperts(part, bits))
                    count += 3 * len(part.gate)
    return count


def _put_heads(model: nn.Module, tied: list[Tied], table: QuantisedEmbedding) -> None:
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if any(part is head for head in tied):
                setattr(parent, name, QuantisedHead(table, part.scale, part.bias))  # type: ignore[arg-type]


def _floats_outside(model: nn.Module) -> None:
    """Inputs of float32 are taken, and answers of float32 given, whatever flows inside."""
    from dataclasses import fields, is_dataclass, replace

    def narrow(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def turned(one: Any) -> Any:
            return one.to(torch.bfloat16) if isinstance(one, Tensor) and one.is_floating_point() else one

        return tuple(map(turned, given)), {name: turned(one) for name, one in named.items()}

    def wide(_: nn.Module, given: Any, answer: Any) -> Any:
        if isinstance(answer, Pending):  # its head wants the hidden states as they are, and losses make it exact
            return answer
        if not is_dataclass(answer) or isinstance(answer, type):
            return answer.float() if isinstance(answer, Tensor) else answer
        held = {field.name: getattr(answer, field.name) for field in fields(answer)}
        return replace(
            answer,
            **{n: v.float() for n, v in held.items() if isinstance(v, Tensor) and v.dtype == torch.bfloat16},
        )

    model.register_forward_pre_hook(narrow, with_kwargs=True)
    model.register_forward_hook(wide)


def compile_blocks(model: nn.Module) -> None:
    """Compile each block of its stack; blocks of one shape share the code."""
    from dougong.frames.branch import Block

    for part in model.modules():
        if type(part) is Block:
            part.compile(dynamic=True)


def _bytes(model: nn.Module) -> int:
    """Of all weights and buffers, shared ones once; packed weights are no parameters."""
    held = {id(one): one.numel() * one.element_size() for one in (*model.parameters(), *model.buffers())}
    held |= {
        id(one): one.weight.numel() * one.weight.element_size() for one in model.modules() if isinstance(one, Packed)
    }
    return sum(held.values())
