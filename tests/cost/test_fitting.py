"""What a step holds with blocks computed twice and batches in pieces, against torch's allocator; and what is chosen."""

from __future__ import annotations

import functools

import pytest
import torch

from dougong.architectures import build
from dougong.cost.fitting import NARROW, Steps
from dougong.cost.running import peak_bytes
from dougong.frames.recomputing import Recomputing
from dougong.heads.losses import cross_entropy
from dougong.parts.output import deferring

MODEL = {"architecture": "gpt2", "d_model": 64, "n_layers": 6, "n_heads": 4, "vocab_size": 500, "max_length": 128,
         "dropout": 0.1}  # fmt: skip
ROWS, LENGTH = 8, 128


@functools.cache
def steps(precision: str = "float32") -> Steps:
    return Steps(MODEL, ROWS, LENGTH, precision=precision, optimizer="none")


def measured(pieces: int, recomputed: int, precision: str) -> int:
    model = build(MODEL, seed=0).train()
    tokens, targets = torch.randint(0, 500, (2, ROWS, LENGTH)).unbind()

    def once() -> None:
        for part, wanted in zip(tokens.chunk(pieces), targets.chunk(pieces), strict=True):
            narrow = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
            with narrow, deferring(), Recomputing(model, recomputed):
                loss = cross_entropy(model(part), wanted)
            loss.backward()

    once()
    return peak_bytes(model, once)


@pytest.mark.parametrize("way", [(1, 0), (1, 3), (1, 6), (2, 0), (4, 6)])
def test_float32_is_the_allocators(way: tuple[int, int]) -> None:
    assert steps().fit(*way).peak == pytest.approx(measured(*way, "float32"), rel=0.02)


@pytest.mark.parametrize("way", [(1, 0), (1, 6)])
def test_bfloat16_is_never_less_than_the_allocators(way: tuple[int, int]) -> None:
    said, true = steps("bfloat16").fit(*way).peak, measured(*way, "bfloat16")
    assert true <= said <= NARROW * 1.05 * true


def test_both_ways_save_memory_and_take_time() -> None:
    """The control of the comparison above: the figures that are told apart are far apart."""
    plain, again, cut = steps().fit(), steps().fit(1, 6), steps().fit(4, 0)
    assert again.peak < 0.5 * plain.peak and cut.peak < 0.5 * plain.peak
    assert again.seconds > plain.seconds and cut.seconds > plain.seconds


def test_the_quickest_that_fits_is_chosen() -> None:
    pieces = (1, 2, 4, 8)
    assert (lambda fit: (fit.pieces, fit.recomputed))(steps().choose(1e12, pieces)) == (1, 0)
    room = 0.7 * steps().fit().peak
    ways = [steps().fit(cut, again) for cut in pieces for again in range(steps().blocks + 1)]
    best = min((way for way in ways if way.peak <= room), key=lambda way: way.seconds)
    assert steps().choose(room, pieces) == best
    assert steps().choose(room, (1,)).pieces == 1
    assert steps().choose(1000, pieces) is None
    assert steps().least(pieces).peak <= min(way.peak for way in ways)
