"""Reading the pages that are written: as text, and in a real browser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
EMPTY = {"meta", "link", "img", "br", "wbr", "input", "hr"}


class Page(HTMLParser):
    """A page's tags and addresses; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.stack == [], f"never closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in EMPTY:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees."""
        return " ".join(" ".join(self.words).split())


def check_self_contained(text: str) -> Page:
    """The page, once it is sure that it loads nothing and runs nothing."""
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "form"} & set(page.tags)
    assert page.handlers == []
    assert [address for address in page.addresses if not address.startswith(("data:", "#"))] == []
    assert "url(" not in text and "@import" not in text
    return page


@contextlib.contextmanager
def browsing(path: Path, **look: Any) -> Iterator[Any]:
    """The page in a real browser; fails if it says anything on the console, asks the network, or opens a dialog."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium, and this runs")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright, and this runs")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(**look)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: said.append(request.url) if asks_network(request.url) else None)
        page.goto(path.absolute().as_uri())
        yield page
        browser.close()
        assert said == []


def asks_network(address: str) -> bool:
    """Whether an address leads out of the page's own file."""
    return not address.startswith(("data:", "file:"))
