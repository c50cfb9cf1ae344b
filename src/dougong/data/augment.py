"""Augmentation: training pictures varied a little, each by a random state of its own.

What happens to a sample is a function of (seed, epoch, its number) alone, so it does not matter which others share its
batch, in what order batches come, or whether the training was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from dougong.data.moving import moved_boxes, moving
from dougong.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

TINY = 16
"""Pictures with a side below this are left as they are by "auto": one pixel is too much to shift a stroke of two."""
SMALL = 64
GREY = 127.5
"""What lies outside a picture whose masks or boxes move with it."""


@dataclass(frozen=True)
class Augmentation:
    """How much a picture may be varied; each amount is drawn uniformly, for each sample anew.

    Args:
        shift: share of each side by which it is shifted at most, either way.
        whole: shifts are whole pixels, so that nothing is blurred.
        flip: whether half of the pictures are mirrored, left to right.
        rotate: degrees, either way.
        scale: share by which it grows or shrinks.
        brightness: share, either way.
        contrast: share, either way.
        saturation: share, either way.
        crop: a grown picture is cut, and a shrunk one put, anywhere rather than in the middle.
    """

    shift: float = 0.0
    whole: bool = False
    flip: bool = False
    rotate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    crop: bool = False

    @property
    def moves(self) -> bool:
        """Whether pixels change place."""
        return bool(self.shift or self.flip or self.rotate or self.scale)

    @property
    def colours(self) -> bool:
        """Whether pixels change colour."""
        return bool(self.brightness or self.contrast or self.saturation)

    def describe(self) -> str:
        """What it does, in a line."""
        parts = []
        for each in fields(self):
            value = getattr(self, each.name)
            if value and each.name != "whole":
                parts.append(
                    each.name if value is True else f"{each.name} {value:g}{' degrees' * (each.name == 'rotate')}"
                )
        return ", ".join(parts) or "none"


NONE = Augmentation()
KINDS: dict[str, Augmentation] = {
    "none": NONE,
    # for a few pixels: less than half a pixel of 8
    "mild": Augmentation(shift=0.04, rotate=5, scale=0.05),
    # the usual one for pictures of some 32 pixels: padded by an eighth and cut out again (He et al. 2016, section 4.2)
    "crop": Augmentation(shift=0.125, whole=True, flip=True),
    # for photographs
    "standard": Augmentation(shift=0.1, flip=True, rotate=5, scale=0.15, brightness=0.1, contrast=0.1, saturation=0.1),
    "strong": Augmentation(shift=0.125, flip=True, rotate=15, scale=0.25, brightness=0.3, contrast=0.3, saturation=0.3),
    # for pictures in which things are found rather than named: near and far, anywhere (Xie et al. 2021, section 4.1)
    "scene": Augmentation(flip=True, scale=1.0, brightness=0.25, contrast=0.25, saturation=0.25, crop=True),
}


def choose(
    augment: str | Mapping[str, Any] | Augmentation,
    size: tuple[int, int],
    classes: Sequence[str],
    auto: str | None = None,
) -> Augmentation:
    """The augmentation that is asked for.

    Args:
        augment: "auto", one of KINDS, or the arguments of `Augmentation`. "auto" is none below 16 pixels, "crop" below
            64, "standard" above.
        size: (h, w) of the pictures.
        classes: their names; where they are signs or sides ("7", "b", "left"), "auto" and the kinds never mirror.
        auto: the kind that "auto" means, whatever the size; None for a choice by size.

    Raises:
        UserError: an unknown kind or argument, or an amount that is no share.
    """
    if isinstance(augment, Augmentation):
        return augment
    if isinstance(augment, Mapping):
        return _given(augment)
    word = str(augment)
    if word == "auto":
        side = min(size)
        word = auto or ("none" if side < TINY else "crop" if side < SMALL else "standard")
    if word not in KINDS:
        raise unknown("augment", "augmentation", word, ["auto", *KINDS])
    chosen = KINDS[word]
    return Augmentation(**{**asdict(chosen), "flip": chosen.flip and may_flip(classes)})


def may_flip(classes: Sequence[str]) -> bool:
    """Whether a mirrored picture is still of its class, as far as the classes' names tell."""
    sided = {"left", "right", "clockwise", "counterclockwise", "anticlockwise"}
    words = [set(name.lower().replace("-", " ").replace("_", " ").split()) for name in classes]
    return not (any(each & sided for each in words) or all(len(name) == 1 for name in classes)) and not all(
        name.isdecimal() for name in classes
    )


@dataclass(frozen=True, eq=False)
class Varied:
    """Pictures that were varied, and what moved with them.

    Args:
        pixels: float32 (B, 3, h, w) of values 0 to 255.
        masks: (B, h, w), of the type they came in.
        boxes: of each picture, float32 (n, 4): what is still seen of each box; zeros where nothing is.
        shown: of each picture, (n,): the share of each box that is still seen, from 0 to 1.
    """

    pixels: Tensor
    masks: Tensor | None = None
    boxes: list[Tensor] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)


