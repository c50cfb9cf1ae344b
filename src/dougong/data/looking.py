"""Every picture of a source looked at once: its hash, its size, its faults, and its pixels if there is room."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dougong.data.listing import Fault, Listing, Sample
from dougong.data.pictures import look
from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np

ROOM = 512 * 2**20
"""Bytes of decoded pictures that are kept; a data set that needs more is decoded anew each time."""
AT_ONCE = 64


@dataclass(eq=False)
class Seen:
    """A sample that was looked at.

    Args:
        sample: itself.
        key: the hash of its pixels, "" where it cannot be decoded.
        size: (h, w), or (0, 0).
        faults: of this picture.
        pixels: uint8 (h, w, 3), or None where they are not kept.
    """

    sample: Sample
    key: str
    size: tuple[int, int]
    faults: tuple[Fault, ...]
    pixels: np.ndarray | None

    def loader(self) -> Callable[[], np.ndarray]:
        """What gives the pixels, now or by decoding again."""
        return functools.partial(_again, self.sample) if self.pixels is None else functools.partial(_kept, self.pixels)


def look_through(listing: Listing, *, room: int = ROOM) -> list[Seen]:
    """Every sample, in order; decoded in threads, as Pillow lets go of the interpreter.

    Args:
        listing: of the source.
        room: bytes of pixels to keep; all are let go of once they need more.
    """
    from dougong import console

    seen: list[Seen] = []
    kept, let_go, samples = 0, False, listing.samples
    parts = [samples[start : start + AT_ONCE] for start in range(0, len(samples), AT_ONCE)]
    show = len(samples) > 2000 and listing.name != "digits"
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        done = _few_ahead(pool, parts, keep=room > 0)
        watch: Any = console.progress(len(samples), "looking at the pictures") if show else contextlib.nullcontext()
        with watch as bar:
            for part in done:
                seen += part
                kept += sum(each.pixels.nbytes for each in part if each.pixels is not None)
                if kept > room:  # and stays so
                    for each in seen[len(seen) - len(part) :] if let_go else seen:
                        each.pixels = None
                    let_go = True
                if bar is not None:
                    bar.advance(len(part))
    return seen


def _few_ahead(pool: ThreadPoolExecutor, parts: list[list[Sample]], *, keep: bool) -> Iterator[list[Seen]]:
    """Results in order, with only a few parts under way, so that pixels do not pile up."""
    waiting = []
    for part in parts:
        waiting.append(pool.submit(_look_at_part, part, keep))
        if len(waiting) > 16:
            yield waiting.pop(0).result()
    for each in waiting:
        yield each.result()


def _look_at_part(samples: list[Sample], keep: bool) -> list[Seen]:
    seen = []
    for sample in samples:
        found = look(sample.read, sample.where, sample.name)
        size = (0, 0) if found.pixels is None else (found.pixels.shape[0], found.pixels.shape[1])
        seen.append(Seen(sample, found.key, size, found.faults, found.pixels if keep else None))
    return seen


def _kept(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _again(sample: Sample) -> np.ndarray:
    """Decode once more.

    Raises:
        UserError: the file changed since the data set was opened.
    """
    found = look(sample.read, sample.where)
    if found.pixels is None:
        raise UserError(
            sample.where,
            f"{found.faults[0].what}, since the data was opened",
            "leave the data as it is while it is used",
        )
    return found.pixels
