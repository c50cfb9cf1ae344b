"""Tagged sentences in CoNLL columns: a word a line, its tag in the last column, a blank line after each sentence; or
in the columns of words and tags of a table that `datasets` wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dougong.data.names import shown
from dougong.data.tagging import broken, recognise, to_bio
from dougong.data.texts.dividing import divided
from dougong.data.texts.features import tag_columns
from dougong.data.texts.plain import lines_of
from dougong.data.texts.rows import TextData, TextRow, TextSplit, key_of
from dougong.data.texts.tables import place_of, read_table
from dougong.errors import UserError
from dougong.figures import many

ENDINGS = (".conll", ".iob", ".iob2", ".bio", ".iobes", ".bioes", ".bilou", ".bmes")
Sentence = tuple[list[str], list[str], str]
"""Words, tags, and the file and line where it begins."""


def read_tagged(
    files: Sequence[tuple[Path, str | None]], name: str, source: str, *, split: str | None = None, seed: int = 0
) -> TextData:
    """Tagged sentences of some files, each of a split or of none; tags of any scheme become BIO.

    Args:
        files: with their splits.
        name: of the data.
        source: as the user gave it.
        split: "80/10/10", where the files have no splits.
        seed: of the split.

    Raises:
        UserError: a file that cannot be read, a line without a tag, or no sentence at all.
    """
    tables = [path for path, _ in files if path.suffix in (".parquet", ".arrow")]
    columns = {"text": "first column", "label": "last column"}
    found: list[tuple[Sentence, str | None]] = []
    for path, part in files:
        if path in tables:
            columns, said = table_sentences(path)
        else:
            said = sentences(path)
        found += [(sentence, part) for sentence in said]
    if not found:
        raise UserError(source, "holds no sentence", "give a word and its tag on each line")
    scheme = recognise(tags for (_, tags, _), _ in found)
    notes = [f"Read as words in the {columns['text']} and tags in the {columns['label']}, {scheme}."]
    if scheme == "plain":
        first = next(
            (where, tag) for (_, tags, where), _ in found for tag in tags if recognise([[tag]]) == "plain"
        )  # fmt: skip
        raise UserError(
            first[0],
            f"the tag {first[1]!r} is of no scheme",
            "write O, or B- or I- and a type",
        )
    odd = [where for (_, tags, where), _ in found if broken(tags, scheme)]
    if odd:
        notes.append(
            f"{many(len(odd), 'sentence breaks', 'sentences break')} {scheme} ({shown(odd, 3)}): an entity that "
            "nothing began begins where it is."
        )
    rows = [
        (TextRow(tuple(words), (), tuple(to_bio(tags)), where, key_of(words)), part)
        for (words, tags, where), part in found
    ]
    types = sorted({tag[2:] for row, _ in rows for tag in row.tags if tag != "O"})
    if not types:
        raise UserError(source, "marks no entity: every tag is O", "give sentences with entities")
    classes = ("O", *(f"{letter}-{kind}" if kind else letter for kind in types for letter in "BI"))
    parts, how = divided(rows, split, seed, notes, source, "sentence")
    splits = {key: TextSplit.of(part) for key, part in parts.items()}
    return TextData(name, source, "tags", classes, False, splits, columns, how, seed, notes)


def table_sentences(path: Path) -> tuple[dict[str, str], list[Sentence]]:
    """The sentences of a Parquet or Arrow file, and which columns were read as what.

    Raises:
        UserError: it cannot be read, has no such columns, or a row holds more words than tags.
    """
    table = read_table(path)
    columns = tag_columns(table.schema)
    if columns is None:
        raise UserError(path.name, f"has no columns of words and tags, only {shown(table.column_names)}", "name them")
    words, tags, names = columns
    found: list[Sentence] = []
    for number, (said, marks) in enumerate(zip(table[words].to_pylist(), table[tags].to_pylist(), strict=True)):
        place = place_of(path, number)
        said, marks = said or [], marks or []
        if len(said) != len(marks):
            raise UserError(place, f"has {many(len(said), 'word')} and {many(len(marks), 'tag')}", "give a tag a word")
        if None in said or None in marks:
            raise UserError(place, "has an empty word or tag", "fill it in, or take the row out")
        if names is not None and not all(0 <= mark < len(names) for mark in marks):
            raise UserError(place, f"has a tag that is none of the {len(names)}", "save the data set again")
        if said:
            found.append((said, [names[mark] for mark in marks] if names else marks, place))
    return {"text": words, "label": tags}, found


def sentences(path: Path) -> list[Sentence]:
    """The sentences of a file.

    Columns are parted by a tab where the line holds one, else by blanks. A line of nothing but blanks and tabs ends a
    sentence; ``-DOCSTART-`` lines are passed over.

    Raises:
        UserError: the file is not UTF-8, or a line has one column only, or not as many as the first.
    """
    found: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    begun = wide = 0
    for number, line in enumerate([*lines_of(path), ""], 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words:
                found.append((words, tags, f"{path.name}:{begun}"))
            words, tags = [], []
            continue
        cells = line.split("\t") if "\t" in line else line.split(" ")
        cells = [cell for cell in cells if cell.strip()]
        if len(cells) < 2:
            raise UserError(
                f"{path.name}:{number}", f"has one column, {line.strip()[:30]!r}", "add the tag, or the word"
            )
        wide = wide or len(cells)
        if len(cells) != wide:
            what = f"has {many(len(cells), 'column')}, the lines before {wide}: {line.strip()[:30]!r}"
            raise UserError(f"{path.name}:{number}", what, "write as many in each line")
        begun = begun if words else number
        words.append(cells[0].strip())
        tags.append(cells[-1].strip())
    return found
