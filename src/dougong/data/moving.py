"""Where the pixels of a varied picture go, and the boxes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from dougong.data.augment import Augmentation


def moving(draws: np.ndarray, how: Augmentation, size: tuple[int, int], seen: tuple[int, int]) -> np.ndarray:
    """Where pixels (x, y) go, (B, 2, 3): turned, scaled and mirrored about the centre, then shifted.

    Pixels are counted by their centres: the first lies at (0, 0), the last at (w - 1, h - 1).

    Args:
        draws: (B, 10) from -1 to 1; the first five and the last two are used.
        how: much.
        size: (h, w) of the pictures.
        seen: (h, w) of the varied ones, which see this much from the middle of the others.
    """
    import numpy as np

    (height, width), (down_to, across_to) = size, seen
    across, down = draws[:, 0] * how.shift * across_to, draws[:, 1] * how.shift * down_to
    if how.whole:
        across, down = (_whole(draws[:, 0], how.shift * across_to), _whole(draws[:, 1], how.shift * down_to))
    angle = np.deg2rad(draws[:, 2] * how.rotate)
    factor = np.exp(draws[:, 3] * np.log1p(how.scale))
    mirror = np.where(how.flip & (draws[:, 4] < 0), -1.0, 1.0)
    if how.crop:  # what is larger than the frame is cut anywhere, what is smaller stands anywhere in it
        across = across + draws[:, 8] * np.abs(factor * width - across_to) / 2
        down = down + draws[:, 9] * np.abs(factor * height - down_to) / 2
    a, b = factor * np.cos(angle), factor * np.sin(angle)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    turn = np.stack([np.stack([a * mirror, b], 1), np.stack([-b * mirror, a], 1)], 1)
    shift_x = (across_to - 1) / 2 - turn[:, 0, 0] * centre_x - turn[:, 0, 1] * centre_y + across
    shift_y = (down_to - 1) / 2 - turn[:, 1, 0] * centre_x - turn[:, 1, 1] * centre_y + down
    return np.concatenate([turn, np.stack([shift_x, shift_y], 1)[..., None]], 2)


def moved_boxes(boxes: np.ndarray, move: np.ndarray, seen: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The upright boxes around what is still seen of moved ones, (n, 4), and the share that is, (n,) from 0 to 1.

    A turned box is a quadrilateral; what of it lies within the frame is boxed, so nothing is boxed that is not seen.
    The share is that of its box's area. Where nothing is seen both are 0.

    Args:
        boxes: (n, 4) left, top, right, bottom in pixels; a pixel reaches from its number to the next.
        move: (2, 3) as `moving` gives it, by the pixels' centres.
        seen: (h, w) of the frame.
    """
    import numpy as np

    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not len(boxes):
        return np.zeros((0, 4)), np.zeros(0)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)  # in order around
    corners = (corners - 0.5) @ move[:, :2].T + move[:, 2] + 0.5
    frame = np.array([seen[1], seen[0]], np.float64)
    points, inside = _shared_corners(corners, frame)
    low = np.where(inside[..., None], points, np.inf).min(1)
    high = np.where(inside[..., None], points, -np.inf).max(1)
    some = (inside.any(1) & (high > low).all(1)).reshape(-1, 1)
    found = np.where(some, np.concatenate([low, high], 1), 0.0)
    whole = (corners.max(1) - corners.min(1)).prod(1)
    area = (found[:, 2:] - found[:, :2]).prod(1)
    return found, np.divide(area, whole, out=np.zeros(len(boxes)), where=whole > 0).clip(0, 1)


def _shared_corners(corners: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All points among which are the corners of what parallelograms (n, 4, 2) share with a frame, and which are.

    These are their corners within the frame, the frame's within them, and where their edges cross.
    """
    import numpy as np

    n, slack = len(corners), 1e-9 * float(frame.max())
    edges = np.roll(corners, -1, 1) - corners
    crossings = []
    for axis in (0, 1):
        for line in (0.0, frame[axis]):
            along = edges[..., axis]
            share = np.divide(line - corners[..., axis], along, out=np.full((n, 4), -1.0), where=along != 0)
            at = corners + share[..., None] * edges
            at[..., axis] = line  # to the digit
            crossings.append(np.where(((share >= 0) & (share <= 1))[..., None], at, np.inf))
    points = np.concatenate([corners, *crossings], 1)
    inside: np.ndarray = (np.isfinite(points) & (points >= -slack) & (points <= frame + slack)).all(2)
    own = np.broadcast_to(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * frame, (n, 4, 2))
    away = own[:, None] - corners[:, :, None]  # (n, edge, corner, 2)
    sides = edges[:, :, None, 0] * away[..., 1] - edges[:, :, None, 1] * away[..., 0]
    within: np.ndarray = (sides >= 0).all(1) | (sides <= 0).all(1)
    return np.concatenate([points.clip(0, frame), own], 1), np.concatenate([inside, within], 1)


def _whole(draws: np.ndarray, most: float) -> np.ndarray:
    """Whole numbers from -most to most, each as likely."""
    import numpy as np

    steps = 2 * int(most) + 1
    return np.minimum(np.floor((draws + 1) / 2 * steps), steps - 1) - int(most)
