"""Attention rollout: attention followed through all layers down to the input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dougong.errors import UserError
from dougong.explain.capture import capture, choose, reproduction
from dougong.explain.finding import Ask, Finding
from dougong.explain.methods.attention import origin
from dougong.explain.subject import Subject


def rollout(subject: Subject, ask: Ask) -> Finding:
    """The product over layers of 0.5 W + 0.5 I, rows normalised, W the mean over heads (Abnar and Zuidema 2020, 3).

    The identity stands for the residual path. Rows are those that the classifier reads: the class token, or the mean
    over all positions for models that average them.

    Raises:
        UserError: no attention in the model, or on several grids; a head or row that it does not have; layers, for
            rollout takes them all.
    """
    if subject.cross:
        raise UserError("method=rollout", f"follows attention within one sequence; {subject.cross} looks at another",
                        "use method=attention")  # fmt: skip
    layers = capture(subject, "rollout")
    if not subject.one_grid:
        family = getattr(subject.model, "config", {}).get("architecture") or type(subject.model).__name__
        why = f"{family} attends on several grids with convolutions between them, through which no weights lead"
        raise UserError("method=rollout", why, "use method=attention, which shows each stage")
    if ask.layers is not None:
        raise UserError("layers", "rollout goes through all layers", "leave layers out, or use method=attention")
    flow: Tensor | None = None
    errors = []
    for layer in layers:
        weights = layer.weights()
        errors.append(layer.error(weights))
        mean = weights[choose(ask.heads, len(weights), "heads", "head")].double().mean(0)
        mixed = 0.5 * mean + 0.5 * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        flow = mixed if flow is None else mixed @ flow
    assert flow is not None
    readout = subject.readout()
    rows = choose(ask.rows if ask.rows is not None else readout, len(flow), "rows", "position")
    seen = flow[rows].mean(0).cpu().numpy()
    units = subject.patches()
    scores: np.ndarray = subject.gather(units, seen)
    kept = 1 - float(scores.sum())
    notes = [
        f"Rollout shows which parts the answer was mixed from, not which {subject.noun} they speak for: it is the same "
        f"whichever {subject.noun} is asked. Integrated gradients answer for one {subject.noun}."
    ]
    if (subject.read_by(units) < 0).any():
        notes.append(f"{kept:.0%} of the flow comes from special tokens, as the class token, and is not drawn.")
    whose = origin(ask.rows, readout, subject.place, subject.looker)
    return Finding(
        units=units,
        scores=scores,
        meaning=f"the share of {whose} that came from each {units.kind}, through all layers",
        checks={"reproduction": reproduction(errors, layers[0].output.dtype, f"all {len(layers)} layers")},
        notes=tuple(notes),
    )
