"""The files of a tokenizer's folder: found without leaving it, read whole, faults named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dougong.errors import UserError

LARGEST = 512 << 20  # bytes; the largest published tokenizer.json is a fifteenth of it
AGAIN = "copy the file again from its source"


def inside(folder: Path, name: str) -> Path:
    """The file of that name in the folder, whether it is there or not.

    A link may point elsewhere only within the folder or into the blob store of a hub cache above it
    (``models--org--name/snapshots/REVISION`` holds links to ``../../blobs``).

    Raises:
        UserError: the name, or the link behind it, leads outside.
    """
    path = folder / name
    home = folder.resolve()
    roots = [home]
    if home.parent.name == "snapshots":
        roots.append(home.parent.parent / "blobs")
    target = path.resolve()
    if not any(target.is_relative_to(root) for root in roots):
        raise UserError(str(path), "leads outside its folder", "put the file itself there instead of a link or a path")
    return path


def present(folder: Path, name: str) -> Path | None:
    """The file of that name if it is there; see `inside`."""
    path = inside(folder, name)
    return path if path.is_file() else None


def text_of(path: Path) -> str:
    """A file's text.

    Raises:
        UserError: it is not there, too large, or no UTF-8.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(str(path), f"larger than {LARGEST >> 20} MB", "this is no tokenizer file")
        return path.read_bytes().decode("utf-8-sig")  # no translation of line ends
    except FileNotFoundError:
        raise UserError(str(path), "no such file", "give a folder with tokenizer files, or one of them") from None
    except IsADirectoryError:
        raise UserError(str(path), "a folder where a file should be", AGAIN) from None
    except UnicodeDecodeError as fault:
        raise UserError(str(path), f"not UTF-8 text (byte {fault.start})", AGAIN) from None
    except OSError as fault:
        raise UserError(str(path), f"cannot be read ({fault.strerror})", "check the file and its rights") from None


def _once(where: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            for key, _ in items:
                if key in seen:
                    raise UserError(where, f"the key {key!r} stands twice", "strike one of the two")
                seen.add(key)
        return found

    return pairs


def json_of(path: Path, *, unique: bool = True) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: the file.
        unique: whether a key that stands twice is a fault.

    Raises:
        UserError: no such file, no JSON, or no object.
    """
    where = str(path)
    text = text_of(path)
    try:
        value = json.loads(text, object_pairs_hook=_once(where) if unique else None)
    except json.JSONDecodeError as fault:
        end = " (the file ends early)" if fault.pos >= len(text.rstrip()) else ""
        raise UserError(f"{where}:{fault.lineno}", f"not JSON: {fault.msg}{end}", AGAIN) from None
    except RecursionError:
        raise UserError(where, "nested too deeply", AGAIN) from None
    if not isinstance(value, dict):
        raise UserError(where, f"holds a {type(value).__name__}, not an object", AGAIN)
    return value


def vocabulary(ids: dict[str, Any], where: str) -> dict[str, int]:
    """A vocabulary that was read, checked: whole numbers from 0 on, each once, none left out.

    Raises:
        UserError: an id that is no number, stands twice, or is missing.
    """
    if not ids:
        raise UserError(where, "an empty vocabulary", AGAIN)
    taken: dict[int, str] = {}
    for token, index in ids.items():
        if type(index) is not int or index < 0:
            raise UserError(where, f"the token {token!r} has id {index!r}", "ids are whole numbers from 0 on")
        if index in taken:
            raise UserError(where, f"{taken[index]!r} and {token!r} share id {index}", AGAIN)
        taken[index] = token
    if max(taken) != len(taken) - 1:
        hole = next(index for index in range(len(taken)) if index not in taken)
        raise UserError(where, f"{len(taken)} tokens reach id {max(taken)}, and id {hole} is missing", AGAIN)
    return ids


# What a line of vocab.txt may end in and the tokenizers library strips: Unicode's White_Space, which is not Python's.
_BLANK = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def vocab_txt(path: Path) -> dict[str, int]:
    """A vocab.txt, one token a line, its id the line's number from 0.

    Raises:
        UserError: a token stands twice, or the file is empty.
    """
    vocab: dict[str, int] = {}
    lines = text_of(path).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    for index, line in enumerate(lines):
        token = line.rstrip(_BLANK)
        if token in vocab:
            what = "an empty line" if not token else repr(token)
            raise UserError(
                f"{path}:{index + 1}",
                f"{what} stands here and in line {vocab[token] + 1}, which leaves a hole in the ids",
                AGAIN,
            )
        vocab[token] = index
    return vocabulary(vocab, str(path))


def merges_txt(path: Path, vocab: dict[str, int], suffix: str = "") -> list[tuple[str, str]]:
    """A merges.txt: pairs in the order in which they are merged, each known to the vocabulary, and so is its result.

    Args:
        path: the file.
        vocab: the vocabulary that it belongs to.
        suffix: unused by byte-level models; CLIP's pieces end in one, which stands in the merges as it is.

    Raises:
        UserError: a line that is no pair, or names a token that the vocabulary lacks.
    """
    merges = []
    for row, line in enumerate(text_of(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if line.startswith("#version") or not line:
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise UserError(f"{path}:{row}", f"{line[:60]!r} is no pair of tokens", "write two tokens and one space")
        for token in (*parts, "".join(parts)):
            if token not in vocab:
                raise UserError(
                    f"{path}:{row}",
                    f"the merge {line!r} names {token!r}, which is not in the vocabulary",
                    "take merges and vocabulary from the same tokenizer",
                )
        merges.append((parts[0], parts[1]))
    return merges
