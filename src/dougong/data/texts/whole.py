"""What is wrong with a set of texts as a whole: copies, leaks, two labels for one text, classes, scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from dougong.data.listing import Fault
from dougong.data.names import shown
from dougong.data.texts.case import Case
from dougong.data.texts.doctor_rows import warning_of
from dougong.data.texts.ledger import SPLITS, Ledger, Place
from dougong.data.texts.sheets import said

UNBALANCED = 10
"""The largest class against the smallest, from where it is worth a word."""
MAIN = 0.95
"""The share of the texts in one script from which those in others are odd."""
FEW = 20
"""Texts below which nothing is said of scripts."""


def copies(case: Case, ledger: Ledger, add: Callable[[Fault], None]) -> dict[tuple[int, int], Fault]:
    """Say of each text that stands in several places what is wrong, and which of its rows can go.

    Of copies in one split all but the first can go; of copies in several splits those in the earlier one, as training
    leaves them out. Where labels differ, nobody but a person can say which is right, so all stay but plain copies.

    Args:
        case: the files.
        ledger: of all rows.
        add: is given each fault.

    Returns:
        File and order of the rows that can go, and why.
    """
    drops: dict[tuple[int, int], Fault] = {}

    def where(place: Place) -> str:
        sheet = case.sheets[place.file]
        return sheet.path.name if case.documents else sheet.where(place.line)

    unit = {"tags": "sentence", "pairs": "pair", "corpus": "document"}.get(case.kind, "text")
    for group in ledger.groups():
        labels = list(dict.fromkeys(place.label for place in group))
        last = max((SPLITS.index(place.split) for place in group if place.split), default=0)
        if len(labels) > 1:
            add(_two_labels(group, labels, unit, where))
        kept: dict[tuple[str, str], Place] = {}
        across = len({place.split for place in group}) > 1
        for place in group:
            first = kept.setdefault((place.split, place.label), place)
            if first is not place:
                remedy = "keep one of them"
                fault = warning_of("copy", where(place), f"is the same {unit} as {where(first)}", remedy, "drop")
            elif across and place.split and SPLITS.index(place.split) < last:
                other = next(each for each in group if each.split == SPLITS[last])
                what = f"is the same {unit} as {where(other)}, in {place.split} and in {other.split}"
                fault = warning_of(
                    "leak", where(place), what, f"take it out of {place.split}, as training does",
                    "drop" if len(labels) == 1 else "",
                )  # fmt: skip
            else:
                continue
            add(fault)
            if fault.fix:
                drops[(place.file, place.order)] = fault
    return drops


def _two_labels(group: list[Place], labels: list[str], unit: str, where: Callable[[Place], str]) -> Fault:
    firsts = [next(place for place in group if place.label == label) for label in labels]
    places = [where(place) for place in firsts[1:]]
    told = "tags" if unit == "sentence" else f"labels: {', '.join(said(label) for label in labels[:4])}"
    what = f"is the same {unit} as {shown(places, 3)} under other {told}"
    return warning_of("two labels", where(firsts[0]), what, "keep the right one", "")


def whole_faults(
    case: Case, counts: dict[str, dict[str, int]], scripts: Counter[str], places: dict[str, list[str]]
) -> list[Fault]:
    """Faults of a set as a whole.

    Args:
        case: the files.
        counts: of each class in each split.
        scripts: texts of each.
        places: of the first of them.
    """
    name = case.sheets[0].path.name if len(case.sheets) == 1 else "the data"
    faults = _classes(counts, name) if case.kind == "texts" else _types(counts, name) if case.kind == "tags" else []
    if case.kind == "texts" and case.roles.get("label") in counts:
        what = f"seems to have no header: {said(case.roles['label'])} is a class, and the name of a column"
        remedy = "put a line with the names of the columns first, as text,label"
        faults.append(warning_of("no header", f"{case.sheets[0].path.name}:1", what, remedy, ""))
    total = scripts.total()
    for main, count in scripts.most_common(1):
        if total < FEW or count < MAIN * total:
            break
        for script, few in scripts.items():
            if script == main:
                continue
            for place in places[script]:
                what = f"is written in {script} letters; {few} of {total} texts are, the others in {main}"
                faults.append(warning_of("other script", place, what, "look whether it belongs here", ""))
    return faults


def _classes(counts: dict[str, dict[str, int]], name: str) -> list[Fault]:
    totals = {each: sum(parts.values()) for each, parts in counts.items()}
    if not totals:
        return []
    faults = []
    if len(totals) == 1:
        what = f"has only one class, {said(next(iter(totals)))}, so there is nothing to tell apart"
        return [Fault(name, what, "give texts of at least two classes", kind="one class")]
    by_case: dict[str, list[str]] = {}
    for each in totals:
        by_case.setdefault(each.casefold(), []).append(each)
    for alike in by_case.values():
        if len(alike) > 1:
            what = f"has classes that differ in capitals alone: {', '.join(map(said, alike))}"
            faults.append(warning_of("like classes", name, what, "write them in one way, if they mean the same", ""))
    splits = list(next(iter(counts.values())))
    for each, parts in counts.items():
        elsewhere = [split for split in splits if split not in ("train", "all") and parts[split]]
        if parts.get("train", 1) == 0 and elsewhere:
            what = f"is in {' and '.join(elsewhere)} but not in train, so it cannot be learnt"
            faults.append(warning_of("class", f"class {each}", what, "give train texts of it", ""))
        elif totals[each] == 1:
            what = "has one text, which cannot be both learnt from and tested"
            faults.append(warning_of("class", f"class {each}", what, "give it more texts, or leave it out", ""))
        else:
            for split in splits:
                if not parts[split] and split not in ("train", "all") and any(one[split] for one in counts.values()):
                    what = f"is in train but not in {split}, so nothing is measured on it there"
                    faults.append(warning_of("class", f"class {each}", what, f"put some of its texts into {split}", ""))
    most, least = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
    if totals[most] >= UNBALANCED * totals[least]:
        what = f"classes are unbalanced: {said(most)} has {totals[most]} texts, {said(least)} {totals[least]}"
        remedy = "judge by macro F1 rather than accuracy, weigh the classes, or give the rare ones more"
        faults.append(warning_of("unbalanced", name, what, remedy, ""))
    return faults


def _types(counts: dict[str, dict[str, int]], name: str) -> list[Fault]:
    if not counts:
        return [Fault(name, "marks no entity: every tag is O", "give sentences with entities", kind="one class")]
    return [
        warning_of("class", f"type {each}", f"is in {split} but not in train: not learnt", "give train some", "")
        for each, parts in counts.items()
        for split in parts
        if split not in ("train", "all") and parts[split] and not parts.get("train", 1)
    ]  # fmt: skip
