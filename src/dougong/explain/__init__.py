"""Why a model gives one input one class: several methods behind one contract, each with tests of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dougong.errors import unknown
from dougong.explain.explanation import Check, Explanation, Target, Units
from dougong.rooms import make_callable

__all__ = ["Check", "Explanation", "Target", "Units", "explain"]


def explain(
    model: Any,
    inputs: Any,
    *,
    method: str = "auto",
    target: int | str | None = None,
    at: int | str | None = None,
    task: Any = None,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    seed: int = 0,
) -> Explanation:
    """Why the model gives this input this class.

    Args:
        model: a classifier, or a model of tags, of language or of boxes: a module, a run, or the path of a run or model
            folder.
        inputs: one sample: the path of a picture, a PIL image, an array, a text, a pair of texts as a tuple, or a
            prepared tensor, (3, h, w) for pictures.
        method: "integrated-gradients" or "occlusion" (every model; what each part adds to the class), "attention" or
            "rollout" (models with attention; where it looks); "auto" is integrated-gradients, and of boxes attention:
            where the query looked that found it.
        target: number or name of the class, tag or token; the most probable one by default.
        at: the word that is asked about, itself or its number from 1, of a model that answers at each: whose tag, or
            how it was foreseen; of several masks, the mask's number. The surest tag that is not O, what follows the
            text, or the first mask when None. Of a model that finds boxes, which of them, by probability from 1. Of one
            whose pixels have classes, "x,y" for the region around a pixel, "left,top,right,bottom" for a box; all
            pixels of the class when None.
        task: how inputs are prepared, where the model does not say it.
        layers: for attention: numbers of the layers, from 0, negative ones from the end; the last one by default.
        heads: for attention and rollout: numbers of the heads; all by default.
        rows: for attention and rollout: query positions; by default those that the classifier reads.
        seed: of the checks' random orders and weights.

    Raises:
        UserError: an unknown method, class, layer, head or row; a method that does not suit the model; a bad input.
    """
    from dougong.explain.checks import deletion, randomised_weights
    from dougong.explain.finding import Ask
    from dougong.explain.methods import METHODS
    from dougong.explain.opening import class_names, make_subject, named, open_model, picture_seen, prepare
    from dougong.explain.subject import evaluation

    if method not in METHODS and method != "auto":
        raise unknown("method", "method", method, ["auto", *METHODS])
    module, task = open_model(model, task)
    classes = class_names(task)
    ask = Ask(layers, heads, rows)
    with evaluation(module):
        sample = prepare(inputs, task, module, at)
        subject = make_subject(module, sample, classes, named(task, target), bool(getattr(task, "several", False)))
        name = subject.auto if method == "auto" else method
        finding = METHODS[name](subject, ask)
        deleted, curves = deletion(subject, finding.units, finding.scores, seed)
        randomised = randomised_weights(subject, finding, METHODS[name], ask, seed)
    return Explanation(
        target=subject.target,
        units=finding.units,
        scores=finding.scores,
        method=name,
        checks={**finding.checks, "deletion": deleted, "randomised weights": randomised},
        signed=finding.signed,
        picture_seen=subject.marked(picture_seen(subject.inputs, task)),
        texts=sample.passage.texts if sample.passage else (),
        curves=curves,
        maps=finding.maps,
        notes=(*subject.notes, *finding.notes),
        source=sample.source,
        meaning=finding.meaning,
    )


make_callable(__name__, explain)
