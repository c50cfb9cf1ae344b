"""The tutorials are programs: they run, print what they say, and say the same in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import tutorials

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "tutorials").glob("*.md"))
IDS = [page.stem for page in PAGES]


def run_and_compare(page: tutorials.Page, folder: Path) -> list[str]:
    faults = []
    for cell, printed in zip(page.cells, tutorials.run(page, folder), strict=True):
        if cell.stated is not None:
            found = tutorials.differences(cell.stated, printed, cell.within)
            faults += [f"{page.path.name}:{cell.line}: {fault}" for fault in found]
    return faults


def test_there_are_tutorials() -> None:
    assert "from-the-formula" in IDS


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_a_tutorial_runs_and_prints_what_it_says(path: Path, tmp_path: Path) -> None:
    page = tutorials.read(path)
    assert page.cells
    assert run_and_compare(page, tmp_path) == []
    saved = {Path(name).name for name in tutorials.FIGURE.findall(page.text) if name.startswith("img/")}
    assert saved <= {picture.name for picture in tmp_path.glob("*.png")}, "figures that no cell saves"


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_a_translation_follows_its_page(path: Path) -> None:
    page, other = tutorials.read(path), tutorials.read(DOCS / "zh" / "tutorials" / path.name)
    assert tutorials.translation_faults(page, other) == []
    assert tutorials.missing_figures(page) == tutorials.missing_figures(other) == []


def test_no_translation_without_its_page() -> None:
    assert sorted(page.name for page in (DOCS / "zh" / "tutorials").glob("*.md")) == [page.name for page in PAGES]


GOOD = """# One

```python
def double(x):
    '''Twice.'''
    return 2 * x  # a comment

print(double(1.5), "done")
```

```text
3.00 done
```

$$x^2$$

![two](img/two.png)
"""


def write(folder: Path, name: str, text: str) -> tutorials.Page:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return tutorials.read(path)


def test_negative_control_a_cell_that_fails(tmp_path: Path) -> None:
    assert run_and_compare(write(tmp_path, "good.md", GOOD.replace("3.00", "3.0")), tmp_path) == []
    bad = write(tmp_path, "bad.md", GOOD.replace("2 * x", "2 * y"))
    with pytest.raises(AssertionError, match=r"bad\.md:3: NameError"):
        run_and_compare(bad, tmp_path)
    bad = write(tmp_path, "verb.md", "```bash\ndougong nosuchverb\n```\n")
    with pytest.raises(AssertionError, match="ends with 2"):
        run_and_compare(bad, tmp_path)
    with pytest.raises(AssertionError, match="no dougong command"):
        run_and_compare(write(tmp_path, "shell.md", "```bash\nls\n```\n"), tmp_path)


@pytest.mark.parametrize("stated", ["3.2 done", "3.0", "3.0 done\nand more", "3.0 gone", "4 done"])
def test_negative_control_a_cell_that_prints_something_else(stated: str, tmp_path: Path) -> None:
    assert run_and_compare(write(tmp_path, "bad.md", GOOD.replace("3.00 done", stated)), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("2 * x", "3 * x", "code"),
        ('"done"', '"finished"', "code"),
        ("3.00", "3.01", "said to print"),
        ("# One", "# One\n## Two", "headings"),
        ("two.png", "three.png", "figures"),
        ("$$x^2$$", "", "formulas"),
        ("```python", "```py", "cells"),
    ],
)
def test_negative_control_a_translation_that_differs(old: str, new: str, named: str, tmp_path: Path) -> None:
    page = write(tmp_path, "page.md", GOOD)
    free = GOOD.replace("# One", "# 一").replace("Twice.", "两倍。").replace("a comment", "注释")
    assert tutorials.translation_faults(page, write(tmp_path, "zh.md", free)) == []
    faults = tutorials.translation_faults(
        page, write(tmp_path, "zh.md", free.replace("# 一", "# One").replace(old, new))
    )
    assert any(named in fault for fault in faults), faults
