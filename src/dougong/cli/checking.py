"""``dougong check`` on texts: what the doctor says, and the cleaned copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong import console
from dougong.cli.app import Outcome
from dougong.cli.check import show_counts, show_faults
from dougong.errors import UserError
from dougong.figures import many

if TYPE_CHECKING:
    from dougong.data.listing import Fault
    from dougong.data.texts.cleaning import CleanedFile
    from dougong.data.texts.doctor import TextExamination

FIXES = {"drop": "drops the row", "change": "mends it", "": "leaves it to you"}


def check_texts(
    data: str, limit: int, fix: str | None, kind: str | None, text: str | None, label: str | None, length: int | None,
    tokenizer: str | None, encoding: str | None, labels_split: str | None = None,
) -> dict[str, Any] | Outcome:  # fmt: skip
    """Examine texts, show what was found, and write a cleaned copy where one is asked for."""
    from dougong.data.texts.cleaning import free_folder, where_copied, write_cleaned
    from dougong.data.texts.doctor import examine_texts
    from dougong.data.texts.several import said_aloud

    if fix is not None:
        free_folder(data, fix)
    several = [column.strip() for column in text.strip("[] ").split(",")] if text and text.startswith("[") else text
    asked: dict[str, Any] = {"kind": kind, "text": several, "label": label, "length": length}
    asked["labels_split"] = labels_split
    asked["tokens"] = _counter(tokenizer) if tokenizer else None
    found = examine_texts(data, encoding=encoding, **asked)
    notes = list(found.case.notes) if found.case else []
    if found.kind == "texts" and labels_split is None:
        notes += said_aloud(0, 0, 0, list(found.counts), False, data)
    for line in dict.fromkeys(notes):
        console.note(line)
    _show(data, found, limit, faults=fix is None)
    value = _value(data, found)
    if fix is None:
        return Outcome(value, 2) if found.errors else value
    files = write_cleaned(data, fix, found)
    _show_cleaned(files, fix, limit)
    copy = where_copied(data, fix)
    left = examine_texts(copy, **asked)
    console.say(f"{copy}: {_ending(left)}")
    if left.faults:
        console.say()
        show_faults(_some(left.faults, limit))
    value["fixed"] = {
        "folder": fix, "files": [_file(each) for each in files], "errors": left.errors, "warnings": left.warnings,
        "faults": [_fault(fault) for fault in left.faults],
    }  # fmt: skip
    return Outcome(value, 2) if left.errors else value


def _show(data: str, found: TextExamination, limit: int, *, faults: bool) -> None:
    if found.faults and faults:
        shown = _some(found.faults, limit)
        show_faults(shown)
        if len(shown) < found.errors + found.warnings:
            console.say(
                f"... and {found.errors + found.warnings - len(shown):,} more; --limit 0 shows all that are listed"
            )
        console.say()
    if found.faults:
        rows = [
            [severity, kind or "-", count, FIXES[fix]]
            for (severity, kind, fix), count in sorted(found.totals.items(), key=lambda each: (each[0][0], -each[1]))
        ]
        console.table("", ["severity", "kind", "times", "--fix"], rows)
        console.say()
    counted = "labels" if found.several else f"{found.unit}s" if found.kind == "texts" else "entities"
    show_counts(found.counts, counted)
    if found.roles and found.kind == "texts":
        console.say("read as " + ", ".join(f"{role}: column {name!r}" for role, name in found.roles.items()))
    if found.lengths:
        sizes = ", ".join(f"{name} {size:,}" for name, size in found.lengths.items())
        console.say(f"length in {found.length_unit}: {sizes}")
    console.say(f"{data}: {_ending(found)}")


def _ending(found: TextExamination) -> str:
    classes = f"{many(len(found.counts), 'class' if found.kind == 'texts' else 'type')}, " if found.counts else ""
    ending = f"{many(found.errors, 'error')}, {many(found.warnings, 'warning')}"
    return f"{many(found.rows, found.unit)}, {classes}{ending}"


def _some(faults: list[Fault], limit: int) -> list[Fault]:
    """As many faults as are wanted, so that every kind has its share; the order stays."""
    if not limit or len(faults) <= limit:
        return faults
    by_kind: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, fault in enumerate(faults):
        by_kind[fault.severity, fault.kind].append(number)
    chosen: list[int] = []
    for turn in range(len(faults)):
        for numbers in by_kind.values():
            if turn < len(numbers) and len(chosen) < limit:
                chosen.append(numbers[turn])
        if len(chosen) >= limit:
            break
    return [faults[number] for number in sorted(chosen)]


def _show_cleaned(files: list[CleanedFile], folder: str, limit: int) -> None:
    console.say()
    actions = [(done, fault) for each in files for done, fault in each.actions]
    if actions:
        shown = actions[: limit or None]
        console.table("", ["done", "where", "because it"], [[done, fault.where, fault.what] for done, fault in shown])
        total = sum(each.dropped.total() + each.mended.total() for each in files)
        if total > len(shown):
            console.say(f"... and {total - len(shown):,} more; --limit 0 shows all that are listed")
        console.say()
    rows = [
        [each.file, each.rows, each.kept, _counts(each.dropped), _counts(each.mended)]
        for each in files
    ]  # fmt: skip
    console.table(f"Cleaned copy in {folder}", ["file", "rows", "kept", "dropped", "mended"], rows)
    console.say()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "-"


def _fault(fault: Fault) -> dict[str, str]:
    return {
        "severity": fault.severity, "kind": fault.kind, "where": fault.where, "what": fault.what,
        "remedy": fault.remedy, "fix": fault.fix,
    }  # fmt: skip


def _file(each: CleanedFile) -> dict[str, Any]:
    actions = [
        {"done": done, "kind": fault.kind, "where": fault.where, "what": fault.what} for done, fault in each.actions
    ]
    return {
        "file": each.file, "rows": each.rows, "kept": each.kept, "dropped": dict(each.dropped),
        "mended": dict(each.mended), "actions": actions,
    }  # fmt: skip


def _value(data: str, found: TextExamination) -> dict[str, Any]:
    return {
        "data": data, "kind": found.kind, "rows": found.rows, "classes": found.counts, "columns": found.roles,
        "lengths": found.lengths, "length_unit": found.length_unit, "errors": found.errors, "warnings": found.warnings,
        "totals": [
            {"severity": severity, "kind": kind, "times": count, "fix": fix}
            for (severity, kind, fix), count in found.totals.items()
        ],
        "faults": [_fault(fault) for fault in found.faults],
    }  # fmt: skip


def _counter(folder: str) -> Callable[[list[str]], list[int]]:
    """Counts tokens as a tokenizer does, special ones included.

    Raises:
        UserError: there is none.
    """
    from dougong.data.tokenizing import Tokenizer

    path = Path(folder).expanduser()
    inner = next((place for place in (path / "model", path / "tokenizer") if place.is_dir()), path)
    if not path.exists():
        raise UserError(
            f"--tokenizer {folder}", "there is no such file or folder", "name a run, a model or a tokenizer"
        )
    opened = Tokenizer.open(inner)
    return lambda texts: [len(encoding.ids) for encoding in opened.encode(texts)]
