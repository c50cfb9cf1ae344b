"""The table of goals and the picture of the roofline come out of what the benchmarks wrote."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
WORDS = {"missing": "Not measured yet.", "met": "yes", "unmet": "no"}


@pytest.fixture(scope="module")
def goals() -> ModuleType:
    spec = importlib.util.spec_from_file_location("goals_of_speed", FOLDER / "goals.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def row(goals: ModuleType, results: dict[str, Any], workload: str, against: str) -> list[str]:
    (found,) = (each for each in goals.rows(results, 0, WORDS) if each[0] == workload and each[1] == against)
    return found


def test_a_goal_is_met_or_not(goals: ModuleType) -> None:
    held = {"times_transformers": 4.6, "times_transformers_low": 4.1, "times_transformers_high": 5.0}
    told = row(goals, {"decoding": {"one, float32": held}}, "writing, 1 text, Llama 125M, float32", "Transformers")
    assert told[2:] == ["≥ 4.5", "4.6 (4.1 - 5)", "yes"]
    told = row(
        goals,
        {"decoding": {"one, float32": {"times_transformers": 4.4}}},
        "writing, 1 text, Llama 125M, float32",
        "Transformers",
    )
    assert told[2:] == ["≥ 4.5", "4.4", "no"]


def test_a_goal_that_is_an_upper_bound(goals: ModuleType) -> None:
    for ratio, said in ((0.4, "yes"), (0.6, "no")):
        results = {"opening": {"gpt2": {"process_ratio": ratio, "process_low": 0.3, "process_high": 0.7}}}
        told = row(goals, results, "from 500 MB to the first token", "time of Transformers")
        assert told[2:] == ["≤ 0.5", f"{ratio:g} (0.3 - 0.7)", said]


def test_what_was_not_measured_is_said_so(goals: ModuleType) -> None:
    found = goals.rows({}, 0, WORDS)
    assert len(found) == len(goals.GOALS) and all(each[3:] == ["Not measured yet", "-"] for each in found)
    assert len(goals.rows({}, 1, WORDS)) == len(found)


def test_the_roofline_is_drawn_where_there_are_limits(goals: ModuleType, tmp_path: Path) -> None:
    picture = tmp_path / "roofline.svg"
    assert not goals.roofline({}, picture) and not picture.exists()
    figures = {
        "limits": {"memory, read by 1 thread": 2e10, "matrix product, float32, torch": 1e11, "none": None},
        "workloads": {
            "llama, writing, 1 text, int8": {"precision": "int8", "flops": 2e8, "bytes": 1e8, "rate": 50.0},
            "bert, reading, 8 x 128 tokens, float32": {
                "precision": "float32",
                "flops": 2e8,
                "bytes": 1e6,
                "rate": 400.0,
            },
        },
    }
    assert goals.roofline(figures, picture)
    first = picture.read_bytes()
    assert b"writing, int8" in first and b"limit, float32" in first and b"limit, bf16" not in first
    assert goals.roofline(figures, picture) and picture.read_bytes() == first, "the same figures give the same file"
