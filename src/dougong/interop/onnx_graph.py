"""A model as an ONNX graph whose batch and lengths are open."""

from __future__ import annotations

import copy
import itertools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.architectures.vectors import Transformer
from dougong.errors import FailureError, UserError
from dougong.parts.context import Context
from dougong.parts.experts import Experts
from dougong.parts.output import Output
from dougong.parts.positions import Learned
from dougong.parts.recurrence import Recurrence

EMPTY = Context()
# ONNX has the gates of a cell in another order than torch: z r h for r z n, and i o f c for i f g o.
GATES = {"rnn": ("RNN", (0,)), "gru": ("GRU", (1, 0, 2)), "lstm": ("LSTM", (0, 3, 1, 2))}


@dataclass(frozen=True)
class Port:
    """An input of the graph.

    Args:
        name: of the input.
        axes: the names of its open axes.
        shape: with numbers where an axis is fixed, and None where it is open.
        kind: "float", or "integer" below ``bound``.
        bound: for integers.
    """

    name: str
    axes: dict[int, str]
    shape: tuple[int | None, ...]
    kind: str = "float"
    bound: int = 0


def ports(model: nn.Module) -> list[Port]:
    """The inputs of a model's graph, in order.

    Raises:
        UserError: it is no model of ours.
    """
    kind, example = getattr(model, "input_kind", None), getattr(model, "example_inputs", None)
    if not isinstance(kind, str) or not callable(example):
        raise UserError("onnx", f"{type(model).__name__} does not say what it reads", "give a model of dougong")
    given = [each for each in example(2, 2) if each is not None]
    batch = {0: "batch"}
    if kind == "image":
        return [Port("pixels", batch, (None, *given[0].shape[1:]))]
    if kind == "image_text":
        bound = int(model.config["vocab_size"])  # type: ignore[index]
        return [
            Port("pixels", {0: "pictures"}, (None, *given[0].shape[1:])),
            Port("tokens", {0: "texts", 1: "length"}, (None, None), "integer", bound),
            Port("lengths", {0: "texts"}, (None,), "lengths"),
        ]
    sides = zip(("source", "target"), ("source_length", "target_length"), given, strict=False)
    if not kind.endswith("_pair"):
        sides = zip((kind,), ("length",), given, strict=True)
    found = []
    for name, axis, each in sides:
        open_axes, shape = {**batch, 1: axis}, (None, None, *each.shape[2:])
        found.append(
            Port(name, open_axes, shape)
            if each.is_floating_point()
            else Port(name, open_axes, shape, "integer", int(model.config["vocab_size"]))  # type: ignore[index]
        )
    names = ("source_lengths", "target_lengths") if len(found) > 1 else ("lengths",)
    found += [Port(name, batch, (None,), "lengths") for name in names]
    types = getattr(getattr(model, "embedding", None), "types", None)
    if isinstance(types, Tensor) and len(types) > 1:
        found.append(Port("types", {**batch, 1: "length"}, (None, None), "integer", len(types)))
    return found


def longest(model: nn.Module) -> int | None:
    """How many tokens a row may have; None where nothing bounds that."""
    read = model.get_submodule("texts") if getattr(model, "input_kind", "") == "image_text" else model
    return min((part.max_length for part in read.modules() if isinstance(part, Learned)), default=None)


