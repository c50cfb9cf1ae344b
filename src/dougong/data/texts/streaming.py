"""Large tables and texts: read through once, piece by piece, into a file of rows in the cache; then row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.names import clean, shown
from dougong.data.splitting import parse_split
from dougong.data.texts import caching
from dougong.data.texts.dividing import SPLITS
from dougong.data.texts.features import class_names, features_of, named
from dougong.data.texts.hashed import divided_by_hash, rows_of
from dougong.data.texts.rows import TextData, key_of
from dougong.data.texts.several import is_list, said_aloud, with_lists
from dougong.data.texts.stored import BETWEEN, LEARNT, RowStore, StoredSplit, schema
from dougong.data.texts.tables import (
    Cells,
    cells_of,
    columns_of,
    csv_options,
    in_order,
    place_of,
    text_column,
    unlabelled,
    unread,
)
from dougong.errors import UserError
from dougong.figures import are, many

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

VERSION = 2
"""Of what is written; files of another version are not looked at."""
BLOCKS = (2**22, 2**26, 2**30)
"""Bytes of a table that are read at once; the next one is tried where a row does not fit in."""
PIECE = 2**20
"""Bytes of a long text that make one document, ended by a line end."""
AT_ONCE = 2**22
"""Characters that are written as one batch of rows."""
Files = Sequence[tuple[Path, str | None]]


def read_large_tables(
    files: Files, name: str, source: str, *, split: str | None = None, seed: int = 0,
    text: str | Sequence[str] | None = None, label: str | Sequence[str] | None = None, labels_split: str | None = None,
) -> TextData:  # fmt: skip
    """`dougong.data.texts.tables.read_tables` for files that are not held in memory.

    The columns are told by the first rows, the splits by hash; else all is as there.

    Raises:
        UserError: as there.
    """
    asked = (label, labels_split)
    first, column, named_by = with_lists(next(pieces(files[0][0])), files[0][0], *asked)
    chosen = columns_of(first, files[0][0].name, text, column)
    several = is_list(first, chosen["label"])
    declared = class_names(features_of(first.schema).get(chosen["label"]))
    store, facts = _store(files, ["labelled", asked], chosen, lambda: _labelled(files, chosen, asked))
    classes = named_by or in_order(set(facts["labels"]), declared)
    notes = ["Read as " + ", ".join(f"{key}: column {value!r}" for key, value in chosen.items()) + "."]
    notes += said_aloud(len(store), sum(facts["labels"].values()), facts["none"], classes, several, source)
    notes += [f"{each} is left out: none of its rows has a label." for each in facts["bare"]]
    return replace(_data(store, facts, name, source, "texts", classes, chosen, split, seed, notes), several=several)


def read_large_corpus(
    files: Files, name: str, source: str, *, split: str | None = None, seed: int = 0, text: str | None = None
) -> TextData:
    """`dougong.data.texts.corpus.read_corpus` for files that are not held in memory.

    A row of a table is a document, and so is about a MiB of a text file, which ends where a line ends. Of text files
    without splits the beginning of each is train, then comes val, and then test.

    Raises:
        UserError: as there.
    """
    chosen: dict[str, str] = {}
    tables = [path for path, _ in files if path.suffix.lower() not in (".txt", ".md")]
    if tables:
        chosen["text"] = text_column(next(pieces(tables[0])), tables[0].name, text)
    shares = parse_split(split or "90/5/5")
    given = any(part for _, part in files)
    cut = None if tables or given else shares
    store, facts = _store(files, ["corpus", cut], chosen, lambda: _plain(files, chosen.get("text"), cut))
    notes = [f"Read as text: column {chosen['text']!r}."] if chosen else []
    if cut is None:
        asked = split if given else split or "90/5/5"
        return _data(store, facts, name, source, "corpus", [], chosen, asked, seed, notes)
    how = f"the first {cut[0]:.0%} of each text is train, then {cut[1]:.0%} val and {cut[2]:.0%} test"
    notes += [f"The data has no splits: {how}.", "Texts are read in documents of about a MiB, cut at line ends."]
    return _data(store, facts, name, source, "corpus", [], chosen, None, seed, notes, how)


def _data(
    store: RowStore, facts: dict[str, Any], name: str, source: str, kind: str, classes: list[str],
    chosen: dict[str, str], split: str | None, seed: int, notes: list[str], how: str | None = None,
) -> TextData:  # fmt: skip
    if not len(store):
        raise UserError(source, "holds no text", "give files with something in them")
    if facts["empty"]:
        places = shown(facts["places"], 3) + (" ..." if facts["empty"] > 3 else "")
        notes.append(f"{many(facts['empty'], 'row')} without a text {are(facts['empty'])} left out: {places}.")
    folder = _divided(store, split, seed, source)
    told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    notes += told["notes"]
    notes.append(
        f"{many(len(store), 'row is', 'rows are')} read from {caching.cache_folder()} one by one, not held in memory."
    )
    learnt = max(1, -(-facts["characters"] // LEARNT))
    numbers = {each: number for number, each in enumerate(classes)}
    splits = {each: StoredSplit(store, rows, numbers, learnt) for each, rows in rows_of(folder).items()}
    return TextData(
        name, source, kind, tuple(classes), False, {**splits}, dict(chosen), how or told["how"], seed, notes
    )  # fmt: skip


def _divided(store: RowStore, split: str | None, seed: int, source: str) -> Path:
    """The folder of the rows of each split, see `rows_of`, and of what was decided; made unless it is there."""

    def make(folder: Path) -> None:
        said: list[str] = []
        how = divided_by_hash(lambda: _keys(store), folder, split, seed, said, source)
        (folder / "told.json").write_text(json.dumps({"how": how, "notes": said}), encoding="utf-8")

    return caching.entry({"splits": VERSION, "rows": store.key, "split": split, "seed": seed}, make)


def _keys(store: RowStore) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batch by batch the first 8 bytes of each row's key, (n,) uint64, and the split that it names, (n,) int8."""
    import numpy as np

    for batch in store.batches():
        held = batch.column(4)
        raw = np.frombuffer(held.buffers()[1], ">u8", 2 * len(held), 16 * held.offset)
        yield raw[::2].astype(np.uint64), batch.column(2).to_numpy()


