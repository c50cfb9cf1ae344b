"""For mkdocs: what ``dougong VERB --help`` prints, and formulas as MathML.

A line ``{{ help VERB }}`` of a page becomes the help of that verb. Formulas are turned into MathML when the manual is
built, so that browsers draw them themselves: no script is loaded, from here or from elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page, before Markdown is read."""
    return re.sub(r"^\{\{ help ?(.*?) ?\}\}$", lambda match: _help(match[1].split()), markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs for every page, once Markdown has become HTML."""
    return FORMULA.sub(_formula, html)


def _formula(match: re.Match[str]) -> str:
    # words as words rather than letter by letter; MathML knows no negative space by name
    latex = unescape(match["latex"]).replace(r"\mathrm{", r"\text{").replace(r"\!", "")
    if match["tag"] == "span":
        return convert(latex)
    return f'<div class="formula">{convert(latex, display="block")}</div>'


def _help(words: list[str]) -> str:
    command = [sys.executable, "-m", "dougong", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"})
    return f"```text\n{done.stdout.rstrip()}\n```"
