"""One way to colour scores, on paper and on screen: orange speaks for the class, blue against it, none is none.

Orange and blue are told apart with every common kind of colour blindness.
"""

from __future__ import annotations

import base64
import io

import numpy as np

FOR, AGAINST = (217, 95, 2), (33, 102, 172)
PALE = 0.35
"""How much of the picture's own contrast is left under a heat map."""


def grey(picture: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) to a pale grey picture of the same shape, on which colours show."""
    light = picture.astype(float) @ np.array([0.299, 0.587, 0.114])
    pale = 255 - PALE * (255 - light)
    return np.repeat(pale[..., None], 3, 2).round().clip(0, 255).astype(np.uint8)


def heat(scores: np.ndarray, owner: np.ndarray, signed: bool, top: float | None = None) -> np.ndarray:
    """Scores (n,) as uint8 RGBA of the owner's shape (h, w, 4): the colour is the sign, the opacity the size.

    Args:
        scores: one a unit.
        owner: the unit of each pixel, (h, w).
        signed: whether zero means nothing; else the smallest score does, for shares are never zero.
        top: the size that is fully opaque; the largest by default.
    """
    values = np.nan_to_num(scores if signed else scores - scores.min())
    limit = top if top is not None else float(np.abs(values).max(initial=0))
    share = (np.abs(values) / limit).clip(0, 1) if limit > 0 else np.zeros_like(values)
    colour = np.where((values >= 0)[:, None], FOR, AGAINST)
    rgba = np.concatenate((colour, (share * 235)[:, None]), 1).round().astype(np.uint8)
    return rgba[owner]


def over(picture: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """RGBA (h, w, 4) laid over a picture (h, w, 3): uint8 (h, w, 3)."""
    opacity = layer[..., 3:].astype(float) / 255
    return (layer[..., :3] * opacity + picture * (1 - opacity)).round().astype(np.uint8)


def overlay(picture: np.ndarray | None, scores: np.ndarray, owner: np.ndarray, signed: bool) -> np.ndarray:
    """The heat map over the pale picture, uint8 (h, w, 3)."""
    under = grey(picture) if picture is not None else np.full((*owner.shape, 3), 255, np.uint8)
    return over(under, heat(scores, owner, signed))


def data_uri(picture: np.ndarray) -> str:
    """uint8 (h, w, 3) as the address of an image that is its own content: PNG when small, JPEG when large."""
    from PIL import Image

    image, file = Image.fromarray(np.ascontiguousarray(picture)), io.BytesIO()
    small = max(image.size) <= 96
    image.save(file, "PNG", optimize=True) if small else image.save(file, "JPEG", quality=80)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
