"""Files of lines read however damaged they are: CoNLL columns, parallel files, plain texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from pathlib import Path

from dougong.data.listing import Fault
from dougong.data.texts.decoding import Encoded, lines, look_at
from dougong.data.texts.sheets import Row, Sheet, encoding_faults, not_utf8, nul, said


class Lined(Sheet):
    """A file whose rows are lines, or runs of them."""

    def read(self, seen: Callable[[int], object] | None = None) -> Iterator[tuple[int, str, list[Fault]]]:
        """Each line's number, its text, and what is wrong with its bytes."""
        assert self.encoded is not None
        yield from read_lines(self.path, self.encoded, seen)


def read_lines(
    path: Path, encoded: Encoded, seen: Callable[[int], object] | None = None
) -> Iterator[tuple[int, str, list[Fault]]]:
    """Each line's number, its text without NUL bytes, and what is wrong with its bytes."""
    wrong = set(encoded.wrong) if encoded.mixed else ()
    for number, line in lines(path, encoded, seen):
        faults: list[Fault] = []
        if "\0" in line:
            line = line.replace("\0", "")
            faults.append(nul(f"{path.name}:{number}"))
        if number in wrong:
            faults.append(not_utf8(f"{path.name}:{number}", encoded))
        yield number, line, faults


class TaggedSheet(Lined):
    """CoNLL columns; a row is a sentence.

    Its cells are ``words``, ``tags``, ``columns`` (all of each line) and ``before`` (lines that begin a document).
    """

    LOOKED_AT = 5000

    def __init__(self, path: Path, part: str | None, codec: str | None = None) -> None:
        super().__init__(path, part, codec)
        self.names = ["words", "tags"]
        some = list(islice((line for _, line, _ in self.read() if _is_word(line)), self.LOOKED_AT))
        self.mark = "\t" if sum("\t" in line for line in some) > len(some) / 2 else " "
        widths = Counter(len(_columns(line)) for line in some)
        self.wide = max((width for width in widths if width > 1), key=lambda width: widths[width], default=2)

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All sentences."""
        held: list[list[str]] = []
        faults: list[Fault] = []
        before: list[str] = []
        begun = 0
        for number, line, odd in self._ended(seen):
            if not _is_word(line):
                if held or faults:
                    yield self._row(begun, held, faults, before)
                    before = []
                if line.strip():
                    before.append(line)
                held, faults, begun = [], list(odd), number
                continue
            begun = begun if held else number
            faults += odd
            cells = _columns(line)
            held.append(cells)
            if len(cells) != self.wide:
                what = f"has {len(cells)} column{'s' * (len(cells) > 1)}, {said(line.strip())}, other lines {self.wide}"
                remedy = "add the tag, or the word" if len(cells) < self.wide else "take the blank out of the word"
                faults.append(Fault(self.where(number), what, remedy, kind="columns", fix="drop"))

    def _ended(self, seen: Callable[[int], object] | None) -> Iterator[tuple[int, str, list[Fault]]]:
        yield from self.read(seen)
        yield -1, "", []

    def _row(self, begun: int, held: list[list[str]], faults: list[Fault], before: list[str]) -> Row:
        words = [cells[0].strip() for cells in held]
        tags = [cells[-1].strip() for cells in held]
        return Row(begun, {"words": words, "tags": tags, "columns": held, "before": before}, faults)


class PairSheet(Lined):
    """Two parallel files; a row is a line of each, its cells ``source`` and ``target``."""

    def __init__(self, path: Path, other: Path, part: str | None, codec: str | None = None) -> None:
        super().__init__(path, part, codec)
        self.other = other
        self.names = ["source", "target"]
        self.encoded_other = look_at(other, codec)
        self.faults += encoding_faults(other.name, self.encoded_other)

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All pairs; where one file goes on alone, None stands for the other's line."""
        first, second = self.read(seen), read_lines(self.other, self.encoded_other, seen)
        for one, two in zip_longest(first, second):
            faults = [*(one[2] if one else ()), *(two[2] if two else ())]
            number = one[0] if one else two[0]
            yield Row(number, {"source": one and one[1], "target": two and two[1]}, faults)


class TextSheet(Lined):
    """A plain text; a row is a line, its cell ``text``."""

    def __init__(self, path: Path, part: str | None, codec: str | None = None) -> None:
        super().__init__(path, part, codec)
        self.names = ["text"]

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All lines."""
        for number, line, faults in self.read(seen):
            yield Row(number, {"text": line}, faults)


def _is_word(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("-DOCSTART-")


def _columns(line: str) -> list[str]:
    """As `dougong.data.texts.tagged.sentences` parts them."""
    cells = line.split("\t") if "\t" in line else line.split(" ")
    return [cell for cell in cells if cell.strip()]
