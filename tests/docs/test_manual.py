"""The manual: every page can be reached, formulas are drawn without a script, and the built pages hold together."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from support.pages import CHROMIUM

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FORMULAS = [
    r'<div class="arithmatex">\[\mathrm{Attention}(Q, K, V) = \frac{QK^\top}{\sqrt{d_k}} V\]</div>',
    r'<span class="arithmatex">\(2\pi\)</span>',
]


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags name Python functions."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def pages_of(nav: Any) -> list[str]:
    """The pages of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(each)]


def test_navigation_leads_to_every_page_once() -> None:
    listed = pages_of(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"])
    kept = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(page for page in kept if not page.startswith("zh/"))
    assert [page for page in kept if page.startswith("zh/") and page[3:] not in listed] == []


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_become_mathml(hooks: ModuleType, formula: str) -> None:
    drawn = hooks.on_page_content(f"<p>{formula}</p>")
    assert "<math" in drawn and "arithmatex" not in drawn and "\\" not in drawn
    assert ('display="block"' in drawn) == formula.startswith("<div")


def test_other_text_is_left_alone(hooks: ModuleType) -> None:
    text = r"<p><code>\(x\)</code> costs $5</p>"
    assert hooks.on_page_content(text) == text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The manual, built and served."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


# Tables and formulas are scrolled by themselves, and so may be wider.
WIDER = """[...document.querySelectorAll('.md-content img, .md-content p, .md-content math')]
    .filter(each => !each.closest('.md-typeset__scrollwrap, .formula'))
    .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
    .map(each => each.textContent.slice(0, 40))"""
READY = """[...document.querySelectorAll('.md-content table:not([class])')]
    .every(each => each.closest('.md-typeset__scrollwrap'))"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_built_pages_hold_together(site: str) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium, and this runs")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright, and this runs")
    listed = pages_of(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"])
    addresses = [f"{site}/{tree}{page.removesuffix('.md')}.html" for tree in ("", "zh/") for page in listed]
    faults = []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for width in (1280, 390):
            page = chromium.new_page(viewport={"width": width, "height": 844})
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            for address in addresses:
                answer = page.goto(address, wait_until="networkidle")
                page.wait_for_function(READY)  # tables scroll once the theme has run
                where = f"{address.removeprefix(site)} at {width}"
                if answer is None or answer.status != 200:
                    faults.append(f"{where} is missing")
                if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    faults.append(f"{where} is wider than the screen")
                faults += [f"{where}: {text!r} is wider than the screen" for text in page.evaluate(WIDER)]
                if page.evaluate("[...document.images].some(each => !each.complete || !each.naturalWidth)"):
                    faults.append(f"{where} lacks a picture")
                if page.evaluate("/\\\\\\(|\\\\\\[|\\\\frac/.test(document.body.innerText)"):
                    faults.append(f"{where} shows a formula's source")
            faults += [f"asks for {url}" for url in asked if urlsplit(url).netloc != urlsplit(site).netloc]
            page.close()
        chromium.close()
    assert not faults, "\n".join(faults)
