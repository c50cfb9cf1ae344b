"""For mkdocs: a line ``{{ help VERB }}`` of a page becomes what ``dougong VERB --help`` prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    return re.sub(r"^\{\{ help ?(.*?) ?\}\}$", lambda match: _help(match[1].split()), markdown, flags=re.MULTILINE)


def _help(words: list[str]) -> str:
    command = [sys.executable, "-m", "dougong", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"})
    return f"```text\n{done.stdout.rstrip()}\n```"
