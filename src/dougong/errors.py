"""The one kind of error that a user causes, and the nearest known word for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: a file, a row, a key or an option that cannot be used as it is.

    Printed as one line, ``where: what; remedy``; the command line ends with exit code 2.

    Args:
        where: the file with its row, the configuration key or the option at fault.
        what: what is wrong with it.
        remedy: what the user can do about it.
    """

    def __init__(self, where: str, what: str, remedy: str) -> None:
        self.where, self.what, self.remedy = str(where), what, remedy
        super().__init__(where, what, remedy)

    def __str__(self) -> str:
        return " ".join(
            f"{self.where}: {self.what}; {self.remedy}".encode("utf-8", "backslashreplace").decode().split()
        )


class FailureError(Exception):
    """Work that cannot go on, though neither the input nor the code is known to be wrong: a loss that is not finite.

    Printed as the one line it was made with; the command line ends with exit code 1.
    """


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like ``word``, or None when none is alike."""
    found = difflib.get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.5)
    return found[0] if found else None


def unknown(where: str, kind: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among the known ones, with the nearest suggested.

    >>> str(unknown("config.yaml", "key", "d_modle", ["d_model", "n_heads"]))
    "config.yaml: unknown key 'd_modle'; did you mean 'd_model'? Known: d_model, n_heads"
    """
    names = sorted(str(name) for name in known)
    guess = nearest(word, names)
    hint = f"did you mean {guess!r}? " if guess else ""
    return UserError(where, f"unknown {kind} {word!r}", f"{hint}Known: {', '.join(names)}")
