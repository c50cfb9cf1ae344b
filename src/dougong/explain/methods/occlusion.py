"""Occlusion: what happens to the evidence when one part of the input is taken away."""

from __future__ import annotations

import numpy as np
import torch

from dougong.explain.finding import Ask, Finding
from dougong.explain.subject import Subject
from dougong.runtime.convolving import FastPictures


@torch.no_grad()
def occlusion(subject: Subject, _: Ask) -> Finding:
    """The evidence for the class less the evidence without the unit (Zeiler and Fergus 2014, section 4.2; of words,
    Li, Monroe and Jurafsky 2016, "Understanding neural networks through representation erasure").

    It needs no gradient, no attention and no baseline path: one question to the model for each unit. Scores do not
    add up to anything: of two words that say the same, neither is missed.
    """
    units = subject.cells()
    count = len(units)
    left: list[np.ndarray] = []
    with FastPictures(subject.model):  # many pictures, and no gradients
        for rows in torch.arange(count + 1).split(subject.batch):  # the last one removes nothing
            removed = rows[:, None] == torch.arange(count)
            left.append(subject.evidence(subject.without(units, removed)).double().cpu().numpy())
    evidence = np.concatenate(left)
    return Finding(
        units=units,
        scores=evidence[-1] - evidence[:-1],
        meaning=f"how much of {subject.aim} is lost without that {units.kind} alone",
        signed=True,
        notes=(f"What is taken away is replaced by its part of an empty input: {subject.nothing}.",),
    )
