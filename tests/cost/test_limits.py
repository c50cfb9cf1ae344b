"""A machine's limits: positive, ordered as they must be, kept one by one, and measured again when asked."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from dougong.cost import limits as module
from dougong.cost.limits import Limits, limits
from dougong.errors import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "SIDES", (64, 128))
    monkeypatch.setattr(module, "READ", 2**18)
    monkeypatch.setattr(module, "MOMENT", 0.01)
    return tmp_path / "dougong" / "limits.json"


def test_they_are_those_of_a_processor(cache: Path) -> None:
    found = limits("cpu")
    assert found.device == "cpu" and found.machine
    assert 1e7 < found.bandwidth < 1e13
    assert 1e7 < found.matrix("float32") < 1e15
    assert found.matrix("float32") == max(row.rate or 0 for row in found.rows if row.precision == "float32")
    assert found.matrix("float16") == 0, "what is not measured is not known"
    assert {row.threads for row in found.rows} == {1, torch.get_num_threads()}
    assert all(row.rate is None or row.rate > 0 for row in found.rows)


def test_the_clock_agrees(cache: Path) -> None:
    """A product of the largest size takes about as long as the rate says: within a factor, as machines are busy."""
    rate = limits("cpu").matrix("float32")
    a, b = torch.rand(128, 128), torch.rand(128, 128)
    taken = []
    for _ in range(200):
        start = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - start)
    assert 2.0 * 128**3 / min(taken) < 20 * rate


def test_they_are_kept(cache: Path) -> None:
    first = limits("cpu")
    known = json.loads(cache.read_text())
    assert len(known) == len(first.rows) == module.count("cpu")
    before = cache.read_bytes()
    assert limits("cpu") == first and cache.read_bytes() == before
    for key in known:
        known[key] |= {"rate": 1.0, "load": 0.0}
    cache.write_text(json.dumps(known))
    assert limits("cpu").bandwidth == 1.0, "what is kept is believed"
    assert limits("cpu", again=True).bandwidth > 1.0
    assert limits("cpu").bandwidth > 1.0, "and what was measured again is kept"


def test_what_was_taken_on_a_busy_machine_is_measured_again(cache: Path) -> None:
    limits("cpu")
    known = json.loads(cache.read_text())
    for key in known:
        known[key] |= {"rate": 1.0, "load": 1e9}
    cache.write_text(json.dumps(known))
    assert limits("cpu").bandwidth > 1.0


def test_an_interruption_keeps_what_was_measured(cache: Path) -> None:
    def stop(name: str) -> None:
        if name.startswith("matrix"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        limits("cpu", show=stop)
    known = json.loads(cache.read_text())
    assert 0 < len(known) < module.count("cpu")
    for key in known:
        known[key] |= {"rate": 2.0, "load": 0.0}
    cache.write_text(json.dumps(known))
    assert limits("cpu").bandwidth == 2.0, "the next time goes on from there"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'{"x": 1}'])
def test_a_broken_cache_is_written_anew(cache: Path, content: bytes) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    assert limits("cpu").bandwidth > 0


def test_a_kept_row_of_another_form_is_measured_anew(cache: Path) -> None:
    limits("cpu")
    known = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: {"speed": 1} for key in known}))
    assert limits("cpu").bandwidth > 0


def test_a_kernel_that_is_missing_is_no_rate(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("not compiled in")

    monkeypatch.setattr(torch, "_int_mm", missing)
    found = limits("cpu")
    (row,) = (row for row in found.rows if row.precision == "int8")
    assert row.rate is None and row.kernel == "" and found.matrix("int8") == 0
    assert found.matrix("float32") > 0


def test_threads_are_as_before(cache: Path) -> None:
    before = torch.get_num_threads()
    limits("cpu")
    assert torch.get_num_threads() == before


def test_json_has_plain_values(cache: Path) -> None:
    found: Limits = limits("cpu")
    told = json.loads(json.dumps(found.to_dict()))
    assert set(told) == {"machine", "device", "busy", "limits"}
    assert len(told["limits"]) == len(found.rows)


@pytest.mark.parametrize("device", ["tpu", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(UserError) as raised:
        limits(device)
    assert raised.value.where == "device"
