"""The classes of masks: their names, their numbers or colours in the files, and which of them is none."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dougong.data.masks.rows import MOST_CLASSES
from dougong.data.names import clean, shown
from dougong.errors import UserError, nearest

FILES = ("classes.txt", "labels.txt", "class_names.txt", "label_colors.txt", "classes.csv", "class_dict.csv")
NONE = {
    "void", "unlabelled", "unlabeled", "ignore", "ignored", "dont care", "don't care", "unknown", "undefined",
}  # fmt: skip
"""Names that say that a pixel is of no class."""
OUTSIDE = 255
"""The value that is of no class by custom, where it is no class's number."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """What the values of masks mean.

    Args:
        names: of all classes, those that are none among them.
        values: of each, its number in the files.
        colours: of each, red, green and blue; None where the files hold numbers alone.
        void: those of the names that are none.
        told: by which file; "" where nobody said.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[Colour, ...] | None = None
    void: tuple[str, ...] = ()
    told: str = ""

    @property
    def learnt(self) -> list[int]:
        """Places of the classes that are learnt, in order."""
        return [place for place, name in enumerate(self.names) if name not in self.void]


def class_file(root: Path) -> Path | None:
    """The file beside the masks that says what their values mean, if there is one."""
    found = {path.name.lower(): path for path in root.iterdir() if path.is_file()} if root.is_dir() else {}
    return next((found[name] for name in FILES if name in found), None)


def read_classes(file: Path) -> ClassTable:
    """A class a line: its name, its name beside three numbers of a colour, or a CSV of name, r, g, b.

    A line without a colour names the class of its own number, from 0.

    Raises:
        UserError: no text, no classes, a class named twice, or colours of some classes only.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(file.name, f"cannot be read ({error})", "save it as UTF-8, a class a line") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if lines and re.fullmatch(r"\s*name\s*,\s*r\s*,\s*g\s*,\s*b\s*", lines[0], re.IGNORECASE):
        lines = lines[1:]
    names, colours = [], []
    for number, line in enumerate(lines, 1):
        name, colour = _line(line)
        if not name:
            raise UserError(f"{file.name}:{number}", "names no class", "write a class in each line")
        if name in names:
            raise UserError(f"{file.name}:{number}", f"names {name} again", "keep one of the lines")
        names.append(name)
        colours.append(colour)
    if not names:
        raise UserError(file.name, "is empty", "write a class in each line")
    if len(names) > MOST_CLASSES:
        raise UserError(file.name, f"names {len(names)} classes", f"give at most {MOST_CLASSES}")
    told = [colour for colour in colours if colour is not None]
    if told and len(told) < len(names):
        bare = names[colours.index(None)]
        raise UserError(file.name, f"gives no colour to {bare}", "give each class one, or none of them")
    if len(set(told)) < len(told):
        raise UserError(file.name, "gives two classes one colour", "correct it")
    void = tuple(name for name in names if re.sub(r"[_\s]+", " ", name.lower()) in NONE)
    return ClassTable(tuple(names), tuple(range(len(names))), tuple(told) or None, void, file.name)


def _line(line: str) -> tuple[str, Colour | None]:
    """A class's name, and its colour where there is one, before or behind it."""
    first = re.fullmatch(r"\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(.*\S)\s*", line)
    last = re.fullmatch(r"\s*(.*?\S)[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*", line)
    if first is not None:
        numbers, name = first.groups()[:3], first[4]
    elif last is not None:
        numbers, name = last.groups()[1:], last[1]
    else:
        return clean(line), None
    red, green, blue = (int(each) for each in numbers)
    return (clean(name), (red, green, blue)) if max(red, green, blue) <= 255 else (clean(line), None)


def found_classes(values: Sequence[int], colours: bool = False) -> ClassTable:
    """Classes of masks that no file names: each value that occurs is one, 255 none, or the second of two.

    Args:
        values: that occur, in order.
        colours: they stand for colours.

    Raises:
        UserError: they stand for colours, or are too many.
    """
    if colours:
        said = "no file says which colour is which class"
        raise UserError("masks", said, f"add {FILES[0]} with lines as '128 64 128 road', or save numbers of classes")
    numbers = [int(each) for each in values]
    if set(numbers) == {0, OUTSIDE}:
        return ClassTable(("background", "object"), (0, OUTSIDE))
    if len(numbers) > MOST_CLASSES:
        raise UserError("masks", f"hold {len(numbers)} different values", f"give at most {MOST_CLASSES} classes")
    void = (str(OUTSIDE),) if OUTSIDE in numbers else ()
    names = tuple(str(each) if str(each) in void else f"class {each}" for each in numbers)
    return ClassTable(names, tuple(numbers), None, void)


def with_void(table: ClassTable, asked: str | None) -> ClassTable:
    """The table with other classes that are none.

    Args:
        table: of all classes.
        asked: names or numbers, separated by commas; "none" for none; None for those that the names say.

    Raises:
        UserError: one that is no class, or nothing to learn is left.
    """
    if asked is not None:
        words = [] if asked.strip().lower() == "none" else [clean(each) for each in asked.split(",") if each.strip()]
        void = []
        for word in words:
            place = [k for k, value in enumerate(table.values) if word in (table.names[k], str(value))]
            if not place and word == str(OUTSIDE):
                continue  # is none anyway
            if not place:
                close = nearest(word, table.names)
                hint = f"did you mean {close}? " if close else ""
                known = f"{hint}There are {shown(list(table.names))}"
                raise UserError(f"void={word}", "is no class of the masks", known)
            void += [table.names[k] for k in place]
        table = ClassTable(table.names, table.values, table.colours, tuple(void), table.told)
    if len(table.learnt) < 2:
        left = shown([table.names[place] for place in table.learnt]) or "no class"
        raise UserError("masks", f"hold {left} alone, so there is nothing to tell apart", "give at least two classes")
    return table


def drawn_colours(table: ClassTable, palette: Sequence[Colour] | None = None) -> tuple[Colour, ...]:
    """A colour for each class that is learnt: the files' own, that of their palette, or one apart from the others.

    Args:
        table: of all classes.
        palette: of the masks' files, by value.
    """
    if table.colours is not None:
        return tuple(table.colours[place] for place in table.learnt)
    values = [table.values[place] for place in table.learnt]
    if palette is not None and max(values) < len(palette):
        own = tuple(palette[value] for value in values)
        grey = all(colour[0] == colour[1] == colour[2] for colour in own)
        if len(set(own)) == len(own) and not grey:
            return own
    golden, made = 0.618033988749895, []
    for number in range(len(values)):
        full, bright = 0.65 + 0.3 * (number % 2), 0.95 - 0.15 * (number % 3)
        rgb = [round(255 * each) for each in colorsys.hsv_to_rgb(number * golden % 1, full, bright)]
        made.append((rgb[0], rgb[1], rgb[2]))
    return tuple(made)