def _store(
    files: Files, kind: Any, chosen: dict[str, str], rows: Callable[[], Iterator[Any]]
) -> tuple[RowStore, dict[str, Any]]:
    """The file of rows of some files, and what was counted while it was written; made unless it is there."""
    known_by = {
        "rows": VERSION, "kind": kind, "columns": chosen,
        "files": [[path.name, part, caching.digest_of(path)] for path, part in files],
    }  # fmt: skip

    def make(folder: Path) -> None:
        facts = _written(folder / "rows.arrow", rows())
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        for path, _, digest in zip((path for path, _ in files), files, known_by["files"], strict=True):
            if caching.digest_of(path) != digest[2]:
                raise UserError(path.name, "was changed while it was read", "try again")

    folder = caching.entry(known_by, make)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return RowStore(folder / "rows.arrow", folder.name), facts


def _written(path: Path, rows: Iterator[Cells | tuple[str, str]]) -> dict[str, Any]:
    """Write rows; what comes along with another tag than a row's is counted."""
    import pyarrow as pa

    facts: dict[str, Any] = {"labels": {}, "empty": 0, "places": [], "bare": [], "characters": 0, "none": 0}
    held: list[tuple[list[str], str | None, int, str, bytes]] = []
    waiting = 0
    order = {name: number for number, name in enumerate(SPLITS)}

    def flush() -> None:
        columns = [pa.array([row[place] for row in held], field.type) for place, field in enumerate(schema())]
        writer.write_batch(pa.record_batch(columns, schema=schema()))
        held.clear()

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema()) as writer:
        for row in rows:
            if len(row) == 2:
                if row[0] == "empty":
                    facts["empty"] += 1
                    facts["places"] = [*facts["places"], row[1]][:3]
                else:
                    facts["bare"].append(row[1])
                continue
            texts, labels, part, where = row
            facts["none"] += not labels
            for each in labels:
                facts["labels"][each] = facts["labels"].get(each, 0) + 1
            held.append(
                (
                    list(texts),
                    BETWEEN.join(labels) or None,
                    order.get(part or "", -1),
                    where,
                    bytes.fromhex(key_of(texts)),
                )
            )
            waiting += sum(map(len, texts)) + 100
            facts["characters"] += sum(map(len, texts))
            if waiting > AT_ONCE:
                flush()
                waiting = 0
        if held:
            flush()
    return facts


