"""Names as people write them: of splits, columns and classes."""

from __future__ import annotations

import unicodedata

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
PATH_COLUMNS = ("path", "image", "file", "filename", "file_name", "filepath", "image_path", "img")
LABEL_COLUMNS = ("label", "class", "labels", "category", "target")
SPLIT_COLUMNS = ("split", "subset", "set")


def named_split(name: str) -> str | None:
    """ "train", "val" or "test" for a name that means it; None for any other."""
    return SPLIT_NAMES.get(clean(name).lower())


def clean(name: str) -> str:
    """A name in one Unicode form (NFC), without characters that nobody sees and without outer spaces.

    Bytes that are no UTF-8 are spelt out, as in \\udcff.

    >>> clean(" cat\\u200b ")
    'cat'
    """
    if name.isascii() and name.isprintable():  # most are
        return name.strip()
    kept = (c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) not in ("Cf", "Cc") or c == "\t")
    return "".join(kept).replace("\u00a0", " ").strip().encode("utf-8", "backslashreplace").decode()


def plain(text: str) -> str:
    """Text that every terminal and file can take, on one line: what cannot be seen is written as Python writes it.

    File names may hold line ends, colour codes, and bytes that are no UTF-8.

    >>> plain("a\\nb\\udcff猫\\u3000c")
    'a\\\\nb\\\\udcff猫\\u3000c'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else repr(c)[1:-1] for c in text)


def shown(names: list[str], most: int = 6) -> str:
    """Names for a message, not too many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
