"""Object detection: a class and a box for every object of a picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dougong.data.augment import NONE, choose, varied
from dougong.errors import UserError, unknown
from dougong.figures import many
from dougong.heads.boxes import centres, corners
from dougong.heads.matching import SetLoss
from dougong.parts.output import Output
from dougong.tasks.image_classification import Augment, checked
from dougong.tasks.picture_task import PictureTask
from dougong.tasks.scores.detection import Found, average_precision, coco_scores, judged, precision_interval
from dougong.tasks.task import Batch, Prediction

if TYPE_CHECKING:
    from dougong.data.boxes import DetectionData

LARGEST, STEP = 320, 32
LEAST_SEEN = 0.3
"""Share of a box that must be left when a picture is varied; of one that is cut more, nothing is asked."""
SURE = 0.5
"""Probability from which a box is said to be found, where nothing else is asked for."""


class ObjectDetection(PictureTask):
    """What a sample is, what is learnt from it, and how well.

    Pictures are brought to one size, each side by itself; boxes are shares of the picture, so they hold.

    Args:
        classes: their names.
        image_size: (h, w) that a model reads.
        mean: of each channel, of values from 0 to 1.
        std: of each channel.
        data: None for a task that only predicts.
        augment: of training pictures: see `dougong.data.augment.choose`; "auto" is "standard".

    Raises:
        UserError: an unknown augmentation.
    """

    name = "object-detection"
    primary = "ap"
    higher_is_better = True
    limits = (0.0, 1.0)
    several = False
    at_once = 16
    """Pictures that are evaluated together."""
    processor = "DetrImageProcessor"

    def __init__(
        self, classes: Sequence[str], image_size: tuple[int, int], mean: Sequence[float], std: Sequence[float],
        data: DetectionData | None = None, augment: Augment = "none",
    ) -> None:  # fmt: skip
        super().__init__(image_size, mean, std, data)
        self.classes = tuple(classes)
        self.augmentation = choose(augment, self.image_size, self.classes, auto="standard")
        self.judge = SetLoss(len(self.classes))

    @classmethod
    def from_data(
        cls, data: DetectionData, augment: Augment = "auto", image_size: tuple[int, int] | None = None
    ) -> ObjectDetection:
        """The task that a data set poses; mean and deviation are those of its training pictures."""
        task = cls(data.classes, image_size or detection_size(data.image_size), (0.0,) * 3, (1.0,) * 3, data)
        ready = cls(data.classes, task.image_size, *task.statistics(), data, augment)
        ready._prepared = task._prepared
        return ready

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to fit the pictures and classes.

        Raises:
            UserError: the architecture finds no boxes, or a fixed value does not fit.
        """
        family = str(config["architecture"])
        if "n_queries" not in config:
            raise UserError(family, "finds no boxes", "choose dab-detr-micro, or another of dab_detr or detr")
        fitted, lines = dict(config), []
        size: Any = self.image_size[0] if len(set(self.image_size)) == 1 else list(self.image_size)
        wanted = {
            "n_classes": (len(self.classes), f"the data has {many(len(self.classes), 'class')}"),
            "image_size": (size, f"the pictures are read at {self.image_size[0]}x{self.image_size[1]}"),
        }
        if config.get("norm") == "frozen" and not trained and "norm" not in fixed:
            wanted["norm"] = ("batch", "norms that are frozen before anything is learnt would norm nothing")
        for key, (value, why) in wanted.items():
            if fitted[key] == value:
                continue
            if key in fixed:
                raise UserError(f"model.{key}={fitted[key]}", why, f"leave it out, or set {value}")
            lines.append(f"model.{key}: {fitted[key]} -> {value}, {why}")
            fitted[key] = value
        if self.data is not None:
            most = max((len(boxes) for split in self.data.splits.values() for boxes in split.boxes), default=0)
            if most > fitted["n_queries"]:
                lines.append(f"a picture holds {most} objects, and the model finds at most {fitted['n_queries']}")
        if self.augmentation != NONE:
            lines.append(f"augment: training pictures are varied by {self.augmentation.describe()}")
        return fitted, lines

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some samples of a split: inputs float32 (B, 3, h, w), targets (B, M, 5): class, and box as shares.

        Rows of fewer objects than others are filled up with classes of -1. Crowds are no targets. ``truth`` is what
        `DetectionMetrics` judges by: the true boxes in the picture's own pixels, and its size.
        """
        part, numbers = self._split(split), indices.tolist()
        pixels = self.raw(split, indices).float()
        height, width = self.image_size
        truth = [(part.boxes[number], part.sizes[number]) for number in numbers]
        rows = []
        for boxes, (h, w) in truth:
            real = boxes[boxes[:, 5] == 0]
            shares = real[:, 1:5] / np.array([w, h, w, h])
            rows.append((torch.from_numpy(real[:, 0]).float(), torch.from_numpy(shares).float()))
        if train and split == "train" and self.augmentation != NONE:
            scale = torch.tensor([width, height, width, height])
            moved = varied(
                pixels, self.augmentation, seed=seed, epoch=epoch, indices=indices,
                boxes=[boxes * scale for _, boxes in rows],
            )  # fmt: skip
            pixels = moved.pixels
            rows = [
                (kinds[shown >= LEAST_SEEN], (boxes / scale)[shown >= LEAST_SEEN])
                for (kinds, _), boxes, shown in zip(rows, moved.boxes, moved.shown, strict=True)
            ]
        targets = torch.zeros(len(rows), max((len(kinds) for kinds, _ in rows), default=0), 5)
        targets[..., 0] = -1
        for row, (kinds, boxes) in enumerate(rows):
            targets[row, : len(kinds), 0] = kinds
            targets[row, : len(kinds), 1:] = centres(boxes)
        where = [part.where(number) for number in numbers]
        return Batch((self.normalised(pixels),), targets, indices, where, truth)

    def ask(self, model: nn.Module, batch: Batch) -> Output:
        """What a model answers while it learns; one that mends noisy boxes is given the true ones."""
        if getattr(model, "noise", None) is not None:
            return model(*batch.inputs, targets=batch.targets)
        return model(*batch.inputs)

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """The set loss over all layers, see `dougong.heads.matching.SetLoss`.

        Raises:
            UserError: label smoothing, which has no meaning here.
        """
        assert batch.targets is not None
        if label_smoothing:
            raise UserError("label_smoothing", "is not for detection", "leave it out")
        return self.judge(_wide(output), batch.targets)

    def weight(self, batch: Batch) -> float:
        """Objects of a batch, 1 at least: what the mean is over."""
        assert batch.targets is not None
        return float(max(1, int((batch.targets[..., 0] >= 0).sum())))

    def new_metrics(self) -> DetectionMetrics:
        """Sums that are still empty."""
        return DetectionMetrics(self)

    def found(
        self, output: Output, sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each picture boxes (n, 4) in its own pixels, scores (n,) and classes (n,), the most probable first.

        A query answers with its likeliest class where it may say "nothing" (Carion et al. 2020), else with every class
        that is among the most probable (Zhu et al. 2021).
        """
        assert output.logits is not None and output.boxes is not None
        logits, boxes = output.logits.detach().float().cpu(), corners(output.boxes.detach().float().cpu())
        answers, classes = [], len(self.classes)
        if logits.shape[-1] == classes:
            shares = logits.sigmoid().flatten(1)
            best = shares.sort(dim=1, descending=True, stable=True).indices[:, : logits.shape[1]]
            scores, kinds, queries = shares.gather(1, best), best % classes, best // classes
        else:
            scores, kinds = logits.softmax(-1)[..., :classes].max(-1)
            queries = scores.sort(dim=1, descending=True, stable=True).indices
            scores, kinds = scores.gather(1, queries), kinds.gather(1, queries)
        for row, (height, width) in enumerate(sizes):
            scale = torch.tensor([width, height, width, height])
            own = (boxes[row][queries[row]].clamp(0, 1) * scale).double().numpy()
            answers.append((own, scores[row].double().numpy(), kinds[row].numpy()))
        return answers

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """Boxes that are likelier than not, in the picture's own pixels, or in shares of it where its size is unknown.

        ``label`` counts them by class; ``parts`` are all that are at all likely, each with label, score and box.
        """
        assert output.boxes is not None
        sizes = [size for _, size in batch.truth] if batch is not None and batch.truth else [(1, 1)] * len(output.boxes)
        answers = []
        for boxes, scores, kinds in self.found(output, sizes):
            parts = [
                {"label": self.classes[kind], "score": score, "box": box}
                for box, score, kind in zip(boxes.tolist(), scores.tolist(), kinds.tolist(), strict=True)
                if score >= 0.05
            ]
            best = {name: max((p["score"] for p in parts if p["label"] == name), default=0.0) for name in self.classes}
            top = sorted(best.items(), key=lambda each: -each[1])
            answers.append(Prediction(said(parts), top[0][1], top, parts=parts))
        return answers

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data."""
        return {
            "task": self.name, "classes": list(self.classes), "image_size": list(self.image_size),
            "mean": list(self.mean), "std": list(self.std),
        }  # fmt: skip

    @classmethod
    def from_description(cls, description: dict[str, Any], folder: Path = Path()) -> ObjectDetection:
        """The task that ``describe`` described; it predicts and explains, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind.
        """
        checked(description)
        height, width = description["image_size"]
        return cls(description["classes"], (height, width), description["mean"], description["std"])

    def on(self, data: DetectionData) -> ObjectDetection:
        """The same task, with its classes, size, mean and deviation, on other pictures; they are not augmented.

        Raises:
            UserError: the pictures have a class that the task does not know.
        """
        for name in data.classes:
            if name not in self.classes:
                raise unknown(data.source, "class", name, self.classes)
        number = np.array([self.classes.index(name) for name in data.classes], dtype=np.float64)
        splits = {}
        for name, split in data.splits.items():
            boxes = [rows.copy() for rows in split.boxes]
            for rows in boxes:
                rows[:, 0] = number[rows[:, 0].astype(int)]
            splits[name] = replace(split, boxes=boxes)
        same = replace(data, classes=self.classes, splits=splits)
        return ObjectDetection(self.classes, self.image_size, self.mean, self.std, same, "none")

    def prepare(self, raw: Any) -> Batch:
        """As `PictureTask.prepare`; ``truth`` holds no boxes, and the pictures' own sizes."""
        from dougong.data.pictures import as_pixels

        many = list(raw) if isinstance(raw, list | tuple) else [raw]
        where = [str(each) if isinstance(each, str | Path) else f"input {i + 1}" for i, each in enumerate(many)]
        read = [as_pixels(each, place) for each, place in zip(many, where, strict=True)]
        batch = replace(super().prepare(read), where=where)
        return replace(batch, truth=[(np.zeros((0, 6)), each.shape[:2]) for each in read])

    def records(self, output: Output, batch: Batch, split: str) -> list[dict[str, Any]]:
        """Rows that `evaluate` writes: where, gold and predicted, each with label and box, and AP of the picture."""
        rows = []
        answers = self.found(output, [size for _, size in batch.truth])
        for place, (true, size), (boxes, scores, kinds) in zip(batch.where, batch.truth, answers, strict=True):
            gold = [{"label": self.classes[int(row[0])], "box": row[1:5].tolist()} for row in true]
            predicted = [
                {"label": self.classes[kind], "score": score, "box": box}
                for box, score, kind in zip(boxes.tolist(), scores.tolist(), kinds.tolist(), strict=True)
                if score >= SURE
            ]
            ap = average_precision([judged(Found(boxes, scores, kinds, true, size), len(self.classes))])
            rows.append({"where": place, "gold": gold, "predicted": predicted, "ap": None if ap != ap else ap})
        return rows

    def fitted(self, pixels: np.ndarray) -> np.ndarray:
        """A picture uint8 (h, w, 3) at the model's size, each side scaled by itself so that nothing is cut off."""
        from PIL import Image

        height, width = self.image_size
        if pixels.shape[:2] == (height, width):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


