"""Text files as lines: UTF-8 or one clear word about why not."""

from __future__ import annotations

from pathlib import Path

from dougong.errors import UserError


def text_of(path: Path) -> str:
    r"""A whole file, with "\n" at the end of each line.

    Raises:
        UserError: it cannot be read, or is not UTF-8, or holds NUL bytes.
    """
    try:
        held = path.read_bytes()
    except OSError as error:
        raise UserError(path.name, f"cannot be read ({error.strerror or error})", "fetch it again") from None
    if held.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(path.name, "is UTF-16", "save it as UTF-8")
    if b"\0" in held:
        line = held[: held.index(b"\0")].count(b"\n") + 1
        raise UserError(f"{path.name}:{line}", "holds a NUL byte", "it is no text, or is damaged: fetch it again")
    try:
        text = held.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = held[: error.start].count(b"\n") + 1
        raise UserError(f"{path.name}:{line}", "is not UTF-8", "save the file as UTF-8") from None
    return text.replace("\r\n", "\n")


def lines_of(path: Path) -> list[str]:
    r"""Its lines. They end at "\n" alone: a word may hold any other sign.

    Raises:
        UserError: as `text_of`.
    """
    lines = text_of(path).split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
