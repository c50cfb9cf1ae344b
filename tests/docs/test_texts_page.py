"""The page on preparing texts names every kind of fault as the doctor tells it, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.text_faults import FAULTS

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \|([^|]*)\|$", re.MULTILINE)
WORDS = {"howto/texts.md": ("error", "warning"), "zh/howto/texts.md": ("错误", "警告")}
ALSO = {"too long": ("warning", "")}  # of --length, which the planted faults do not need


@pytest.mark.parametrize("page", WORDS)
def test_page_names_every_kind_of_fault(page: str) -> None:
    rows = {name: (severity, fix.strip()) for name, severity, fix in ROW.findall((DOCS / page).read_text("utf-8"))}
    planted = {}
    for fault in FAULTS.values():  # of a kind that is mended here and not there, the page says how it is mended
        severity, fix = planted.get(fault.kind, (fault.severity, ""))
        planted[fault.kind] = (severity, fix or fault.fix)
    planted |= ALSO
    assert set(rows) == set(planted)
    for kind, (severity, fix) in planted.items():
        assert rows[kind][0] == WORDS[page][severity == "warning"], kind
        assert bool(rows[kind][1]) == bool(fix) or kind == "two labels", kind
