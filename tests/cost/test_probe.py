"""This machine's rates: measured once, kept, and measured again where they were taken on a busy machine."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dougong.cost.devices import Rates, at
from dougong.cost.probe import best, measured, probe
from dougong.errors import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dougong" / "probe.json"


def plain(rates: Rates) -> Rates:
    """Without the remark about a busy machine, which is made anew each time."""
    return replace(rates, basis="")


def test_rates_are_those_of_a_processor() -> None:
    found = probe("cpu", "float32")
    assert 1e8 < at(found.matmul, 1e9) < 1e14 and 1e8 < at(found.bandwidth, 1e8) < 1e13
    assert 0 < found.overhead < 1 and 1e6 < found.curves < 1e12 and found.memory > 1e9
    assert [size for size, _ in found.matmul] == [2.0 * side**3 for side in (64, 256, 1024)]


def test_a_probe_is_kept_and_another_precision_is_another(cache: Path) -> None:
    first = measured("cpu", "float32")
    kept = cache.read_bytes()
    assert plain(measured("auto" if not torch.cuda.is_available() else "cpu", "float32")) == plain(first)
    assert cache.read_bytes() == kept
    measured("cpu", "bfloat16")
    assert len(json.loads(cache.read_text())) == 2


def test_a_busy_machine_is_measured_again_when_it_is_calm(cache: Path) -> None:
    measured("cpu", "float32")
    known = json.loads(cache.read_text())
    (key,) = known
    known[key] |= {"load": 1e9, "curves": 1.0}
    cache.write_text(json.dumps(known))
    assert measured("cpu", "float32").curves > 1.0
    known[key] |= {"load": 0.0}
    cache.write_text(json.dumps(known))
    assert measured("cpu", "float32").curves == 1.0, "what was taken on a calm machine stays"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_broken_cache_is_written_anew(cache: Path, content: bytes) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    measured("cpu", "float32")
    assert len(json.loads(cache.read_text())) == 1


def test_a_home_that_cannot_be_written_to_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert math.isfinite(measured("cpu", "float32").overhead)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(UserError, match="no GPU"):
        measured("cuda", "float32")


def test_a_precision_without_instructions_is_not_waited_for() -> None:
    """bfloat16 products may be a hundred times slower than float32 ones; the probe stops at small ones then."""
    start = time.perf_counter()
    probe("cpu", "float16")
    assert time.perf_counter() - start < 15


def test_the_least_of_several_is_taken() -> None:
    seconds = best(lambda: torch.zeros(10).add_(1), "cpu", seconds=0.01)
    assert 1e-8 < seconds < 0.01
