"""Pictures and frames of videos on their way to a model, and back to those who draw on them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from dougong.data.texts.asked import Input
    from dougong.data.videos import Film, Video

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Pictures(Iterator[Any]):
    """The pictures meant: folders are searched, videos read frame by frame, "-" reads one name from each line of stdin.

    Args:
        words: files, folders, and "-".
        every: of videos, the distance of the frames that are read; all when None.
        keep: whether each is held until its answer comes, which is a batch later at most, for ``row_of``.

    Raises:
        UserError: at once, a name that is no file or folder, a folder without pictures, a video that cannot be read,
            or a distance where there is no video; later, what stdin names.
    """

    total: int | None
    """How many there are, as far as that is known."""

    def __init__(self, words: Sequence[str], every: int | None = None, keep: bool = False) -> None:
        found = [(word, [] if word == "-" else _named(word, every or 1)) for word in words]
        named = [each for _, several in found for each in several]
        if every is not None and "-" not in words and all(isinstance(each, str) for each in named):
            raise UserError("--every", "is for videos, and there is none among INPUTS", "leave it out")
        counts = [1 if isinstance(each, str) else each.count for each in named]
        self.total = None if "-" in words or None in counts else sum(count or 0 for count in counts)
        self._rows, self._keep, self._held = _rows(found, every or 1), keep, deque[Any]()

    def __next__(self) -> Input:
        row = next(self._rows)
        if self._keep and row.fault is None:
            self._held.append(row)
        return row

    def row_of(self, answer: Any) -> Input:
        """The row that the next answer is to; those before it, which had none, are let go of."""
        while (row := self._held.popleft()).where != answer.where:
            pass
        return row  # type: ignore[no-any-return]


def _rows(found: list[tuple[str, list[str | Video]]], every: int) -> Iterator[Input]:
    from dougong.data.texts.asked import Input

    for word, several in found:
        yield from _opened(several)
        for line in sys.stdin if word == "-" else ():
            if name := line.rstrip("\r\n"):
                try:
                    yield from _opened(_named(name, every))
                except UserError as error:
                    yield Input(None, name, error)


def _opened(several: Iterable[str | Video]) -> Iterator[Input]:
    from dougong.data.texts.asked import Input
    from dougong.data.videos import frames

    for each in several:
        if isinstance(each, str):
            yield Input(each, each)
        else:
            yield from frames(each)


def _named(name: str, every: int) -> list[str | Video]:
    from dougong.data.videos import is_video, open_video

    path = Path(name)
    if path.is_dir():
        inside = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
        if not inside:
            films = any(p.is_file() and is_video(p) for p in path.rglob("*"))
            remedy = "name the videos in it" if films else f"give a folder with {', '.join(IMAGES[:3])}, ... files"
            raise UserError(name, "holds no picture", remedy)
        return list(inside)
    if path.is_file():
        return [open_video(name, every) if is_video(name) else name]
    raise UserError(name, "no such file", "give a picture, a video, a folder of pictures, or - for a list on stdin")


def pixels_of(row: Input) -> np.ndarray:
    """A row's picture, uint8 (h, w, 3)."""
    from dougong.data.pictures import as_pixels

    return as_pixels(row.raw, row.where)


def stem_of(row: Input) -> str:
    """What files that are made of a row are called, without their ending."""
    return getattr(row, "stem", "") or Path(row.where).stem or "picture"


class Films:
    """Drawn videos, each written while its frames come.

    Args:
        place: from the stem of a video's name, the file to write.
    """

    def __init__(self, place: Callable[[str], Path]) -> None:
        self._place = place
        self._video: Video | None = None
        self._film: Film | None = None

    def add(self, row: Input, drawn: np.ndarray) -> None:
        """Write a frame, uint8 (h, w, 3), with what is drawn on it; a row that is no frame is passed over."""
        from dougong.data.videos import Film

        video = getattr(row, "video", None)
        if video is None:
            return
        if video is not self._video:
            self.close()
            self._film, self._video = Film(self._place(Path(video.name).stem), video.rate, video.size), video
        assert self._film is not None
        self._film.add(drawn)

    def close(self) -> None:
        """End the file that is written."""
        if self._film is not None:
            self._film.close()
        self._film = None
