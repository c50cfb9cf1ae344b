"""Self-contained pages of what was trained and compared: tables, plots, pictures, explanations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["write_comparison_report", "write_run_report", "write_search_report"]


def write_run_report(run: Any) -> Path:
    """Write a run's ``report.html`` and return where it is; see `dougong.report.run`."""
    from dougong.report.run import write_run_report as write

    return write(run)


def write_comparison_report(comparison: Any) -> Path:
    """Write a comparison's ``report.html`` and return where it is; see `dougong.report.comparison`."""
    from dougong.report.comparison import write_comparison_report as write

    return write(comparison)


def write_search_report(search: Any) -> Path:
    """Write a search's ``report.html`` and return where it is; see `dougong.report.search`."""
    from dougong.report.search import write_search_report as write

    return write(search)