class DetectionMetrics:
    """Loss, AP, AP50, AP75 and AR as COCO has them. Args: task: whose classes and loss they are."""

    def __init__(self, task: ObjectDetection) -> None:
        self.task = task
        self.found: list[Found] = []
        self.loss, self.objects = 0.0, 0.0
        self._each: dict[str, float] = {}

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: logits (B, N, C or C + 1), boxes (B, N, 4), targets (B, M, 5), truth."""
        weight = self.task.weight(batch)
        self.loss += float(self.task.loss(output, batch).detach()) * weight
        self.objects += weight
        answers = self.task.found(output, [size for _, size in batch.truth])
        for (boxes, scores, kinds), (true, size) in zip(answers, batch.truth, strict=True):
            self.found.append(Found(boxes, scores, kinds, true, size))

    def compute(self) -> dict[str, float]:
        """loss (over all layers, a mean over objects), ap, ap50, ap75, ar; NaN before the first batch."""
        if not self.found:
            return dict.fromkeys(("loss", "ap", "ap50", "ap75", "ar"), float("nan"))
        scores, self._each = coco_scores(self.found, self.task.classes)
        return {"loss": self.loss / self.objects, **scores}

    def judged(self) -> list[Any]:
        """Every class of every picture, judged box by box."""
        return [judged(one, len(self.task.classes)) for one in self.found]

    def sample_scores(self) -> list[float]:
        """AP of each picture by itself, 1 where nothing is there to be found; their mean is not the set's AP."""
        alone = [average_precision([each]) for each in self.judged()]
        return [1.0 if value != value else value for value in alone]

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of ap over pictures."""
        return precision_interval(self.judged())

    def table(self) -> dict[str, Any]:
        """ap50 of each class, and how many true boxes there are."""
        if not self._each:
            self.compute()
        counts = [int(sum((one.true[:, 0] == n).sum() for one in self.found)) for n in range(len(self.task.classes))]
        return {
            "classes": list(self.task.classes),
            "per_class": {
                name: {"ap50": self._each.get(name, float("nan")), "support": count}
                for name, count in zip(self.task.classes, counts, strict=True)
            },
        }


def said(parts: Sequence[dict[str, Any]], least: float = SURE) -> str:
    """What was found, counted by class: "12 RBC, 1 WBC"; "nothing" else."""
    counts: dict[str, int] = {}
    for part in parts:
        if part["score"] >= least:
            counts[part["label"]] = counts.get(part["label"], 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"


def detection_size(size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) at which pictures are read: of their proportions, the longer side at most 320, in steps of 32.

    >>> detection_size((480, 640)), detection_size((100, 100))
    ((256, 320), (96, 96))
    """
    scale = min(1.0, LARGEST / max(size))
    height, width = (max(STEP, round(side * scale / STEP) * STEP) for side in size)
    return height, width


def _wide(output: Output) -> Output:
    """An answer in float32 at least, as losses are computed."""
    if output.logits is None or output.logits.dtype in (torch.float32, torch.float64):
        return output

    def one(each: Output) -> Output:
        assert each.logits is not None and each.boxes is not None
        return replace(each, logits=each.logits.float(), boxes=each.boxes.float())

    return replace(one(output), auxiliary=tuple(map(one, output.auxiliary)), denoised=tuple(map(one, output.denoised)))
