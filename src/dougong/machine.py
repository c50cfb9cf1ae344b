"""This machine: its name, and what is remembered about it from one start to the next."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any


def processor() -> str:
    """The processor's name and its cores."""
    cpuinfo, found = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                found = line.split(":", 1)[1].strip()
                break
    return f"{found}, {os.cpu_count()} cores"


def cache_folder() -> Path:
    """The user's cache folder for dougong."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dougong"


def remembered(path: Path) -> dict[str, Any]:
    """What a file of the cache holds; nothing where it is missing or broken."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def remember(path: Path, known: dict[str, Any]) -> None:
    """Keep it, where that can be done: a home that cannot be written to only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{path.name}.{os.getpid()}")
        half.write_text(json.dumps(known), encoding="utf-8")
        half.replace(path)
    except OSError:
        pass