def augmented(pixels: Tensor, how: Augmentation, *, seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Pictures varied: (B, 3, h, w) of values 0 to 255, to the same shape, float32.

    Edges are mirrored outwards, so that no border appears.

    Args:
        pixels: the pictures.
        how: much.
        seed: of the training.
        epoch: from 0.
        indices: (B,) the samples' numbers.
    """
    return varied(pixels, how, seed=seed, epoch=epoch, indices=indices).pixels


def varied(
    pixels: Tensor, how: Augmentation, *, seed: int, epoch: int, indices: Tensor, masks: Tensor | None = None,
    boxes: Sequence[Tensor] | None = None, void: int = 255, size: tuple[int, int] | None = None,
) -> Varied:  # fmt: skip
    """Pictures varied, their masks and boxes moved alike.

    Where masks or boxes come along, what enters from outside is of no class: the picture is mid-grey there, the mask
    void. A picture alone is mirrored outwards.

    Args:
        pixels: (B, 3, h, w) of values 0 to 255.
        how: much.
        seed: of the training.
        epoch: from 0.
        indices: (B,) the samples' numbers.
        masks: (B, h, w), each pixel's class; the nearest pixel's is taken.
        boxes: of each picture (n, 4): left, top, right, bottom in pixels. They stay in their order, however little is
            seen of them: ``shown`` says which to drop.
        void: the class of what lies outside.
        size: (h, w) of the answer, cut out of the middle, or anywhere with ``how.crop``; the pictures' own when None.
    """
    values = pixels.float()
    own = (values.shape[-2], values.shape[-1])
    seen = own if size is None else (int(size[0]), int(size[1]))
    draws = uniform(seed, epoch, indices.cpu().numpy(), 10) * 2 - 1
    given = [each.float() for each in boxes or ()]
    found = Varied(values, masks, given, [each.new_ones(len(each)) for each in given])
    if how.moves or seen != own:
        moves = moving(draws, how, own, seen)
        found = _warped(values, moves, seen, masks, void, mirrored=masks is None and boxes is None)
        for each, move in zip(given, moves[: len(given)], strict=True):
            around, share = moved_boxes(each.cpu().numpy(), move, seen)
            found.boxes.append(each.new_tensor(around))
            found.shown.append(each.new_tensor(share))
    return replace(found, pixels=_coloured(found.pixels, draws[:, 5:8], how)) if how.colours else found


def _warped(
    values: Tensor, moves: np.ndarray, seen: tuple[int, int], masks: Tensor | None, void: int, *, mirrored: bool
) -> Varied:
    """Pictures and masks with each pixel where it goes; what comes from outside is mirrored, or grey and void."""
    import torch
    from kornia.geometry.transform import warp_affine

    at = torch.from_numpy(moves.astype("float32")).to(values.device)
    if mirrored:
        return Varied(warp_affine(values, at, seen, mode="bilinear", padding_mode="reflection", align_corners=True))
    # outside is zero for the kernel
    pixels = warp_affine(values - GREY, at, seen, mode="bilinear", padding_mode="zeros", align_corners=True) + GREY
    if masks is None:
        return Varied(pixels)
    classes = (masks.to(torch.int32) - void).float()[:, None]  # exact up to 2**24
    moved = warp_affine(classes, at, seen, mode="nearest", padding_mode="zeros", align_corners=True)
    return Varied(pixels, (moved[:, 0].round().to(torch.int32) + void).to(masks.dtype))


def uniform(seed: int, epoch: int, indices: np.ndarray, n: int) -> np.ndarray:
    """n numbers for each sample, uniform in [0, 1), from (seed, epoch, index) alone: float64 (B, n).

    The state that the three make is stepped and mixed as in SplitMix64 (Steele, Lea and Flood 2014, figure 16).
    """
    import numpy as np

    from dougong.data.batching import mix

    step = np.uint64(0x9E3779B97F4A7C15)  # arrays of uint64 wrap around without a warning
    state = _mixed(indices.astype(np.uint64) * step + np.uint64(mix("augment", seed, epoch)))
    drawn = _mixed(state[:, None] + (np.arange(n, dtype=np.uint64) + np.uint64(1)) * step)
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(z: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers in which every bit of the answer hangs on every bit given."""
    import numpy as np

    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _coloured(values: Tensor, draws: np.ndarray, how: Augmentation) -> Tensor:
    """Brightness, then contrast about mid-grey, then saturation about each pixel's own grey; kept within 0 to 255."""
    import torch

    amounts = torch.from_numpy(draws).to(values.device, torch.float32)[..., None, None, None]
    bright, contrast, colour = (
        1 + amounts[:, i] * share for i, share in enumerate((how.brightness, how.contrast, how.saturation))
    )
    values = (values * bright - 127.5) * contrast + 127.5
    if how.saturation:
        from kornia.color import rgb_to_grayscale

        grey = rgb_to_grayscale(values)
        values = grey + (values - grey) * colour
    return values.clamp(0, 255)


def _given(augment: Mapping[str, Any]) -> Augmentation:
    known = {each.name for each in fields(Augmentation)}
    for key, value in augment.items():
        if key not in known:
            raise unknown("augment", "amount", str(key), known)
        switch = key in ("flip", "whole", "crop")
        most = 180 if key == "rotate" else 1
        right = isinstance(value, bool) if switch else isinstance(value, int | float) and not isinstance(value, bool)
        if not right or not (switch or 0 <= value <= most):
            raise UserError(
                f"augment.{key}={value}", "will not do", "give true or false" if switch else f"give 0 to {most}"
            )
    return Augmentation(**augment)
