"""Every tutorial runs as it stands, prints what it says, and says the same in Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tutorials import Page, differences, read, run, skeleton

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "tutorials").glob("*.md"))
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
FIGURE = re.compile(r"!\[[^\]]+\]\(([^)\s]+)\)")
FORMULA = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def faults_of(page: Page, folder: Path) -> list[str]:
    """Where a page prints something else than it says, or shows a picture that its cells do not draw."""
    printed = run(page, folder)
    found = []
    for cell, output in zip(page.cells, printed, strict=True):
        if cell.stated is not None:
            said = differences(cell.stated, output, cell.within)
            found += [f"{page.path.name}:{cell.line}: {fault}" for fault in said]
    for name in FIGURE.findall(page.text):
        drawn, kept = folder / Path(name).name, page.path.parent / name
        found += [f"{page.path.name}: {place} is missing" for place in (drawn, kept) if not place.is_file()]
        if drawn.is_file():
            found += [f"{page.path.name}: {name} is blank"] * bool(np.asarray(Image.open(drawn).convert("L")).std() < 5)
    return found


def translation_faults(page: Page, translation: Page) -> list[str]:
    """Where a translation has other cells, stated output, headings, figures or formulas."""
    found = []
    if len(page.cells) != len(translation.cells):
        found.append(f"{len(page.cells)} cells, and {len(translation.cells)} in translation")
    for cell, other in zip(page.cells, translation.cells, strict=False):
        if (cell.kind, skeleton(cell)) != (other.kind, skeleton(other)):
            found.append(f"cells of line {cell.line} and {other.line} differ")
        if (cell.stated, cell.within) != (other.stated, other.within):
            found.append(f"what the cells of line {cell.line} and {other.line} print differs")
    prose, translated = (CODE.sub("", each.text) for each in (page, translation))
    for what, pattern in (("headings", HEADING), ("formulas", FORMULA)):
        if pattern.findall(prose) != pattern.findall(translated):
            found.append(f"other {what}")
    # by name: a translation may show the pictures of its page
    if [Path(name).name for name in FIGURE.findall(prose)] != [Path(name).name for name in FIGURE.findall(translated)]:
        found.append("other figures")
    for name in FIGURE.findall(translated):
        found += [f"{name} is missing"] * (not (translation.path.parent / name).is_file())
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_tutorial_runs_and_prints_what_it_says(path: Path, tmp_path: Path) -> None:
    assert faults_of(read(path), tmp_path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_chinese_tutorial_has_the_same_cells(path: Path) -> None:
    assert translation_faults(read(path), read(DOCS / "zh" / "tutorials" / path.name)) == []


def test_there_are_tutorials() -> None:
    assert {path.stem for path in PAGES} >= {"from-the-formula", "compare"}
    assert sorted(path.name for path in (DOCS / "zh" / "tutorials").glob("*.md")) == [path.name for path in PAGES]


SMALL = """# A page

$$a^2$$

```python
x = "two"  # a comment
print(1 + 1, x)
```

```text
2 two
```

```bash
dougong --version
```

```text
...
```

<!-- end -->
"""


def page_of(text: str, folder: Path) -> Page:
    """A page in a folder of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "page.md").write_text(text, encoding="utf-8")
    return read(folder / "page.md")


def test_good_page_has_no_faults(tmp_path: Path) -> None:
    assert faults_of(page_of(SMALL, tmp_path / "page"), tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("print(1 + 1, x)", "print(1 + 2, x)"),
        ("2 two", "2 three"),
        ("2 two", "2 two\nand more"),
        ("2 two\n", ""),
        ("<!-- end -->", "![a picture](img/nowhere.png)"),
    ],
)
def test_wrong_page_goes_red(old: str, new: str, tmp_path: Path) -> None:
    assert faults_of(page_of(SMALL.replace(old, new, 1), tmp_path / "page"), tmp_path) != []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("print(1 + 1, x)", "print(1 / 0)", "ZeroDivisionError"),
        ("dougong --version", "dougong no-such-verb", "ends with 2"),
        ("dougong --version", "rm -rf nothing", "no dougong command"),
    ],
)
def test_failing_cell_goes_red(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=said):
        run(page_of(SMALL.replace(old, new, 1), tmp_path / "page"), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# A page", "# 一页", True),
        ("# a comment", "# 注释", True),
        ("print(1 + 1, x)", "print(1 + 3, x)", False),
        ('"two"', '"zwei"', False),
        ("2 two", "3 two", False),
        ("# A page", "## A page", False),
        ("a^2", "a^3", False),
        ("dougong --version", "dougong --help", False),
        ("<!-- end -->", "![a picture](img/x.png)", False),
        ("<!-- end -->", "```python\npass\n```", False),
    ],
)
def test_translation_must_have_the_same_cells(old: str, new: str, same: bool, tmp_path: Path) -> None:
    page, translation = page_of(SMALL, tmp_path / "en"), page_of(SMALL.replace(old, new, 1), tmp_path / "zh")
    assert (translation_faults(page, translation) == []) == same


@pytest.mark.parametrize(
    ("stated", "printed", "within", "same"),
    [
        ("loss 0.123", "loss 0.124", 0.0, True),
        ("loss 0.123", "loss 0.126", 0.0, False),
        ("loss 0.123", "loss 0.126", 0.05, True),
        ("10 steps", "11 steps", 0.0, False),
        ("10 steps", "11 steps", float("inf"), True),
        ("p <0.001", "p 0.014", float("inf"), True),
        ("took 3.2 s", "took 1 min 06 s", 0.0, True),
        ("kept in /tmp/a/b", "kept in /var/c", 0.0, True),
        ("10 steps", "10 stops", float("inf"), False),
        ("first\n...\nlast", "first\nmiddle\nlast", 0.0, True),
        ("first\n...\nlast", "first\nmiddle\nend", 0.0, False),
    ],
)
def test_comparison_of_outputs(stated: str, printed: str, within: float, same: bool) -> None:
    assert (differences(stated, printed, within) == []) == same
