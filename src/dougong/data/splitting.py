"""Dividing samples into train, val and test: stratified, seeded, and no picture on two sides."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from dougong.data.images import SPLITS
from dougong.errors import UserError

DEFAULT = "80/10/10"


def parse_split(text: str) -> tuple[float, float, float]:
    """ "80/10/10" as shares of train, val and test that add up to 1.

    Raises:
        UserError: not three numbers, or they do not add up to 100.
    """
    where = f"--split {text}"
    try:
        numbers = [float(part) for part in str(text).split("/")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= number <= 100 for number in numbers):
        raise UserError(where, "is not three numbers from 0 to 100", "give per cent for train/val/test, as 80/10/10")
    if abs(sum(numbers) - 100) > 1e-6:
        raise UserError(where, f"adds up to {sum(numbers):g}", "let train, val and test add up to 100")
    if min(numbers) == 0:
        empty = SPLITS[numbers.index(0)]
        raise UserError(where, f"leaves {empty} empty", f"give {empty} a share, as in {DEFAULT}")
    return numbers[0] / 100, numbers[1] / 100, numbers[2] / 100


def split_samples(
    labels: Sequence[int], keys: Sequence[str], shares: Sequence[float], seed: int
) -> tuple[list[int], ...]:
    """Divide samples into parts, as (len(shares)) lists of ascending indices.

    Each class is divided by itself; where it has enough pictures each part gets at least one, the last part first.
    Samples of one key (the same picture) stay together. The outcome depends on the keys and labels, not on the
    order in which samples come.

    Args:
        labels: of each sample.
        keys: of each sample, its content's hash.
        shares: of the parts, adding up to 1; the first takes what is left over.
        seed: of the shuffle.
    """
    together: dict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        together[key].append(index)
    classes: dict[int, list[str]] = defaultdict(list)
    for key, members in together.items():
        classes[min(labels[index] for index in members)].append(key)
    parts: tuple[list[int], ...] = tuple([] for _ in shares)
    for label in sorted(classes):
        groups = sorted(classes[label])
        random.Random(f"split {seed} {label}").shuffle(groups)
        mixed = [key for key in groups if len({labels[index] for index in together[key]}) > 1]
        count = sum(len(together[key]) for key in groups)
        room = _targets(count, len(groups), shares)
        for key in groups:
            size = len(together[key])
            # a picture that bears two labels can only be learnt from, never judged by
            fits = [] if key in mixed else [part for part in range(len(shares) - 1, 0, -1) if room[part] >= size]
            part = fits[0] if fits else 0
            room[part] -= size
            parts[part].extend(together[key])
    for each in parts:
        each.sort()
    return parts


def _targets(count: int, groups: int, shares: Sequence[float]) -> list[int]:
    """How many of a class's samples each part after the first should get; the first takes the rest."""
    wanted = [0] * len(shares)
    spare = groups - 1  # the first part keeps at least one picture
    for part in range(len(shares) - 1, 0, -1):
        if shares[part] > 0 and spare > 0:
            wanted[part] = min(max(1, int(count * shares[part] + 0.5)), count - 1)
            spare -= 1
    return wanted
