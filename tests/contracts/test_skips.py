"""No test is skipped in silence: skips.toml lists each with its reason and what would un-skip it."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = {"skip", "skipif", "xfail", "importorskip", "skipTest", "skipUnless", "skipIf"}


def skips_in(source: str) -> int:
    """How often a test file skips: pytest.skip, pytest.mark.skipif, pytest.importorskip, xfail, unittest's own."""
    found = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in WORDS:
            found += ast.unparse(node).startswith(("pytest.", "unittest.", "self.skip"))
        elif isinstance(node, ast.ImportFrom) and node.module in ("pytest", "unittest"):
            found += sum(name.name in WORDS for name in node.names)
    return found


def listed() -> list[dict]:
    return tomllib.loads((ROOT / "tests/contracts/skips.toml").read_text(encoding="utf-8")).get("skip", [])


def test_every_skip_is_listed_and_every_listed_one_is_there() -> None:
    files = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    found = {name: skips_in(source) for name, source in files.items() if skips_in(source)}
    stated: Counter[str] = Counter()
    for entry in listed():
        stated[entry["file"]] += entry["count"]
    assert found == dict(stated), "list it in tests/contracts/skips.toml, or strike it there"


def test_every_listed_skip_says_why_and_until_when() -> None:
    for entry in listed():
        assert set(entry) == {"file", "count", "why", "until"} and entry["count"] > 0
        assert len(entry["why"].split()) > 2 and len(entry["until"].split()) > 2, entry


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import pytest\n@pytest.mark.skipif(True, reason='x')\ndef test(): pytest.skip('y')", 2),
        ("import pytest\nmodule = pytest.importorskip('x')\n@pytest.mark.xfail\ndef test(): ...", 2),
        ("from pytest import skip\ndef test(): skip('x')", 1),
        ("def test(): rows.skip(2); Mean(skip=1); skip = 3", 0),
    ],
)
def test_skips_are_found(source: str, count: int) -> None:
    assert skips_in(source) == count
