"""``dougong predict`` with a model of masks: PNGs of masks, and pictures drawn over, into a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dougong.errors import UserError


def free_place(out: str) -> Path:
    """A folder that is new or empty.

    Raises:
        UserError: it is neither.
    """
    folder = Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out {out}", "exists and is not empty", "name another folder")
    return folder


def drawing(answers: Iterable[Any], task: Any, folder: Path) -> Iterator[Any]:
    """The same answers, each written as it comes: masks/NAME.png, whose pixels are the numbers of classes in the data
    that the model was trained on, and drawn/NAME.jpg.

    Args:
        answers: with masks.
        task: that gave them.
        folder: made when the first answer comes.
    """
    from PIL import Image

    from dougong.data.masks.drawing import drawn, write_mask
    from dougong.data.pictures import as_pixels

    taken: set[str] = set()
    for answer in answers:
        stem = Path(answer.where).stem or "picture"
        name, number = stem, 2
        while name in taken:  # pictures of one name from several folders
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        write_mask(folder / "masks" / f"{name}.png", answer.mask, task.values, task.colours)
        (folder / "drawn").mkdir(parents=True, exist_ok=True)
        over = drawn(as_pixels(answer.where, answer.where), answer.mask, task.colours)
        Image.fromarray(over).save(folder / "drawn" / f"{name}.jpg", quality=92)
        yield answer
