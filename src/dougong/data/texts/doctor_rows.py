"""What can be wrong with one text by itself: signs that nobody sees, letters of another script, a wrong encoding."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dougong.data.listing import Fault
from dougong.data.texts.sheets import said

HUGE = 1_000_000
"""Characters from which one text is worth a word."""

_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
"""Control characters, zero width blanks, soft hyphens, marks that turn the direction of writing. Joiners stay: Persian,
Indic scripts and emoji need them."""
_LOST = re.compile("[\ufffd\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TWICE = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2010-\u203a\u20ac\u2122]"
)
"""A letter as UTF-8 begins it, read as Windows-1252, and one as UTF-8 goes on."""

ROUNDS = 8
"""After which what is still not mended stays."""
SCRIPTS = {
    "Latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "Greek": "\u0370-\u0373\u0376-\u03ff\u1f00-\u1fff",
    "Cyrillic": "\u0400-\u052f",
    "Armenian": "\u0531-\u058f",
    "Hebrew": "\u0591-\u05f4",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefe",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff",
    "Ethiopic": "\u1200-\u137f",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3",
    "Chinese or Japanese": "\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f",
}
_LETTERS = {name: re.compile(f"[{signs}]") for name, signs in SCRIPTS.items()}
_ASCII = re.compile("[A-Za-z]")

_ALIKE = {
    "Cyrillic": dict(zip("АВЕЅІЈКМНОРСТУХаеѕіјорсух", "ABESIJKMHOPCTYXaesijopcyx", strict=True)),
    "Greek": dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True)),
}
"""Letters of other scripts and the Latin ones that look the same."""
_BACK = {script: {latin: other for other, latin in pairs.items()} for script, pairs in _ALIKE.items()}
_MIXED = {
    script: re.compile(rf"\w*(?:[A-Za-z][{SCRIPTS[script]}]|[{SCRIPTS[script]}][A-Za-z])\w*") for script in _ALIKE
}


@dataclass(frozen=True)
class Judged:
    """A text that was looked at.

    Args:
        text: mended where that can be done.
        faults: found in it.
        script: that most of its letters are of; "" without letters.
    """

    text: str
    faults: list[Fault]
    script: str


def judge(text: str, place: str) -> Judged:
    """Look at one text.

    Args:
        text: as it stands there.
        place: file and row, for the messages.
    """
    if text.isascii() and not _HIDDEN.search(text) and len(text) < HUGE:
        return Judged(text, [], "Latin" if _ASCII.search(text) else "")
    faults: list[Fault] = []
    for _ in range(ROUNDS):  # what one step mends may show what another has to
        before = text
        for step in (_read_twice, _lost, _hidden, _alike):
            text = step(text, place, faults)
        if text == before:
            break
    faults = list({fault.kind: fault for fault in reversed(faults)}.values())[::-1]
    if len(text) >= HUGE:
        what = f"holds one text of {len(text):,} characters: {said(text)}"
        remedy = "look whether line ends or quotes are missing; training cuts it at the model's length"
        faults.append(warning_of("huge text", place, what, remedy, ""))
    return Judged(text, faults, script_of(text))


def script_of(text: str) -> str:
    """The script of most letters of a text; "" where it has none that are known."""
    if text.isascii():
        return "Latin" if _ASCII.search(text) else ""
    looked = text[:5000]
    counts = {name: len(pattern.findall(looked)) for name, pattern in _LETTERS.items()}
    most = max(counts, key=counts.__getitem__)
    return most if counts[most] else ""


def warning_of(kind: str, place: str, what: str, remedy: str, fix: str) -> Fault:
    """A warning of a kind."""
    return Fault(place, what, remedy, "warning", kind, fix)


def _read_twice(text: str, place: str, faults: list[Fault]) -> str:
    """UTF-8 that was once read as Windows-1252, as "cafÃ©": turned back where all of it turns."""
    found = _TWICE.search(text)
    if not found:
        return text
    pieces: list[str] = []
    for part in re.split(r"(?<=[\x00-\x7f])(?=[^\x00-\x7f])|(?<=[^\x00-\x7f])(?=[\x00-\x7f])", text):
        pieces.append(_turned_back(part))
    whole = "".join(pieces)
    if whole == text:
        return text
    faults.append(
        warning_of(
            "encoding twice", place, f"was once read in a wrong encoding: {said(text[max(0, found.start() - 15) :])}",
            "make the file anew from its source", "change",
        )
    )  # fmt: skip
    return whole


def _turned_back(part: str) -> str:
    if part.isascii() or len(part) < 2:
        return part
    try:
        return b"".join(bytes([ord(c)]) if ord(c) < 256 else c.encode("cp1252") for c in part).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return part


def _lost(text: str, place: str, faults: list[Fault]) -> str:
    """U+FFFD stands where a character was lost; a surrogate alone is half of one, and cannot be written."""
    if not _LOST.search(text):
        return text
    if _SURROGATE.search(text):
        whole = _SURROGATE.sub("", text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore"))
        what, remedy = "holds half of a character, which no file can keep", "write the whole one, or take it out"
        faults.append(Fault(place, what, remedy, kind="half a character", fix="change"))
        return whole
    what = f"has lost characters: {text.count(chr(0xFFFD))} stand as \ufffd"
    faults.append(warning_of("lost characters", place, what, "make the file anew from its source", ""))
    return text


def _hidden(text: str, place: str, faults: list[Fault]) -> str:
    found = _HIDDEN.search(text)
    tidy = _HIDDEN.sub("", text) if found else text
    if not found or not tidy.strip():  # a text of nothing else is an empty one
        return tidy if found else text
    what = f"holds a character that nobody sees, U+{ord(found[0]):04X}: {said(text[max(0, found.start() - 15) :])}"
    faults.append(warning_of("hidden character", place, what, "take it out", "change"))
    return tidy


def _alike(text: str, place: str, faults: list[Fault]) -> str:
    """Letters that only look like those around them, as a Cyrillic а in "pаypal"."""
    for script, pattern in _MIXED.items():
        if not _LETTERS[script].search(text):
            continue
        turned = pattern.sub(_turn(script, text), text)
        if turned != text:
            first = next(i for i, (old, new) in enumerate(zip(text, turned, strict=True)) if old != new)
            word = next(m for m in pattern.finditer(text) if m.start() <= first < m.end())[0]
            now = script if turned[first] in _ALIKE[script] else "Latin"
            what = f"has a letter in {said(word)} that only looks {now}, U+{ord(text[first]):04X}"
            faults.append(warning_of("look-alike", place, what, f"write U+{ord(turned[first]):04X}", "change"))
            text = turned
    return text


def _turn(script: str, text: str) -> Callable[[re.Match[str]], str]:
    """How one word of two scripts becomes one of the script that its other letters are of; unclear ones stay."""
    to_latin, back = _ALIKE[script], _BACK[script]

    def turned(found: re.Match[str]) -> str:
        word = found[0]
        latin = [c for c in word if _LETTERS["Latin"].match(c)]
        other = [c for c in word if _LETTERS[script].match(c)]
        surely_latin = any(c not in back for c in latin)
        surely_other = any(c not in to_latin for c in other)
        if surely_latin and surely_other:
            return word
        if not surely_latin and not surely_other:
            surely_latin = script_of(text) == "Latin"
            surely_other = not surely_latin
        return "".join((to_latin if surely_latin else back).get(c, c) for c in word)

    return turned
