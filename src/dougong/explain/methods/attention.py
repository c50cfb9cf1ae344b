"""Attention maps: where chosen heads look from chosen positions, recomputed from the real queries and keys."""

from __future__ import annotations

import numpy as np

from dougong.explain.capture import capture, choose, reproduction
from dougong.explain.explanation import Map
from dougong.explain.finding import Ask, Finding
from dougong.explain.subject import Subject


def attention(subject: Subject, ask: Ask) -> Finding:
    """softmax(Q K^T / sqrt(K)) of the layers, heads and rows asked for (Vaswani et al. 2017, section 3.2.1).

    The model runs on its fused kernel; the weights are then recomputed from what each layer was given, and
    multiplied with the values again to see whether they give what the layer gave.

    Raises:
        UserError: no attention in the model; a layer, head or row that it does not have.
    """
    layers = capture(subject, "attention")
    chosen = [-1] if ask.layers is None else ask.layers
    units, length = subject.patches(), layers[0].x.shape[1]
    readout = subject.readout()
    rows = choose(ask.rows if ask.rows is not None else readout, length, "rows", "positions")
    maps, errors, total = [], [], []
    for index in choose(chosen, len(layers), "layers", "attention layers"):
        layer = layers[index]
        heads = choose(ask.heads, layer.attention.n_heads, "heads", "heads")
        weights = layer.weights(rows=rows)
        errors.append(layer.error(weights, rows))
        seen = subject.gather(units, weights[heads].double().cpu().numpy())
        total.append(seen.mean((0, 1)))
        for number, head in enumerate(heads):
            name = f"layer {index + 1}, head {head + 1}"
            if ask.rows is None:
                maps.append(Map(name, seen[number].mean(0)))
            else:
                maps += [Map(f"{name}, row {row}", seen[number, place]) for place, row in enumerate(rows)]
    scores = np.mean(total, 0)
    looks = origin(ask.rows, readout, subject.place, subject.cross)
    return Finding(
        units=units,
        scores=scores,
        meaning=f"the attention that {looks} pays to each {units.kind}, "
        f"mean of {len(maps)} map{'s' if len(maps) > 1 else ''}",
        checks={"reproduction": reproduction(errors, layers[0].output.dtype, "the layer" + "s" * (len(errors) > 1))},
        maps=tuple(maps),
        notes=(
            f"Attention shows where the model looks, not which {subject.noun} that speaks for: it is the same "
            f"whichever {subject.noun} is asked. Integrated gradients answer for one {subject.noun}.",
        ),
    )


def origin(rows: object, readout: list[int] | None, place: int | None = None, cross: str = "") -> str:
    """Who looks, in words."""
    if rows is not None:
        return "the chosen rows"
    if cross:
        return cross
    if place is not None:
        return "the last token" if place == -1 else "the token that answers"
    if readout is None:
        return "the average position"
    return {0: "the class token", -1: "the last position"}.get(readout[0], "the average position")
