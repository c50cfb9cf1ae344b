"""Attention maps: where chosen heads look from chosen positions, recomputed from the real queries and keys."""

from __future__ import annotations

import numpy as np

from dougong.explain.capture import capture, choose, reproduction, stages
from dougong.explain.explanation import Map
from dougong.explain.finding import Ask, Finding
from dougong.explain.subject import Subject
from dougong.figures import many


def attention(subject: Subject, ask: Ask) -> Finding:
    """softmax(Q K^T / sqrt(K)) of the layers, heads and rows asked for (Vaswani et al. 2017, section 3.2.1).

    The model runs on its fused kernel; the weights are then recomputed from what each layer was given, and
    multiplied with the values again to see whether they give what the layer gave. Keys that are fewer than the queries
    (Xie et al. 2021, equation 2) are laid over what they were made of. Where a pyramid has a grid in each stage and the
    answer is read from all of them, the last layer of each stage is shown.

    Raises:
        UserError: no attention in the model; a layer, head or row that it does not have.
    """
    layers = capture(subject, "attention")
    stage_of = stages(layers)
    several = not subject.one_grid and stage_of[-1] > 0
    chosen = last_of_each(stage_of) if several and subject.reads_all else [-1]
    indices = choose(chosen if ask.layers is None else ask.layers, len(layers), "layers", "attention layer")
    grids = [layers[index].grids for index in indices]
    units = subject.patches() if subject.one_grid else subject.keys([each for each in grids if each is not None])
    readout = subject.readout(grids[0])
    maps, errors, total = [], [], []
    for index in indices:
        layer = layers[index]
        wanted = ask.rows if ask.rows is not None else subject.readout(layer.grids)
        rows = choose(wanted, layer.x.shape[1], "rows", "position")
        heads = choose(ask.heads, layer.attention.n_heads, "heads", "head")
        weights = layer.weights(rows=rows)
        errors.append(layer.error(weights, rows))
        seen = subject.gather(units, weights[heads].double().cpu().numpy(), layer.grids)
        total.append(seen.mean((0, 1)))
        for number, head in enumerate(heads):
            stage = f"stage {stage_of[index] + 1}, " if several else ""
            name = f"{stage}layer {index + 1}, head {head + 1}"
            if ask.rows is None:
                maps.append(Map(name, seen[number].mean(0)))
            else:
                maps += [Map(f"{name}, row {row}", seen[number, place]) for place, row in enumerate(rows)]
    scores = np.mean(total, 0)
    looks = origin(ask.rows, readout, subject.place, subject.cross or subject.looker)
    stages_read = len({stage_of[index] for index in indices})
    mean = f"mean of {stages_read} stages" if stages_read > 1 else f"mean of {many(len(maps), 'map')}"
    return Finding(
        units=units,
        scores=scores,
        meaning=f"the attention that {looks} pays to each {units.kind}, {mean}",
        checks={"reproduction": reproduction(errors, layers[0].output.dtype, "the layer" + "s" * (len(errors) > 1))},
        maps=tuple(maps),
        notes=(
            f"Attention shows where the model looks, not which {subject.noun} that speaks for: it is the same "
            f"whichever {subject.noun} is asked. Integrated gradients answer for one {subject.noun}.",
        ),
    )


def last_of_each(stage_of: list[int]) -> list[int]:
    """The last layer of each stage."""
    return [max(place for place, each in enumerate(stage_of) if each == stage) for stage in sorted(set(stage_of))]


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