def answers(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What the graph gives: logits or masks, where the model has a head, and hidden; CLIP's vectors; or one output."""
    if isinstance(model, Transformer):
        pair = {"target": inputs[1], "target_lengths": inputs[3]} if len(inputs) > 2 else {}
        return {"output": model(inputs[0], inputs[-1] if not pair else inputs[2], **pair)}
    if model.input_kind == "tokens" and len(inputs) == 3:
        output: Output = model(*inputs[:2], types=inputs[2])
    else:
        output = model(*inputs)
    names = ("logits", "boxes", "masks", "hidden", "images", "texts")
    found = {name: getattr(output, name, None) for name in names}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def twin(model: nn.Module) -> nn.Module:
    """A model in inference mode, in float32 on the CPU, that shares the weights where they are so already."""
    held: dict[int, Tensor] = {id(t): t for t in itertools.chain(model.parameters(), model.buffers())}
    if all(t.device.type == "cpu" and (t.dtype == torch.float32 or not t.is_floating_point()) for t in held.values()):
        return copy.deepcopy(model, dict(held)).eval()
    return copy.deepcopy(model).to("cpu", torch.float32).eval()


def graph(model: nn.Module, opset: int | None = None) -> Any:
    """The graph of a twin, as a program of torch.onnx.

    Raises:
        UserError: torch cannot write this version of the operators.
        FailureError: torch cannot export it.
    """
    read = ports(model)
    sizes = {"length": 5, "source_length": 5, "target_length": 3}
    sizes = {axis: min(size, longest(model) or size) for axis, size in sizes.items()}
    sizes |= {"batch": 2, "pictures": 2, "texts": 3}
    inputs = tuple(_example(port, sizes) for port in read)
    with torch.no_grad():
        given = list(answers(model, inputs))
    held: dict[int, Any] = {id(t): t for t in itertools.chain(model.parameters(), model.buffers())}
    model = copy.deepcopy(model, held)
    for name, part in list(model.named_modules()):
        if isinstance(part, Recurrence | Experts):
            parent, _, last = name.rpartition(".")
            put = _Recurrent(part) if isinstance(part, Recurrence) else _Everywhere(part)
            setattr(model.get_submodule(parent), last, put)
    entry = _Entry(model).eval()
    try:
        with _quiet(), torch.no_grad():
            open_axes = tuple({axis: torch.export.Dim.DYNAMIC for axis in port.axes} for port in read)
            exported = torch.export.export(entry, inputs, dynamic_shapes=(open_axes,), strict=False)
            program = torch.onnx.export(
                exported, dynamo=True, verbose=False, opset_version=opset,
                input_names=[port.name for port in read], output_names=given,
                dynamic_shapes=(tuple(port.axes for port in read),),
            )  # fmt: skip
    except Exception as error:  # torch's refusals have no common kind
        reason = str(error.__cause__ or error).strip() or type(error).__name__
        raise FailureError(f"this model cannot be exported to ONNX: {reason.splitlines()[0]}") from error
    assert program is not None
    written = program.model.opset_imports[""]
    if opset is not None and written != opset:  # torch goes on with another
        raise UserError(
            "opset", f"torch cannot write version {opset} of this graph", f"leave it out, or give {written}"
        )
    for node in program.model.graph.all_nodes():  # where in our files a node comes from, with the paths of this machine
        node.metadata_props.clear()
    return program


def _example(port: Port, sizes: dict[str, int]) -> Tensor:
    shape = [sizes[port.axes[axis]] if size is None else size for axis, size in enumerate(port.shape)]
    if port.kind == "lengths":
        return torch.ones(shape, dtype=torch.long)
    return torch.zeros(shape) if port.kind == "float" else torch.zeros(shape, dtype=torch.long)


@contextmanager
def _quiet() -> Iterator[None]:
    """torch says much about its own workings here; what matters comes as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Entry(nn.Module):
    """A graph takes tensors and gives tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(answers(self.model, inputs).values())


class _Everywhere(nn.Module):
    """Experts without a choice that depends on the data: all run on every token, those not chosen count nothing."""

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        experts = self.experts
        tokens = x.reshape(-1, x.shape[-1])
        weight, chosen = experts.choose(tokens)
        shares = torch.zeros_like(experts.router(tokens)).scatter(1, chosen, weight)
        mixed = torch.zeros_like(tokens)
        for number in range(len(experts.gate)):
            mixed = mixed + experts.answer(number, tokens) * shares[:, number : number + 1]
        return mixed.view_as(x)


class _Recurrent(nn.Module):
    """A recurrent layer as ONNX's own operator, which reads rows of unequal length."""

    read: Tensor
    keep: Tensor
    bias: Tensor

    def __init__(self, recurrence: Recurrence) -> None:
        super().__init__()
        layer = recurrence.layer
        self.operator, order = GATES[recurrence.cell]
        self.ways, self.width = 2 if recurrence.bidirectional else 1, layer.hidden_size

        def gates(name: str) -> Tensor:
            """A weight or bias of each direction in ONNX's order, (directions, gates * H, ...)."""
            ends = ("", "_reverse")[: self.ways]
            both = [getattr(layer, f"{name}_l0{end}").detach().unflatten(0, (-1, self.width)) for end in ends]
            return torch.stack([each[list(order)].flatten(0, 1) for each in both])

        self.register_buffer("read", gates("weight_ih"))
        self.register_buffer("keep", gates("weight_hh"))
        self.register_buffer("bias", torch.cat((gates("bias_ih"), gates("bias_hh")), 1))

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        batch, length = x.shape[:2]
        attributes: dict[str, Any] = {"hidden_size": self.width}
        attributes["direction"] = "bidirectional" if self.ways == 2 else "forward"
        if self.operator == "GRU":
            attributes["linear_before_reset"] = 1  # torch's reset gate acts after the product
        lengths = None if context.lengths is None else context.lengths.to(torch.int32)
        y, *_ = torch.onnx.ops.symbolic_multi_out(
            self.operator, [x.transpose(0, 1), self.read, self.keep, self.bias, lengths], attributes,
            dtypes=[x.dtype], shapes=[(length, self.ways, batch, self.width)],
        )  # fmt: skip
        return y.permute(2, 0, 1, 3).flatten(2)
