"""Products that a training takes: chosen once, kept in its configuration, and equal to torch's but for rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dougong
from dougong.errors import UserError
from dougong.parts import products
from dougong.runtime import kernels
from dougong.training import arithmetic, resume
from dougong.training.loop import Loop
from dougong.training.run import Run

MODEL = {"architecture": "gpt2", "d_model": 128, "n_layers": 1, "n_heads": 2, "dropout": 0.0}
needs_onednn = pytest.mark.skipif(not products.there(), reason="this build of torch has no oneDNN")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("".join(f"count {n % 10} then {n % 7}\n" for n in range(600)), encoding="utf-8")
    return tmp_path / "a.txt"


def trained(text: Path, out: Path, **settings: object) -> dict[str, torch.Tensor]:
    told = {"tokenizer": "characters", "max_length": 16, "batch_size": 8, "budget": "6steps", "model": MODEL}
    settings = {**told, **settings}
    run = dougong.train(settings.pop("model"), text, out=out, **settings)  # type: ignore[arg-type]
    return load_file(run.path / "model" / "model.safetensors")


@needs_onednn
def test_both_learn_the_same(text: Path, tmp_path: Path) -> None:
    plain = trained(text, tmp_path / "plain", products="torch")
    quick = trained(text, tmp_path / "quick", products="onednn")
    again = trained(text, tmp_path / "again", products="onednn", recompute=1)
    assert any(not torch.equal(plain[name], quick[name]) for name in plain)  # other kernels, other last bits
    for name, value in plain.items():
        torch.testing.assert_close(quick[name], value, rtol=1e-3, atol=1e-4)
        assert torch.equal(again[name], quick[name])  # blocks that are computed twice take the same products twice


@needs_onednn
def test_a_resumed_run_takes_the_products_that_it_began_with(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever would be quicker by then."""
    whole = trained(text, tmp_path / "whole", products="onednn")
    plain = trained(text, tmp_path / "plain", products="torch")
    monkeypatch.setattr(arithmetic, "seconds_of_learning", lambda: {"torch": 1.0, "onednn": 0.1})
    step = Loop._step

    def stopping(self: Loop, *given: object) -> tuple[float, float]:
        if self.state.step == 3 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt
        return step(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Loop, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(text, tmp_path / "cut", checkpoint_every=1)
    monkeypatch.setattr(arithmetic, "seconds_of_learning", lambda: {"torch": 0.1, "onednn": 1.0})
    resume(tmp_path / "cut")
    found = load_file(tmp_path / "cut" / "model" / "model.safetensors")
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    assert any(not torch.equal(found[name], plain[name]) for name in plain)


@needs_onednn
@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 0.5), "onednn"), ((1.0, 0.98), "torch"), ((0.5, 1.0), "torch")])
def test_the_quicker_one_is_chosen_and_written_down(
    seconds: tuple[float, float], chosen: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dict(zip(("torch", "onednn"), seconds, strict=True))
    monkeypatch.setattr(arithmetic, "seconds_of_learning", lambda: found)
    trained(text, tmp_path / "run")
    assert Run.open(tmp_path / "run").config.products == chosen


def test_small_layers_are_not_measured(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "seconds_of_learning", lambda: pytest.fail("measured"))
    trained(text, tmp_path / "small", model={**MODEL, "d_model": 16})
    trained(text, tmp_path / "half", precision="bfloat16")
    assert Run.open(tmp_path / "half").config.products == "torch"


def test_what_is_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = kernels.seconds_of_learning(32, 32)
    monkeypatch.setattr(kernels, "_in_turns", lambda _: pytest.fail("measured again"))
    assert kernels.seconds_of_learning(32, 32) == found and all(each > 0 for each in found.values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"products": "onednn", "precision": "bfloat16"}, "onednn is for float32 on the CPU, and this is bfloat16"),
        ({"products": "mkl"}, "products: 'mkl' will not do"),
        ({"compile": True, "recompute": 1}, "blocks that are compiled are not computed twice"),
    ],
)
def test_what_cannot_be_had_is_refused(settings: dict[str, object], said: str, text: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        trained(text, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_compiling_without_a_compiler_is_refused(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "compiler", lambda: None)
    with pytest.raises(UserError, match="there is no C\\+\\+ compiler"):
        trained(text, tmp_path / "run", compile=True)


@pytest.mark.long  # half a minute of compiling
def test_compiled_blocks_learn_the_same(text: Path, tmp_path: Path) -> None:
    small = {**MODEL, "d_model": 16}
    plain = trained(text, tmp_path / "plain", model=small)
    compiled = trained(text, tmp_path / "compiled", model=small, compile=True)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4)
