"""Rows that a model is asked about, read one after another from files and pipes of any length.

Nothing but the row at hand is in memory. A row that cannot be used is given out with what is wrong with it, so that
whoever asks may stop there or go on.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dougong.data.names import clean
from dougong.data.texts.asked import Input, Reading, checked, column_choice, fault, row_of
from dougong.data.texts.tagged import ENDINGS as TAGGED
from dougong.errors import UserError, unknown

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
PLAIN = (".txt", ".md")
FORMATS = ("txt", "csv", "tsv", "jsonl", "conll")
"""How standard input may be laid out."""
LONGEST = 1 << 24
"""Bytes of a line or a cell at most."""
LOOKED_AT = 50
"""Rows from which the column of the text is told."""


def inputs(given: Iterable[str], reading: Reading, form: str = "txt") -> Iterator[Input]:
    """The rows of several words of a command line, each a text, a file, a folder of files, or "-" for standard input.

    Args:
        given: the words.
        reading: how files are read.
        form: how standard input is laid out, one of `FORMATS`.

    Raises:
        UserError: at once, a word that looks like a file and is none, a folder without texts, or an unknown form;
            later, a file that cannot be read at all.
    """
    if form not in FORMATS:
        raise unknown("--format", "layout", form, FORMATS)
    found: list[Iterator[Input]] = []
    for word in given:
        path = Path(word)
        if word == "-":
            found.append(piped(form, reading))
        elif _is(path, "dir"):
            found += [file_rows(file, reading) for file in _inside(path)]
        elif _is(path, "file"):
            found.append(file_rows(path, reading))
        elif path.suffix.lower() in (*TABLES, *PLAIN, *TAGGED) and len(word.split()) == 1:
            raise UserError(word, "no such file", "give a text in quotes, a file, or - for standard input")
        else:
            found.append(iter([reading.alone(checked(word, ""))]))
    return itertools.chain.from_iterable(found)


def file_rows(path: Path, reading: Reading) -> Iterator[Input]:
    """The rows of a file: by its ending a table or CoNLL columns, any other a text a line.

    Raises:
        UserError: while reading: no such file, UTF-16, no such column, or quotes that nothing closes.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        yield from _parquet(path, reading)
        return
    try:
        with path.open("rb") as opened:
            yield from _laid_out(opened, path.name, ending.lstrip("."), reading)
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror or error})", "give another file") from None


def piped(form: str, reading: Reading) -> Iterator[Input]:
    """The rows of standard input."""
    stream = getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode("utf-8", "surrogatepass"))
    yield from _laid_out(stream, "stdin", form, reading)


def _laid_out(stream: BinaryIO, name: str, form: str, reading: Reading) -> Iterator[Input]:
    if form in ("csv", "tsv"):
        return _csv(stream, name, "\t" if form == "tsv" else None, reading)
    if form == "jsonl":
        return _json_lines(stream, name, reading)
    if form == "conll" or f".{form}" in TAGGED:
        return _columns(stream, name, reading)
    return _plain(stream, name, reading)


def _inside(folder: Path) -> list[Path]:
    """The files of a folder that hold texts, by name.

    Raises:
        UserError: there is none.
    """
    endings = (*TABLES, *PLAIN, *TAGGED)
    found = sorted(each for each in folder.rglob("*") if each.suffix.lower() in endings and each.is_file())
    found = [each for each in found if not any(part.startswith(".") for part in each.relative_to(folder).parts)]
    if not found:
        raise UserError(str(folder), "holds no texts", f"give a folder with {', '.join(endings[:5])} files")
    return found


def _is(path: Path, what: str) -> bool:
    try:
        return path.is_dir() if what == "dir" else path.is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or holds a zero byte
        return False


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str | None]]:
    r"""Lines with their numbers, without their ends; None for one that is too long. Other bytes than UTF-8 become
    surrogates. Lines end at "\n" alone, since a text may hold any other sign.

    Raises:
        UserError: the stream is UTF-16.
    """
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if number == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(name, "is UTF-16", "save it as UTF-8")
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > LONGEST and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST)
            yield number, None
            continue
        yield number, line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _whole(stream: BinaryIO, name: str) -> Iterator[str]:
    """Lines with their ends.

    Raises:
        UserError: one is too long, so that nothing can be told of the rows after it.
    """
    for number, line in _lines(stream, name):
        if line is None:
            raise UserError(f"{name}, line {number}", f"is longer than {LONGEST >> 20} MiB", "mend it")
        yield line + "\n"


def _plain(stream: BinaryIO, name: str, reading: Reading) -> Iterator[Input]:
    """A text a line."""
    for number, line in _lines(stream, name):
        where = f"{name}:{number}"
        yield _too_long(where) if line is None else reading.alone(checked(line, where))


