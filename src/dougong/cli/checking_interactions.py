"""``dougong check`` on interactions: what the doctor says, and the cleaned copy."""

from __future__ import annotations

from typing import Any

from dougong import console
from dougong.cli.app import Outcome
from dougong.cli.check import show_faults
from dougong.cli.checking import FIXES
from dougong.figures import many


def check_interactions(
    data: str, limit: int, fix: str | None, columns: dict[str, str | None]
) -> dict[str, Any] | Outcome:
    """Examine interactions, show what was found, and write a cleaned copy where one is asked for."""
    from dougong.data.interactions.doctor import examine_interactions, write_clean
    from dougong.data.texts.cleaning import free_folder

    if fix is not None:
        free_folder(data, fix)
    found = examine_interactions(data, columns)
    value = _show(data, found, limit)
    if fix is None:
        return Outcome(value, 2) if found.errors else value
    files = write_clean(data, fix, found)
    console.say()
    rows = [[each["file"], each["rows"], each["kept"]] for each in files]
    console.table(f"Cleaned copy in {fix}", ["file", "rows", "kept"], rows)
    console.say()
    left = examine_interactions(fix, columns)
    value["fixed"] = {"folder": fix, "files": files, **_show(fix, left, limit)}
    return Outcome(value, 2) if left.errors else value


def _show(data: str, found: Any, limit: int) -> dict[str, Any]:
    """Say what was found; what --json prints."""
    if found.faults:
        show_faults(found.faults[: limit or None])
        if limit and len(found.faults) > limit:
            console.say(f"... and {len(found.faults) - limit:,} more; --limit 0 shows all that are listed")
        console.say()
        rows = [[severity, kind, count, FIXES[fix]] for (severity, kind, fix), count in found.totals.items()]
        console.table("", ["severity", "kind", "times", "--fix"], rows)
        console.say()
    if found.counts:
        head = ["split", "interactions", "users", "items"]
        console.table("", head, [[name, *counts.values()] for name, counts in found.counts.items()])
        console.say()
    roles = found.rows.columns
    console.say("read as " + ", ".join(f"{role}: column {name!r}" for role, name in roles.items()))
    sizes = f"{many(len(found.rows.users), 'user')}, {many(len(found.rows.items), 'item')}"
    ending = f"{many(found.errors, 'error')}, {many(found.warnings, 'warning')}"
    console.say(f"{data}: {many(len(found.rows), 'interaction')}, {sizes}, {ending}")
    return {
        "data": data, "kind": "interactions", "interactions": len(found.rows), "users": len(found.rows.users),
        "items": len(found.rows.items), "columns": roles, "splits": found.counts, "counts": found.told,
        "errors": found.errors, "warnings": found.warnings,
        "totals": [
            {"severity": severity, "kind": kind, "times": count, "fix": fix}
            for (severity, kind, fix), count in found.totals.items()
        ],
        "faults": [
            {"severity": f.severity, "kind": f.kind, "where": f.where, "what": f.what, "remedy": f.remedy, "fix": f.fix}
            for f in found.faults
        ],
    }  # fmt: skip
