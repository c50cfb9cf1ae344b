"""Bytes as lines of text, whatever their encoding, and what is odd about them: nothing is refused here.

Training reads UTF-8 and refuses the rest in one line; the doctor has to read on, so that it can name every fault of a
damaged file and write a whole one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dougong.errors import UserError

BLOCK = 1 << 20
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; those of UTF-32 first, because one begins like one of UTF-16."""
NAMES = {
    "cp1252": "Latin-1 (Windows-1252)", "cp1251": "Windows-1251 (Cyrillic)", "gb18030": "GB18030 (GBK, Chinese)",
    "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32", "utf-32-be": "UTF-32", "utf-8": "UTF-8",
}  # fmt: skip
KEPT_LINES = 4000
"""Lines that are no UTF-8 of which a guess is made."""


@dataclass
class Encoded:
    """How a file's characters are written.

    Args:
        codec: Python's name of the encoding that is taken: that asked for, or a guess.
        mark: it begins with a byte order mark.
        wrong: numbers of the first lines that are no UTF-8; the first is 1.
        wrong_count: how many there are.
        mixed: most lines that are not ASCII are UTF-8; the wrong ones alone are read by ``codec``.
        binary: it holds so many zero bytes, and is no UTF-16, that it is no text.
    """

    codec: str = "utf-8"
    mark: bool = False
    wrong: list[int] = field(default_factory=list)
    wrong_count: int = 0
    mixed: bool = False
    binary: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return NAMES.get(self.codec, self.codec)

    @property
    def wide(self) -> bool:
        """Several bytes a character, so that lines do not end at a byte."""
        return self.codec.startswith(("utf-16", "utf-32", "utf_16", "utf_32"))


def look_at(path: Path, codec: str | None = None) -> Encoded:
    """Read a file once and tell how it is written.

    Args:
        path: of it.
        codec: that it is in, as somebody knows; guessed when None.

    Raises:
        UserError: it cannot be read, or there is no such encoding.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            mark = next((each for each in MARKS if head.startswith(each[0])), None)
            if mark and mark[1] != "utf-8":
                return Encoded(mark[1], mark=True)
            file.seek(0)
            start = file.read(BLOCK)
            if codec is not None:
                return Encoded(known_codec(codec), mark=mark is not None)
            zeros = start.count(0)
            if zeros > 0.05 * len(start):
                wide = _wide(start)
                return Encoded(wide) if wide else Encoded("cp1252", binary=True)
            file.seek(0)
            found = _lines_looked_at(file.readline)
    except OSError as error:
        raise UserError(path.name, f"cannot be read ({error.strerror or error})", "fetch it again") from None
    found.mark = mark is not None
    return found


def lines(path: Path, encoded: Encoded, seen: Callable[[int], object] | None = None) -> Iterator[tuple[int, str]]:
    r"""Each line's number, from 1, and its text without its end, which is "\n" or "\r\n".

    What no encoding explains becomes U+FFFD. The byte order mark is left out.

    Args:
        path: of the file.
        encoded: as `look_at` says.
        seen: is told how many bytes each line took.
    """
    if encoded.wide:
        with path.open(encoding=encoded.codec, errors="replace", newline="\n") as words:
            for number, line in enumerate(words, 1):
                if seen:
                    seen(len(line) * (4 if "32" in encoded.codec else 2))
                yield (
                    number,
                    (line.removeprefix("\ufeff") if number == 1 else line).removesuffix("\n").removesuffix("\r"),
                )
        return
    with path.open("rb") as file:
        for number, held in enumerate(file, 1):
            if seen:
                seen(len(held))
            if number == 1:
                held = held.removeprefix(codecs.BOM_UTF8)
            yield number, decoded(held, encoded).removesuffix("\n").removesuffix("\r")


def decoded(held: bytes, encoded: Encoded) -> str:
    """The text of one line's bytes."""
    if encoded.mixed or encoded.codec == "utf-8":
        try:
            return held.decode("utf-8")
        except UnicodeDecodeError:
            if encoded.codec == "utf-8":
                return held.decode("utf-8", "replace")
    try:
        return held.decode(encoded.codec)
    except UnicodeDecodeError:
        return held.decode("latin-1") if encoded.codec == "cp1252" else held.decode(encoded.codec, "replace")


def known_codec(codec: str) -> str:
    """Python's name of an encoding.

    Raises:
        UserError: there is none of that name.
    """
    try:
        return codecs.lookup(codec).name
    except LookupError:
        said = "as utf-8, gb18030, latin-1, cp1251 or utf-16"
        raise UserError(f"--encoding {codec}", "is no encoding that is known", f"name one, {said}") from None


def _wide(start: bytes) -> str | None:
    """UTF-16 without a mark: Latin text then has a zero in every other byte."""
    even, odd = start[0::2], start[1::2]
    for ours, other, codec in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if ours.count(0) > 0.3 * len(ours) and other.count(0) < 0.01 * len(other):
            return codec
    return None


def _lines_looked_at(next_line: Callable[[], bytes]) -> Encoded:
    found = Encoded()
    kept: list[bytes] = []
    right, number = 0, 0
    while held := next_line():
        number += 1
        if held.isascii():
            continue
        try:
            held.decode("utf-8")
            right += 1
        except UnicodeDecodeError:
            found.wrong_count += 1
            if len(found.wrong) < 1000:
                found.wrong.append(number)
            if len(kept) < KEPT_LINES:
                kept.append(held[:10000])
    if kept:
        found.codec = guessed(kept)
        found.mixed = right > found.wrong_count
    return found


def guessed(wrong: list[bytes]) -> str:
    """The encoding that lines which are no UTF-8 are most likely in: GB18030, Windows-1251 or Windows-1252.

    Chinese in GB18030 comes in runs of high bytes, most of them in pairs that begin with B0 to D7, where the 3,755
    most usual characters stand; Cyrillic in runs of bytes from C0 on; Latin letters with accents stand alone.
    """
    runs = [run for line in wrong for run in re.findall(rb"[\x80-\xff]+", line)]
    high = sum(map(len, runs))
    longer = [run for run in runs if len(run) >= 2]
    if sum(map(len, longer)) < 0.8 * high:
        return "cp1252"
    firsts = b"".join(run[0::2] for run in longer)
    usual = sum(0xA1 <= byte <= 0xA3 or 0xB0 <= byte <= 0xD7 for byte in firsts)
    small = sum(0xE0 <= byte <= 0xFF for run in longer for byte in run)  # letters of Cyrillic that are not capital
    if small > 0.6 * sum(map(len, longer)):
        return "cp1251"
    whole = sum(_fits(line, "gb18030") for line in wrong)
    return "gb18030" if usual > 0.5 * len(firsts) and whole > 0.8 * len(wrong) else "cp1252"


def _fits(line: bytes, codec: str) -> bool:
    try:
        line.decode(codec)
    except UnicodeDecodeError as error:
        return error.end >= 9990  # it was cut there
    return True
