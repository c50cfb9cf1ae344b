"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dougong.data.augment import NONE, Augmentation, choose, varied
from dougong.data.masks.rows import VOID, MaskData
from dougong.errors import UserError, unknown
from dougong.figures import many
from dougong.heads.segment import enlarged, pixel_loss
from dougong.parts.output import Output
from dougong.tasks.fitting import said
from dougong.tasks.image_classification import checked
from dougong.tasks.picture_task import CACHE, PictureTask
from dougong.tasks.scores.segmentation import SegmentationMetrics
from dougong.tasks.task import Batch, Prediction

if TYPE_CHECKING:
    import numpy as np

Augment = str | Mapping[str, Any] | Augmentation
PIXELS = 2**20
LARGEST, STEP = 512, 32
"""Pixels of a picture's longer side at most, and what sides that are chosen are multiples of."""


class SemanticSegmentation(PictureTask):
    """What a sample is, what is learnt from it, and how well.

    Args:
        classes: their names.
        image_size: (h, w) that a model reads; pictures are stretched to it, so that every pixel gets an answer.
        mean: of each channel, of values from 0 to 1.
        std: of each channel.
        data: None for a task that only predicts.
        augment: of training pictures, with their masks: see `dougong.data.augment.choose`; "auto" is "scene".
        values: of each class, its number in the files of masks; 0, 1, ... when None.
        colours: of each class, in which it is drawn; chosen when None.

    Raises:
        UserError: an unknown augmentation.
    """

    name = "semantic-segmentation"
    primary = "mean_iou"
    higher_is_better = True
    limits = (0.0, 1.0)
    several = False
    processor = "SegformerImageProcessor"

    @property
    def at_once(self) -> int:
        """Pictures that are measured at once, so that the scores of their pixels do not fill the memory."""
        return max(1, PIXELS // (self.image_size[0] * self.image_size[1]))

    class_weights: Tensor | None = None
    """What a pixel of each class counts for in the loss, (C,); all the same when None."""

    def __init__(
        self, classes: Sequence[str], image_size: tuple[int, int], mean: Sequence[float], std: Sequence[float],
        data: MaskData | None = None, augment: Augment = "none", values: Sequence[int] | None = None,
        colours: Sequence[Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        from dougong.data.masks.classes import ClassTable, drawn_colours

        super().__init__(image_size, mean, std, data)
        self.classes = tuple(classes)
        self.values = tuple(range(len(self.classes)) if values is None else map(int, values))
        made = drawn_colours(ClassTable(self.classes, self.values)) if colours is None else colours
        self.colours = tuple((int(red), int(green), int(blue)) for red, green, blue in made)
        self.augmentation = choose(augment, self.image_size, self.classes, "scene")
        self._masks: dict[str, Tensor] = {}

    @classmethod
    def from_data(
        cls, data: MaskData, augment: Augment = "auto", image_size: tuple[int, int] | None = None
    ) -> SemanticSegmentation:
        """The task that a data set poses; mean and deviation are those of its training pictures."""
        look = {"values": data.values, "colours": data.colours}
        size = image_size or mask_picture_size(data)
        task = cls(data.classes, size, (0.0,) * 3, (1.0,) * 3, data, **look)  # type: ignore[arg-type]
        ready = cls(data.classes, size, *task.statistics(), data, augment, **look)  # type: ignore[arg-type]
        ready._prepared = task._prepared
        return ready

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to fit the pictures and classes.

        Raises:
            UserError: a fixed value does not fit, or the architecture gives no masks.
        """
        fitted, lines = dict(config), []

        def change(key: str, value: Any, why: str) -> None:
            if key in fixed and fitted[key] is not None:
                remedy = f"leave it out, or set {said(key, value)}"
                raise UserError(f"model.{key}={said(key, fitted[key])}", why, remedy)
            lines.append(f"model.{key}: {said(key, fitted[key])} -> {said(key, value)}, {why}")
            fitted[key] = value

        if "image_size" not in fitted or "n_classes" not in fitted:
            raise no_masks(config)
        if fitted.get("head") == "classes":
            change("head", "masks", "every pixel gets a class")
        if fitted["n_classes"] != len(self.classes):
            change("n_classes", len(self.classes), f"the data has {many(len(self.classes), 'class')}")
        size: Any = self.image_size[0] if len(set(self.image_size)) == 1 else list(self.image_size)
        if fitted["image_size"] not in (size, list(self.image_size)):
            change("image_size", size, f"the pictures are read at {self.image_size[0]}x{self.image_size[1]}")
        patch = fitted.get("patch_size")
        if patch is not None:
            sides = [patch, patch] if isinstance(patch, int) else list(patch)
            if any(whole % side for whole, side in zip(self.image_size, sides, strict=True)):
                best = max(s for s in range(1, max(sides) + 1) if not any(whole % s for whole in self.image_size))
                change("patch_size", best, f"it does not divide {self.image_size[0]}x{self.image_size[1]}")
        from dougong.architectures import build

        if getattr(build(fitted, device="meta").head, "answers", "") != "masks":
            raise no_masks(config)
        if self.augmentation != NONE:
            lines.append(f"augment: training pictures and masks are varied by {self.augmentation.describe()}")
        return fitted, lines

    def fitted(self, pixels: np.ndarray) -> np.ndarray:
        """A picture uint8 (h, w, 3) stretched to the model's size."""
        if pixels.shape[:2] == self.image_size:
            return pixels
        import numpy as np
        from PIL import Image

        size = (self.image_size[1], self.image_size[0])
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))

    def raw_masks(self, split: str, indices: Tensor) -> Tensor:
        """Masks at the model's size, uint8 (B, h, w)."""
        if split not in self._masks:
            n = self.size(split)
            if n * self.image_size[0] * self.image_size[1] > CACHE // 3:
                return self._fitted_masks(split, indices)
            self._masks[split] = self._fitted_masks(split, torch.arange(n))
        return self._masks[split][indices]

    def _fitted_masks(self, split: str, indices: Tensor) -> Tensor:
        import numpy as np
        from PIL import Image

        size, found = (self.image_size[1], self.image_size[0]), []
        for number in indices.tolist():
            mask = self._split(split).mask(number)
            if mask.shape != self.image_size:
                mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            found.append(mask)
        return torch.from_numpy(np.stack(found))

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some samples of a split: inputs float32 (B, 3, h, w), targets int64 (B, h, w).

        Only the split "train" is ever augmented. Where masks are of other sizes than the model reads, the whole masks
        come as the truth, and are what answers are judged by.
        """
        part, numbers = self._split(split), indices.tolist()
        pixels, masks = self.raw(split, indices), self.raw_masks(split, indices)
        if train and split == "train":
            moved = varied(
                pixels, self.augmentation, seed=seed, epoch=epoch, indices=indices, masks=masks, void=VOID
            )  # fmt: skip
            assert moved.masks is not None
            pixels, masks = moved.pixels, moved.masks
        same = train or all(part.sizes[number] == self.image_size for number in numbers)
        whole = [] if same else [part.mask(number) for number in numbers]
        where = [part.where(number) for number in numbers]
        return Batch((self.normalised(pixels.float()),), masks.long(), indices, where, whole)

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats, the mean over pixels, weighed by class where weights are set."""
        assert output.masks is not None and batch.targets is not None
        weights = None if self.class_weights is None else self.class_weights.to(output.masks.device)
        return pixel_loss(output.masks, batch.targets, VOID, weights, label_smoothing)

    def weight(self, batch: Batch) -> float:
        """What the mean of a batch is over: its pixels of some class, or the sum of their classes' weights."""
        assert batch.targets is not None
        real = batch.targets[batch.targets != VOID]
        return float(real.numel() if self.class_weights is None else self.class_weights[real.cpu()].sum())

    def counts(self) -> list[int]:
        """Training pixels of each class."""
        return [sum(column) for column in zip(*(row[:-1] for row in self._split("train").counts), strict=True)]

    def new_metrics(self) -> SegmentationMetrics:
        """Sums that are still empty."""
        return SegmentationMetrics(self.classes, VOID)

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """Masks (B, C, h', w') to the class of each pixel, and the share of the picture that each class takes."""
        assert output.masks is not None
        found = []
        for place, masks in enumerate(output.masks.detach()):
            size = self._whole_size(batch, place)
            given = enlarged(masks[None].float(), size)[0].argmax(0).to(torch.uint8).cpu()
            shares = (torch.bincount(given.flatten().long(), minlength=len(self.classes)) / given.numel()).tolist()
            order = sorted(range(len(shares)), key=lambda number: -shares[number])
            top = [(self.classes[number], shares[number]) for number in order]
            found.append(Prediction(top[0][0], top[0][1], top, mask=given.numpy()))
        return found

    def _whole_size(self, batch: Batch | None, place: int) -> tuple[int, int]:
        """The size of a picture before it was stretched."""
        whole = batch.truth[place] if batch is not None and batch.truth else self.image_size
        return whole if isinstance(whole, tuple) else (whole.shape[0], whole.shape[1])

    def records(self, output: Output, batch: Batch, split: str) -> list[dict[str, Any]]:
        """Of each picture: where, its mean IoU and pixel accuracy, and the share of each class, true and given."""
        found = []
        for place, said_of in enumerate(self.decode(output, batch)):
            metrics, truth = self.new_metrics(), batch.truth[place] if batch.truth else batch.targets[place]  # type: ignore[index]
            truth = torch.as_tensor(truth).cpu().long()
            metrics.add(torch.as_tensor(said_of.mask).long(), truth)
            scores, real = metrics.compute(), max(metrics.pixels, 1)
            true = metrics.confusion.sum(1).tolist()
            found.append(
                {
                    "where": batch.where[place], "mean_iou": scores["mean_iou"], "boundary_f1": scores["boundary_f1"],
                    "pixel_accuracy": scores["pixel_accuracy"], "given": dict(said_of.top),
                    "gold": {name: true[k] / real for k, name in enumerate(self.classes)},
                }
            )  # fmt: skip
        return found

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data."""
        return {
            "task": self.name,
            "classes": list(self.classes),
            "values": list(self.values),
            "colours": [list(colour) for colour in self.colours],
            "image_size": list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_description(cls, description: dict[str, Any], folder: Path = Path()) -> SemanticSegmentation:
        """The task that ``describe`` described; it predicts and explains, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind.
        """
        checked(description)
        count, (height, width) = len(description["classes"]), description["image_size"]
        values, colours = description.get("values"), description.get("colours")
        if values is not None and (len(values) != count or not all(type(each) is int and each >= 0 for each in values)):
            raise UserError("values", f"{str(values)[:60]!r} will not do", "write a whole number for each class")
        if colours is not None and (len(colours) != count or not all(_is_colour(each) for each in colours)):
            raise UserError("colours", f"{str(colours)[:60]!r} will not do", "write a colour for each class")
        mean, std = description["mean"], description["std"]
        return cls(description["classes"], (height, width), mean, std, None, "none", values, colours)

    def on(self, data: MaskData) -> SemanticSegmentation:
        """The same task, with its classes, size, mean and deviation, on other pictures; they are not augmented.

        Raises:
            UserError: the masks have a class that the task does not know.
        """
        for name in data.classes:
            if name not in self.classes:
                raise unknown(data.source, "class", name, self.classes)
        numbers = [self.classes.index(name) for name in data.classes]
        splits = {name: replace(split, mask_loaders=_Renumbered(split.mask_loaders, numbers), counts=[
            _moved(row, numbers, len(self.classes)) for row in split.counts
        ]) for name, split in data.splits.items()}  # fmt: skip
        same = replace(data, classes=self.classes, values=self.values, colours=self.colours, splits=splits)
        return SemanticSegmentation(
            self.classes, self.image_size, self.mean, self.std, same, "none", self.values, self.colours
        )

    def prepare(self, raw: Any) -> Batch:
        """A path, PIL image or uint8 array, or a list of these; the batch holds the pictures' own sizes as truth.

        Raises:
            UserError: a file that cannot be read, or no picture at all.
        """
        from dougong.data.pictures import as_pixels

        many = list(raw) if isinstance(raw, list | tuple) else [raw]
        pixels = [
            as_pixels(each, str(each) if isinstance(each, str | Path) else f"input {i + 1}")
            for i, each in enumerate(many)
        ]
        batch = super().prepare(pixels)
        where = [str(each) if isinstance(each, str | Path) else f"input {i + 1}" for i, each in enumerate(many)]
        return replace(batch, where=where, truth=[(each.shape[0], each.shape[1]) for each in pixels])


class _Renumbered(Sequence[Any]):
    """Masks with their classes renumbered. Args: loaders: of masks; numbers: what each class becomes."""

    def __init__(self, loaders: Sequence[Any], numbers: Sequence[int]) -> None:
        import numpy as np

        self._loaders = loaders
        self._table = np.full(VOID + 1, VOID, np.uint8)
        self._table[: len(numbers)] = numbers

    def __len__(self) -> int:
        return len(self._loaders)

    def __getitem__(self, index: Any) -> Any:
        return lambda: self._table[self._loaders[index]()]


def _moved(counts: list[int], numbers: Sequence[int], n_classes: int) -> list[int]:
    found = [0] * n_classes
    for number, count in zip(numbers, counts, strict=False):
        found[number] = count
    return [*found, counts[-1]]


def no_masks(config: Mapping[str, Any]) -> UserError:
    """The refusal of a model that scores no pixels."""
    return UserError(str(config.get("architecture")), "gives no masks", "choose segformer, segmenter or unet")


def mask_picture_size(data: MaskData) -> tuple[int, int]:
    """(h, w) at which a model reads pictures: the most common one, or, where a side is above 512 pixels, that one made
    smaller in proportion, to multiples of 32."""
    height, width = data.image_size
    longest = max(height, width)
    if longest <= LARGEST:
        return height, width
    sides = [max(STEP, round(side * LARGEST / longest / STEP) * STEP) for side in (height, width)]
    return sides[0], sides[1]


def _is_colour(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(type(e) is int and 0 <= e <= 255 for e in value)
