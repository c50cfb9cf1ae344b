"""Integrated gradients: what each part of the input adds to the evidence for one class."""

from __future__ import annotations

import torch
from torch import Tensor

from dougong.explain.explanation import Check
from dougong.explain.finding import Ask, Finding
from dougong.explain.subject import Subject

FIRST_STEPS = 32
SHARE, FLOOR = 0.01, 0.01


def integrated_gradients(subject: Subject, ask: Ask) -> Finding:
    """(x - x') times the mean gradient on the straight path from the baseline x' to x (Sundararajan et al. 2017, 3).

    The function is the evidence for the class, its logit less the mean of all logits, or a cosine. Steps are
    doubled from 32 until the scores add up to the rise of that function, or ``ask.steps`` is reached.
    """
    units = subject.cells()
    with torch.no_grad():
        ends = subject.evidence(torch.cat((subject.baseline, subject.points))).double()
    rise = float(ends[1] - ends[0])
    steps = min(FIRST_STEPS, ask.steps)
    while True:
        attribution = attribute(subject, steps)
        gap = abs(float(attribution.double().sum()) - rise)
        if gap <= limit(rise) or 2 * steps > ask.steps:
            break
        steps *= 2
    return Finding(
        units=units,
        scores=subject.sum_over(units, attribution),
        meaning=f"what each {units.kind} adds to {subject.aim}, compared with an empty input",
        signed=True,
        checks={"completeness": completeness(gap, rise, steps)},
        notes=(f"An empty input is {subject.nothing}. {subject.there(subject.baseline)}",),
    )


def limit(rise: float) -> float:
    """The gap that passes: 1 % of the rise, or 0.01 where it hardly rises."""
    return max(SHARE * abs(rise), FLOOR)


def attribute(subject: Subject, steps: int) -> Tensor:
    """Attributions of the points' shape, (1, ...)."""
    from captum.attr import IntegratedGradients

    with torch.enable_grad():
        return IntegratedGradients(subject.evidence, multiply_by_inputs=True).attribute(
            subject.points.detach(), subject.baseline, n_steps=steps, internal_batch_size=subject.batch
        ).detach()  # fmt: skip


def completeness(gap: float, rise: float, steps: int) -> Check:
    """The check that the scores add up."""
    share = gap / max(abs(rise), FLOOR)
    passed = gap <= limit(rise)
    verdict = "they add up" if passed else "they do NOT add up: do not read single scores"
    meaning = (
        f"The scores should add up to the rise of the evidence from an empty input to this one, {rise:+.2f}. They "
        f"miss it by {gap:.1e} ({share:.1%}) with {steps} steps: {verdict}. Passes up to 1 % of the rise, or 0.01."
    )
    return Check(share, meaning, passed)
