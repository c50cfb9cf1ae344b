"""A model's configuration made to fit pictures and classes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dougong.errors import UserError

SEQUENCES = ("rnn", "gru", "lstm", "textcnn")
SMALL = 64
FEWEST, MOST = 4, 14
"""Patches along a picture's side, where we choose."""


def fit_config(
    config: dict[str, Any], n_classes: int, image_size: tuple[int, int], fixed: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """A whole configuration changed where it does not fit, and a line for each change.

    Args:
        config: as ``resolve`` gives it; left as it is.
        n_classes: C.
        image_size: (h, w).
        fixed: keys that the user set; never changed.

    Raises:
        UserError: a fixed value does not fit, or the architecture reads no pictures.
    """
    fitted, lines = dict(config), []
    family = str(config["architecture"])
    if "image_size" not in config:
        raise UserError(family, "reads no pictures", "choose vit, resnet, rnn, gru, lstm or textcnn")
    if "n_queries" in config:
        raise UserError(family, "finds boxes, where the data has a class a picture", "choose vit or resnet")

    def change(key: str, value: Any, why: str) -> None:
        if key in fixed and fitted[key] is not None:
            raise UserError(f"model.{key}={said(key, fitted[key])}", why, f"leave it out, or set {said(key, value)}")
        lines.append(f"model.{key}: {said(key, fitted[key])} -> {said(key, value)}, {why}")
        fitted[key] = value

    if config["n_classes"] != n_classes:
        change("n_classes", n_classes, f"the data has {n_classes} classes")
    if _pair(config["image_size"]) != image_size:
        change("image_size", _single(image_size), f"the pictures are read at {image_size[0]}x{image_size[1]}")
    if family in SEQUENCES:
        for key in ("vocab_size", "d_input"):
            if config[key] is not None:
                change(key, None, "it reads pictures, row by row")
    if "patch_size" in config and (config["patch_size"] is not None or family not in SEQUENCES):
        _fit_patches(fitted, image_size, change, family, "patch_size" in fixed)
    if family == "resnet" and min(image_size) < SMALL:
        if fitted["stem"] != "small" and "stem" not in fixed:
            change("stem", "small", f"pictures under {SMALL} pixels need every one of them")
        _fit_stages(fitted, image_size, change)
    return fitted, lines


def _fit_patches(config: dict[str, Any], image: tuple[int, int], change: Any, family: str, fixed: bool) -> None:
    """A patch that divides the picture; where we choose, 4 to 14 of them along a side."""
    patch = _pair(config["patch_size"])
    assert patch is not None
    divides = image[0] % patch[0] == 0 and image[1] % patch[1] == 0
    if fixed:
        if not divides:
            change("patch_size", _single(best_patch(image)), f"it does not divide {image[0]}x{image[1]}")
        return
    if family in SEQUENCES:
        if not divides:
            change("patch_size", None, f"it does not divide {image[0]}x{image[1]}; rows are read instead")
        return
    across = (image[0] // patch[0], image[1] // patch[1])
    if divides and FEWEST <= min(across) and max(across) <= MOST:
        return
    best = best_patch(image)
    if best != patch:
        cut = f"would cut {image[0]}x{image[1]} into {across[0]}x{across[1]} patches"
        change("patch_size", _single(best), cut if divides else f"it does not divide {image[0]}x{image[1]}")


def best_patch(image: tuple[int, int]) -> tuple[int, int]:
    """The patch that divides a picture and gives nearest to 8 patches along its shorter side.

    At least 2 pixels, 4 to 14 patches, and square where a square does that; else each side by itself.

    Examples:
        >>> [best_patch((side, side))[0] for side in (8, 16, 28, 32, 64, 96, 224)]
        [2, 2, 4, 4, 8, 12, 28]
    """
    shorter = min(image)
    squares = [side for side in range(2, shorter + 1) if image[0] % side == 0 and image[1] % side == 0]
    good = [side for side in squares if FEWEST <= shorter // side <= MOST]
    if good:
        side = min(good, key=lambda each: (abs(shorter / each - 8), each))
        return side, side
    return _best_side(image[0]), _best_side(image[1])


def divides_well(image: tuple[int, int]) -> bool:
    """Whether some patch divides a picture into 4 to 28 along each side; true of all with fewer than 4 pixels.

    >>> divides_well((28, 28)), divides_well((97, 97)), divides_well((32, 31))
    (True, False, False)
    """
    patches = [length // patch for length, patch in zip(image, best_patch(image), strict=True)]
    return min(image) < FEWEST or (min(patches) >= FEWEST and max(patches) <= 2 * MOST)


def _best_side(length: int) -> int:
    """The divisor of one side nearest to 8 parts."""
    divisors = [side for side in range(1, length + 1) if length % side == 0]
    return min(divisors, key=lambda each: (abs(length / each - 8), each))


def _fit_stages(config: dict[str, Any], image: tuple[int, int], change: Any) -> None:
    """No more stages than leave the last map at least one pixel that is not mostly border."""
    stem = 4 if config["stem"] == "imagenet" else 1
    layers = list(config["layers"])
    most = len(layers)
    while most > 1 and min(image) < stem * 2 ** (most - 1):
        most -= 1
    if most < len(layers):
        why = f"the maps of {len(layers)} stages would be below one pixel of a {image[0]}x{image[1]} picture"
        change("layers", layers[:most], why)


def _pair(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _single(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)


def said(key: str, value: Any) -> str:
    """A value as a line shows it: sizes as 8x4."""
    if key.endswith("_size") and isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return "none" if value is None else str(value).replace(" ", "")
