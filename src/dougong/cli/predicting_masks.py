"""``dougong predict`` with a model of masks: PNGs of masks, and pictures drawn over, into a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dougong.cli.picturing import Films, pixels_of, stem_of
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


def drawing(answers: Iterable[Any], task: Any, folder: Path, row_of: Callable[[Any], Any]) -> Iterator[Any]:
    """The same answers, each written as it comes: masks/NAME.png, whose pixels are the numbers of classes in the data
    that the model was trained on, and drawn/NAME.jpg; of a video, drawn/NAME.mp4, too.

    Args:
        answers: with masks.
        task: that gave them.
        folder: made when the first answer comes.
        row_of: of an answer, the row that it is to.
    """
    from PIL import Image

    from dougong.data.masks.drawing import drawn, write_mask

    taken: set[str] = set()

    def free(stem: str) -> str:
        name, number = stem, 2
        while name in taken:  # pictures of one name from several folders
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        return name

    with contextlib.closing(Films(lambda stem: folder / "drawn" / f"{free(stem)}.mp4")) as films:
        for answer in answers:
            row = row_of(answer)
            name = free(stem_of(row))
            write_mask(folder / "masks" / f"{name}.png", answer.mask, task.values, task.colours)
            (folder / "drawn").mkdir(parents=True, exist_ok=True)
            over = drawn(pixels_of(row), answer.mask, task.colours)
            Image.fromarray(over).save(folder / "drawn" / f"{name}.jpg", quality=92)
            films.add(row, over)
            yield answer
