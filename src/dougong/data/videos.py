"""Video files read frame by frame, and drawn ones written, by PyAV (the extra `video`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong import console
from dougong.data.pictures import MOST_PIXELS, open_image, too_large
from dougong.data.texts.asked import Input
from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv",
)  # fmt: skip
"""Endings of video files; a .gif is one, too, where it moves."""
ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""What writes an .mp4, the first that this FFmpeg has."""
SHORT = 1.0
"""Seconds by which a video ends before the length that its head names, from which it counts as cut off."""


@dataclass(frozen=True)
class Video:
    """What is known of a video before it is read.

    Args:
        name: the file, as the user gave it.
        size: (h, w) of its frames, upright.
        rate: frames a second, of those that are read.
        count: how many are read, by what its head says; None where it does not say.
        every: the distance of those that are read.
    """

    name: str
    size: tuple[int, int]
    rate: Fraction
    count: int | None = None
    every: int = 1


@dataclass(frozen=True)
class Frame(Input):
    """A frame as a row: ``raw`` is uint8 (h, w, 3), upright and in RGB; ``where`` is "clip.mp4:12".

    Args:
        video: that it is of.
        number: its place among all frames of the video, from 1.
    """

    video: Video | None = None
    number: int = 0

    @property
    def stem(self) -> str:
        """A name for files that are made of it, "clip-000012"; in their order, names are in that of the frames."""
        return f"{Path(self.video.name if self.video else self.where).stem}-{self.number:06d}"


def is_video(name: str | Path) -> bool:
    """Whether a file is a video, by its name; a GIF is one if it holds more than one frame."""
    path = Path(name)
    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in VIDEOS
    try:
        return getattr(open_image(path.read_bytes()), "n_frames", 1) > 1
    except Exception:  # not to be read: what is wrong is said where pictures are read
        return False


def open_video(name: str | Path, every: int = 1) -> Video:
    """Look at a video's head, and at whether its first frame can be read.

    Args:
        name: the file.
        every: 5 reads the frames 1, 6, 11, ...

    Raises:
        UserError: PyAV is not installed; no such file, or one that is no video, is empty, broken, holds no pictures, or
            pictures that are too large.
    """
    av, name = _av(str(name)), str(name)
    path = Path(name)
    if not path.is_file():
        raise UserError(name, "no such file", "correct the path")
    if not path.stat().st_size:
        raise UserError(name, "is empty (0 bytes)", "fetch it again, or take it out")
    try:
        with av.open(name) as container:
            if not container.streams.video:
                raise UserError(name, "holds no pictures, only sound or text", "give a video")
            stream = container.streams.video[0]
            if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
                fault = too_large(name, str(stream.codec_context.width * stream.codec_context.height))
                raise fault.as_error()
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            count = stream.frames or round((_length(stream) or 0) * rate) or None
            first = next((frame for packet in container.demux(stream) for frame in _decoded(av, packet)), None)
            if first is None:
                raise UserError(name, "holds no frame that can be read", "fetch or save it again, or take it out")
            size = _upright(first).shape[:2]
    except av.FFmpegError as error:
        said = f"is no video that can be read, or is broken ({_words(error)})"
        raise UserError(name, said, "fetch or save it again, or take it out") from None
    return Video(name, (size[0], size[1]), rate / every, -(-count // every) if count else None, every)


def frames(name: str | Path | Video, every: int = 1) -> Iterator[Frame]:
    """The frames of a video, one after another; no more than one of them is held.

    Where a video is cut off or damaged, the frames that can be read are given, and a note says how many they are.

    Args:
        name: the file, or what `open_video` gave of it.
        every: of a file, as `open_video` has it.

    Raises:
        UserError: as `open_video`.
    """
    video = name if isinstance(name, Video) else open_video(name, every)
    av = _av(video.name)
    number, lost, end, why = 0, 0, 0.0, ""
    try:
        with av.open(video.name) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            promised, length = stream.frames, _length(stream)
            for packet in container.demux(stream):
                try:
                    found = packet.decode()
                except av.FFmpegError as error:
                    lost, why = lost + 1, _words(error)
                    continue
                for frame in found:
                    number += 1
                    end = max(end, float(frame.time or 0.0))
                    if (number - 1) % video.every == 0:
                        yield Frame(_upright(frame), f"{video.name}:{number}", None, video, number)
    except av.FFmpegError as error:
        lost, why = lost + 1, _words(error)
    if lost or number < promised or (not promised and length and end + SHORT < length):
        of = f" of the {promised:,}" if promised else ""
        kept = "frame could be read, and is" if number == 1 else "frames could be read, and are"
        told = f" ({why})" if why else ""
        console.note(f"{video.name}: is cut off or damaged{told}: {number:,}{of} {kept} kept")


def _av(name: str) -> Any:
    """PyAV, silent. Args: name: of the video that it is needed for."""
    try:
        import av
    except ImportError:
        raise UserError(
            name, "is a video, which needs PyAV, which is not installed", 'install it: pip install "dougong[video]"'
        ) from None
    av.logging.set_level(None)
    return av


def _decoded(av: Any, packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return []


def _length(stream: Any) -> float | None:
    """Seconds of a stream of pictures, as its head names them."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:00:04.000
    try:
        return sum(float(part) * 60**power for power, part in enumerate(reversed(parts))) if parts[0] else None
    except ValueError:
        return None


def _upright(frame: Any) -> np.ndarray:
    """A frame's pixels, uint8 (h, w, 3), turned as its head asks, which phones write."""
    import numpy as np

    pixels = frame.to_ndarray(format="rgb24")
    turns = round((frame.rotation or 0) / 90) % 4  # anticlockwise, as numpy's
    return np.ascontiguousarray(np.rot90(pixels, turns) if turns else pixels)


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).split("\n")[0].lower()


class Film:
    """A video file that is written frame by frame, an .mp4 that browsers play.

    Args:
        file: to write; an old one is replaced.
        rate: frames a second.
        size: (h, w); frames of another size are brought to it.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, file: Path, rate: Fraction, size: tuple[int, int]) -> None:
        self.file, self._av = file, _av(str(file))
        codec = next(each for each in ENCODERS if each in self._av.codecs_available)
        try:
            self._into = self._av.open(str(file), "w", options={"movflags": "faststart"})
        except OSError as error:
            raise UserError(str(file), f"cannot be written ({error.strerror})", "name another place") from None
        self._stream = self._into.add_stream(codec, rate=rate.limit_denominator(60_000))
        self._stream.height, self._stream.width = size
        even = size[0] % 2 == 0 and size[1] % 2 == 0  # halved colours need even sides
        self._stream.pix_fmt = "yuv420p" if even or codec != "libx264" else "yuv444p"
        if codec == "libx264":
            self._stream.options = {"crf": "18"}

    def add(self, pixels: np.ndarray) -> None:
        """Write a frame, uint8 (h, w, 3)."""
        self._write(self._av.VideoFrame.from_ndarray(pixels, format="rgb24"))

    def close(self) -> None:
        """Write what is left, and the file's end."""
        self._write(None)
        self._into.close()

    def _write(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._into.mux(packet)