def _too_long(where: str) -> Input:
    return fault(where, f"is longer than {LONGEST >> 20} MiB")


def _columns(stream: BinaryIO, name: str, reading: Reading) -> Iterator[Input]:
    """Sentences of CoNLL columns: the first of each line is the word, whatever others follow."""
    held: list[str] = []
    begun = 0
    for number, line in itertools.chain(_lines(stream, name), [(0, "")]):
        if line is None:
            yield _too_long(f"{name}:{number}")
        elif line.strip() and not line.startswith("-DOCSTART-"):
            cells = [cell for cell in (line.split("\t") if "\t" in line else line.split(" ")) if cell.strip()]
            begun = begun if held else number
            held.append(cells[0].strip())
        elif held:
            where = f"{name}:{begun}"
            odd = checked(" ".join(held), where)
            yield odd if odd.fault or not reading.words else Input(held, where)
            held = []


def _json_lines(stream: BinaryIO, name: str, reading: Reading) -> Iterator[Input]:
    """Objects with a text, or bare texts, one a line; blank lines are no rows."""

    def parsed() -> Iterator[tuple[str, Any]]:
        for number, line in _lines(stream, name):
            where = f"{name}:{number}"
            if line is None:
                yield where, _too_long(where)
            elif line.strip():
                try:
                    yield where, json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield where, fault(where, f"is no JSON ({str(error)[:60]})")

    rows = parsed()
    first = list(itertools.islice(rows, LOOKED_AT))
    objects = [value for _, value in first if isinstance(value, dict)]
    keys = list(dict.fromkeys(key for each in objects for key in each))
    chosen = column_choice(keys, objects, name, reading) if objects else ()
    for where, value in itertools.chain(first, rows):
        if isinstance(value, Input):
            yield value
        elif isinstance(value, dict):
            if not chosen:
                chosen = column_choice(list(value), [value], name, reading)
            missing = [column for column in chosen if column not in value]
            yield fault(where, f"has no {missing[0]!r}") if missing else row_of(value, chosen, where, reading)
        else:
            yield reading.alone(checked(value, where, reading.words))


def _csv(stream: BinaryIO, name: str, mark: str | None, reading: Reading) -> Iterator[Input]:
    """Rows under a header; places are counted as rows, the header is 1. Blank lines are no rows.

    Raises:
        UserError: no header, or a quote that nothing closes.
    """
    lines = _whole(stream, name)
    head = next(lines, None)
    if head is None or not head.strip():
        raise UserError(name, "is empty" if head is None else "has no header", "begin with the names of the columns")
    mark = mark or max(",;\t", key=head.count)
    csv.field_size_limit(LONGEST)
    reader = csv.reader(itertools.chain([head], lines), delimiter=mark, strict=True)

    def cells() -> Iterator[tuple[str, Any]]:
        for number in itertools.count(1):
            where = f"{name}:{number}"
            try:
                row = next(reader)
                while not row:
                    row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "end of data" in str(error) or "limit" in str(error):
                    raise UserError(where, "opens a quote that nothing closes", "close it, or double it") from None
                yield where, fault(where, "has a quote that is neither doubled nor at the end of its cell")
            else:
                yield where, row

    rows = cells()
    _, names = next(rows, ("", None))
    if not isinstance(names, list):
        raise UserError(f"{name}:1", "is no header", "begin with the names of the columns")
    names = [clean(each) for each in names]
    first = list(itertools.islice(rows, LOOKED_AT))
    held = [dict(zip(names, row, strict=True)) for _, row in first if isinstance(row, list) and len(row) == len(names)]
    chosen = column_choice(names, held, name, reading)
    for where, row in itertools.chain(first, rows):
        if isinstance(row, Input):
            yield row
        elif len(row) != len(names):
            yield fault(where, f"has {len(row)} cells, the header {len(names)}")
        else:
            yield row_of(dict(zip(names, row, strict=True)), chosen, where, reading)


def _parquet(path: Path, reading: Reading) -> Iterator[Input]:
    """Rows of a Parquet file, counted from 0."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as opened:  # else whole groups of rows are held
            names = {clean(each): each for each in opened.schema_arrow.names}
            sample = next(opened.iter_batches(LOOKED_AT), None)
            held = [] if sample is None else [{clean(k): v for k, v in row.items()} for row in sample.to_pylist()]
            chosen = column_choice(list(names), held, path.name, reading)
            number = 0
            for batch in opened.iter_batches(LOOKED_AT, columns=[names[each] for each in chosen]):
                for row in batch.to_pylist():
                    found = {clean(key): value for key, value in row.items()}
                    yield row_of(found, chosen, f"{path.name}:{number}", reading)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:120]
        raise UserError(str(path), f"cannot be read ({said})", "fetch it again") from None