def _labelled(files: Files, chosen: dict[str, str], asked: tuple[Any, str | None]) -> Iterator[Any]:
    """The rows of tables, and ("empty", place) or ("bare", file) for what is left out."""
    from dougong.data.texts.strict import refuse_broken

    for path, part in files:
        if path.suffix.lower() in (".csv", ".tsv"):
            refuse_broken(path)
        first, bare = 0, False
        for piece in pieces(path):
            table, _, _ = with_lists(piece, path, *asked, first)
            none = part in ("val", "test") and unlabelled(table, chosen["label"])
            bare = none if first == 0 else bare
            empty: list[str] = []
            if not (bare and none):  # a row with a label among many without: then the first without is named
                if bare:
                    raise UserError(place_of(path, 0), "has no label", "fill it in, or take the row out")
                yield from cells_of(table, path, part, chosen, empty, first)
            for place in empty:
                yield "empty", place
            first += len(table)
        if bare:
            yield "bare", path.name


def _plain(files: Files, column: str | None, cut: tuple[float, float, float] | None) -> Iterator[Any]:
    """The documents of tables and text files."""
    from dougong.data.texts.strict import refuse_broken

    for path, part in files:
        if path.suffix.lower() in (".txt", ".md"):
            yield from _documents(path, part, cut)
            continue
        if path.suffix.lower() in (".csv", ".tsv"):
            refuse_broken(path)
        first = 0
        for table in pieces(path):
            if column not in table.column_names:
                raise UserError(path.name, f"has no column {column!r}", f"its columns are {shown(table.column_names)}")
            for number, said in enumerate(table[column].to_pylist(), first):
                text = "" if said is None else str(said)
                place = place_of(path, number)
                yield ((text,), (), part, place) if clean(text) else ("empty", place)
            first += len(table)


def _documents(path: Path, part: str | None, cut: tuple[float, float, float] | None) -> Iterator[Any]:
    """A text file in documents of about `PIECE` bytes."""
    size, line = max(1, path.stat().st_size), 1
    with path.open("rb") as file:
        while True:
            share = file.tell() / size
            held = file.read(PIECE) + file.readline()
            if not held:
                return
            if line == 1 and held.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(path.name, "is UTF-16", "save it as UTF-8")
            if b"\0" in held:
                where = f"{path.name}:{line + held[: held.index(0)].count(10)}"
                raise UserError(where, "holds a NUL byte", "it is no text, or is damaged: fetch it again")
            try:
                text = held.decode("utf-8-sig" if line == 1 else "utf-8").replace("\r\n", "\n")
            except UnicodeDecodeError as error:
                where = f"{path.name}:{line + held[: error.start].count(10)}"
                raise UserError(where, "is not UTF-8", "save the file as UTF-8") from None
            here = part
            if cut is not None:
                here = SPLITS[0 if share < cut[0] else 1 if share < cut[0] + cut[1] else 2]
            if clean(text[:1000]) or clean(text):
                yield (text,), (), here, f"{path.name}:{line}"
            line += held.count(10)


def pieces(path: Path) -> Iterator[pa.Table]:
    """A table some rows at a time, each as `dougong.data.texts.tables.read_table` gives them.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow as pa

    from dougong.data.texts.strict import explained

    done = 0
    for block in BLOCKS:
        seen = 0
        try:
            for batch in _batches(path, block):
                seen += len(batch)
                if seen <= done or not len(batch):
                    continue
                table = pa.Table.from_batches([batch])
                table = table.slice(max(0, done - (seen - len(batch))))
                done = seen
                if path.suffix.lower() in (".parquet", ".arrow"):
                    table = named(table, path.name)
                names = [clean(column) for column in table.column_names]
                yield table.rename_columns(names).replace_schema_metadata(table.schema.metadata)
            return
        except (pa.ArrowException, OSError) as error:
            if "straddling" in str(error) and block != BLOCKS[-1]:
                continue  # a row is longer than a block
            if path.suffix.lower() == ".jsonl":
                explained(path)
            raise unread(path, error) from None


def _batches(path: Path, block: int) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    ending = path.suffix.lower()
    if ending == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path, memory_map=True) as file:  # else whole groups of rows are held, one after another
            yield from file.iter_batches(4096)
    elif ending == ".arrow":
        mapped = pa.memory_map(str(path))
        try:
            reader = pa.ipc.open_stream(mapped)
        except pa.ArrowInvalid:
            held = pa.ipc.open_file(mapped)
            for number in range(held.num_record_batches):
                yield _checked(held.get_batch(number))
            return
        for batch in reader:
            yield _checked(batch)
    elif ending == ".jsonl":
        import pyarrow.json as pj

        yield from pj.open_json(pa.memory_map(str(path)), pj.ReadOptions(block_size=block))
    else:
        import pyarrow.csv as pc

        read = pc.ReadOptions(block_size=block)
        yield from pc.open_csv(pa.memory_map(str(path)), read, *csv_options(path, read))


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    batch.validate(full=True)  # its numbers are places in memory
    return batch
