"""Tables that pages quote are those that the results give, and nobody changed them by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = "# Page\n\n<!-- measured: perplexity -->\nold\n<!-- end -->\n\nAfter.\n"
HELD = {"perplexity": 4.0, "bits_per_byte": 2.0, "megabytes": 1.5}
RESULTS = {
    "perplexity": {
        "goal": "words",
        "float32": HELD,
        "int4": {**HELD, "times_float32": 1.02, "times_float32_low": 1.01, "times_float32_high": 1.03},
        "machine": {"cores": 2},
    }
}


@pytest.fixture(scope="module")
def sections() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sections", ROOT / "benchmarks" / "sections.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_page_gets_what_was_measured(sections: ModuleType) -> None:
    found = sections.filled(PAGE, RESULTS, 0)
    assert found.startswith("# Page\n\n<!-- measured: perplexity -->\n\n| precision |") and found.endswith("After.\n")
    assert "| `float32` | 4.0000 | 1 | - | 2.0000 | 1.5 |" in found
    assert "| `int4` | 4.0000 | 1.0200 | 1.0100 - 1.0300 | 2.0000 | 1.5 |" in found
    assert "old" not in found and sections.filled(found, RESULTS, 0) == found
    assert "Not measured yet." in sections.filled(PAGE, {}, 0) and "尚未测量" in sections.filled(PAGE, {}, 1)
    with pytest.raises(KeyError):
        sections.filled(PAGE.replace("perplexity", "nothing"), RESULTS, 0)


def test_pages_say_what_the_results_say(sections: ModuleType) -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "speed.json").read_text(encoding="utf-8"))
    quoting = 0
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if sections.MARKS.search(text):
            quoting += 1
            language = int(page.is_relative_to(ROOT / "docs" / "zh"))
            assert sections.filled(text, results, language) == text, f"{page}: run benchmarks/results.py"
    assert quoting >= 2
