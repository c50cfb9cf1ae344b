"""What a profiler saw is grouped by what it is, and groups add up to the whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def opened(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def profiles() -> Any:
    pytest.importorskip("transformers", reason="pip install transformers, and this runs")
    sys.path.insert(0, str(FOLDER))
    yield opened("profiles")
    sys.path.remove(str(FOLDER))


def event(name: str, shapes: list[list[int]] | None = None, above: Any = None) -> Any:
    return SimpleNamespace(name=name, input_shapes=shapes, cpu_parent=above)


def test_each_kernel_falls_into_its_group(profiles: ModuleType) -> None:
    loss, step = event("ChunkedCrossEntropy"), event("Optimizer.step#AdamW.step")
    for seen, kind in (
        (event("aten::addmm", [[8], [4, 3], [3, 8]]), "products"),
        (event("aten::mm", [[4, 3], [3, 99]]), "vocabulary"),
        (event("mkldnn::_linear_pointwise", [[4, 3]], loss), "vocabulary"),
        (event("aten::view", [], loss), "rest"),
        (event("aten::_scaled_dot_product_flash_attention_for_cpu", []), "attention"),
        (event("aten::scaled_dot_product_attention", []), "rest"),
        (event("aten::native_layer_norm", [[4, 99]]), "elementwise"),
        (event("aten::index_select", []), "copies"),
        (event("aten::add", [], step), "optimiser"),
        (event("autograd::engine::evaluate_function: MmBackward0"), "rest"),
    ):
        assert profiles.kind_of(seen, 99) == kind, seen.name


def test_groups_add_up_to_the_whole(profiles: ModuleType) -> None:
    times = {"products": 3.0, "attention": 1.0, "rest": 50.0}
    assert profiles.shared(times, 5.0) == {"products": 3.0, "attention": 1.0, "rest": 1.0, "seconds": 5.0}
    assert profiles.shared(times, 2.0) == {"products": 1.5, "attention": 0.5, "rest": 0.0, "seconds": 2.0}


def test_a_real_profile_sees_its_products(profiles: ModuleType) -> None:
    import torch

    x = torch.randn(300, 300)
    found = profiles.seen(lambda: [x @ x for _ in range(5)], 1.0, 99)
    assert found["products"] > 10 * found["elementwise"] and found["seconds"] == 1.0
    assert sum(each for kind, each in found.items() if kind != "seconds") == pytest.approx(1.0)


def test_the_picture_is_drawn_where_there_is_something(tmp_path: Path) -> None:
    bars = opened("bars")
    picture = tmp_path / "bars.svg"
    assert not bars.bars({}, picture) and not picture.exists()
    held = dict.fromkeys(bars.COLOURS, 0.01) | {"seconds": 0.07}
    assert bars.bars({"training": {"before": held, "after": held}}, picture)
    first = picture.read_bytes()
    assert b"matrix products" in first and b"70 ms" in first and b"Llama" not in first
    assert bars.bars({"training": {"before": held, "after": held}}, picture) and picture.read_bytes() == first


def test_a_step_of_our_own_is_grouped_by_operation(profiles: ModuleType) -> None:
    from support.small import built

    from dougong.runtime.native import native

    found = profiles.phases(built("llama"), [3, 5, 7], 3)
    if native() is None:
        assert found == {}
    else:
        assert found["products"] > 0 and found["vocabulary"] > 0 and found["attention"] > 0
