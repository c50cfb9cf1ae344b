"""One pass of a model on the meta device: what it did, held and kept."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.cost.asking import ITEMS, SOFTMAX, answer_of, sampled_loss
from dougong.cost.devices import Rates
from dougong.cost.folding import FoldingTracer, Unfoldable
from dougong.cost.kernels import Kernels
from dougong.cost.ledger import Ledger
from dougong.cost.timing import seconds_of
from dougong.cost.tracing import Call, Tracer
from dougong.errors import UserError
from dougong.frames.recomputing import Again, Recomputing
from dougong.heads.chunks import chunk_of
from dougong.heads.losses import cross_entropy
from dougong.parts.output import Pending, deferring


@dataclass(frozen=True)
class Trace:
    """What one pass did.

    Args:
        calls: operations, with how many there were of each.
        peak: bytes of activations and gradients alive at most.
        peak_gradients: gradients among them.
        peak_live: the most that activations alone take.
        saved: bytes kept for the backward pass, by module.
    """

    calls: dict[Call, float]
    peak: int
    peak_gradients: int
    peak_live: int
    saved: Counter[str]

    @property
    def flops(self) -> int:
        """Of everything that has a formula."""
        return round(sum((call.flops or 0) * times for call, times in self.calls.items()))

    @property
    def bytes_moved(self) -> int:
        """Read and written."""
        return round(sum((call.bytes_read + call.bytes_written) * times for call, times in self.calls.items()))

    def seconds(self, rates: Rates) -> float:
        """Estimated."""
        return sum(seconds_of(call, rates) * times for call, times in self.calls.items())


def trace(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    train: bool,
    kernels: str = "cpu",
    fold: bool = True,
    whole: bool = False,
    recomputed: int = 0,
    chunked: bool = False,
) -> Trace:
    """Run a model on the meta device and write down what it does.

    Args:
        model: on the meta device.
        inputs: the same.
        train: in training mode, with loss and backward pass; else in evaluation mode without gradients.
        kernels: whose kernels torch would choose, "cpu" or "cuda".
        fold: trace identical blocks once; not where some are computed twice.
        whole: of a catalogue of items all scores are made, rather than those that are used (see `answer_of`).
        recomputed: blocks that are computed again in the backward pass.
        chunked: the loss of a vocabulary goes over the tokens in chunks, as that of a training does.
    """
    fold = fold and not recomputed
    modes = [(module, module.training) for module in model.modules()]
    parameters = list(model.parameters())
    known = [*parameters, *model.buffers(), *[value for value in inputs if isinstance(value, Tensor)]]
    ledger = Ledger(known)
    model.train(train)
    hooks = []
    tracer = FoldingTracer(model, ledger) if fold else Tracer(model, ledger)
    saved: Counter[str] = Counter()
    try:
        if train:
            for parameter in parameters:
                if parameter.requires_grad:
                    see = lambda p: ledger.is_gradient(p.grad)  # noqa: E731
                    hooks.append(parameter.register_post_accumulate_grad_hook(see))
        again = functools.partial(Kernels, kernels)
        with torch.set_grad_enabled(train), tracer.watching(), again(), _as_asked(model, recomputed, chunked, again):
            if isinstance(tracer, FoldingTracer):
                with tracer.folding():
                    output = model(*inputs) if whole or chunked else answer_of(model, inputs, train)
            else:
                output = model(*inputs) if whole or chunked else answer_of(model, inputs, train)
            if train:
                loss = _chunked_loss(model, output, kernels) if chunked else loss_of(output)
                del output
                saved = kept(tracer)
                loss.backward()
                del loss
                if isinstance(tracer, FoldingTracer):
                    tracer.settle()
    except Unfoldable:
        return trace(model, inputs, train=train, kernels=kernels, fold=False, whole=whole, chunked=chunked)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
        for parameter in parameters:
            parameter.grad = None
    factor = functools.cache(tracer.factor) if isinstance(tracer, FoldingTracer) else lambda path: 1.0
    calls = {call: times * factor(call.path) for call, times in tracer.calls.items()}
    return Trace(calls, ledger.peak, ledger.peak_gradients, ledger.peak_live, saved)


@contextlib.contextmanager
def _as_asked(model: nn.Module, recomputed: int, chunked: bool, again: Again) -> Iterator[None]:
    with Recomputing(model, recomputed, again), deferring() if chunked else contextlib.nullcontext():
        yield


def _chunked_loss(model: nn.Module, output: Any, kernels: str) -> Tensor:
    """The loss that a training would compute: of a vocabulary in chunks of the size that suits the device."""
    config: Any = getattr(model, "config", {})
    catalogue = config.get("head") in ITEMS and config["vocab_size"] > SOFTMAX  # of which some items are drawn
    if not isinstance(output, Pending) or output.hidden is None or catalogue:
        return loss_of(output)
    rows = output.hidden.flatten(0, -2)
    vocabulary = max((p.shape[0] for p in output.head.parameters() if p.dim() == 2), default=1)
    targets = torch.empty(output.hidden.shape[:-1], dtype=torch.long, device=rows.device)
    return cross_entropy(output, targets, chunk=chunk_of(len(rows), vocabulary, kernels))


def kept(tracer: Tracer) -> Counter[str]:
    """Bytes of activations alive now, by module."""
    found = tracer.ledger.by_path()
    if isinstance(tracer, FoldingTracer):
        for run in tracer.runs:
            for path, n_bytes in run.retained_by_path.items():
                found[path] += n_bytes * run.repeated
    return found


def loss_of(output: Any) -> Tensor:
    """The mean cross-entropy of logits (..., C), and sums of boxes; or that of masks (B, C, h, w); or the sum of hidden
    states, where there is neither."""
    if isinstance(output, Pending) and (some := sampled_loss(output)) is not None:
        return some
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        flat = logits.flatten(0, -2)
        make = torch.empty if flat.is_meta else torch.zeros
        loss = nn.functional.cross_entropy(flat.float(), make(len(flat), dtype=torch.long, device=flat.device))
        boxes = getattr(output, "boxes", None)
        if boxes is None:
            return loss
        earlier = [side for each in output.auxiliary for side in (each.logits, each.boxes)]
        return loss + sum(side.float().sum() for side in (boxes, *earlier))
    masks = getattr(output, "masks", None)
    if isinstance(masks, Tensor):
        labels = (torch.empty if masks.is_meta else torch.zeros)(
            masks.shape[0], *masks.shape[2:], dtype=torch.long, device=masks.device
        )  # fmt: skip
        return nn.functional.cross_entropy(masks.float(), labels)
    first = getattr(output, "hidden", output)
    while isinstance(first, list | tuple):
        first = first[0]
    if not isinstance(first, Tensor):
        raise UserError("model", f"gives a {type(output).__name__}, not a tensor", "wrap it so that it gives a tensor")
    return first.float().sum()
