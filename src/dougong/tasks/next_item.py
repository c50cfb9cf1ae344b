"""Sequential recommendation: the next item of a user from those before it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dougong.data.batching import mix
from dougong.errors import UserError
from dougong.heads.losses import cross_entropy
from dougong.heads.recommend import IGNORED, binary, sampled_softmax, scores_at
from dougong.parts.output import Output
from dougong.tasks.recommending.asking import Asked, Catalogue, histories_of
from dougong.tasks.recommending.choices import DRAWN, RANKINGS, SOFTMAX, Choices
from dougong.tasks.recommending.drawing import Negatives, draws
from dougong.tasks.recommending.fitting import fit_items
from dougong.tasks.recommending.judging import RankingMetrics, beside, protocol_of, rows_of, shown
from dougong.tasks.recommending.windows import Windows, gathered
from dougong.tasks.task import Batch, Prediction

if TYPE_CHECKING:
    from dougong.data.interactions import InteractionData

LENGTH = 50
"""Items that are read at once, unless the user or the model says how many."""
HIDDEN, LAST = 0.2, 0.25
"""Share of the items that is masked, and of the histories of which the last item alone is (Sun et al. 2019, 3.5)."""


class NextItem:
    """What a sample is, what is learnt from it, and how well.

    A training sample is a stretch of a user's history; a model that looks back foresees each of its items, one that
    looks both ways finds masked ones. To evaluate, the history before an item of val or test is read, and all items are
    ranked.

    Args:
        catalogue: the items, and how often each was met in training.
        choices: of the user.
        max_length: items that are read at once; that of the model when None.
        masked: the model looks both ways.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name = "next-item"
    primary = "ndcg@10"
    higher_is_better = True
    limits = (0.0, 1.0)

    def __init__(
        self, catalogue: Catalogue, choices: Choices, max_length: int | None = None, masked: bool = False,
        data: InteractionData | None = None, notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.catalogue, self.data, self.notes, self.masked = catalogue, data, list(notes), masked
        self.asked_length, self.max_length = max_length, max_length or LENGTH
        self.choices = choices
        self.loss_name = choices.loss or ("softmax" if len(catalogue.names) <= SOFTMAX else "sampled-softmax")
        if choices.negatives is not None and self.loss_name not in DRAWN:
            raise UserError("negatives", f"loss={self.loss_name} draws none", f"set loss to {' or '.join(DRAWN)}")
        self.drawn = choices.negatives or DRAWN.get(self.loss_name, 0)
        repeats = data.repeats if data is not None else 0
        self.excludes = (choices.seen or ("include" if repeats else "exclude")) == "exclude"
        self._windows: Windows | None = None
        self._negatives: Negatives | None = None
        self._candidates: dict[str, np.ndarray] = {}
        self._shares: Tensor | None = None

    @classmethod
    def from_data(
        cls, data: InteractionData, *, max_length: int | None = None, most: int | None = None,
        source: str | None = None, **choices: Any,
    ) -> NextItem:  # fmt: skip
        """The task that interactions pose.

        Args:
            data: in splits.
            max_length: items that are read at once; as many as the model takes when None.
            most: that a trained model takes.
            source: folder of a trained model, whose catalogue is kept.
            choices: see `Choices`.

        Raises:
            UserError: a choice that there is not, or more items than the model takes.
        """
        if max_length is not None and most is not None and max_length > most:
            raise UserError(
                "max_length", f"{max_length} is more than the {most} places of the model", f"set it to {most}"
            )
        picked = Choices(**{key: value for key, value in choices.items() if value is not None})
        if source is not None and (Path(source) / Catalogue.FILE).is_file():
            return cls(Catalogue.read(Path(source)), picked, max_length or most).on(data)
        task = cls(Catalogue(data.names, data.popularity), picked, max_length or most, data=data)
        task.notes.append(f"loss {task.loss_name}" + (f" against {task.drawn}" if task.drawn else ""))
        if data.repeats and picked.seen is None:
            task.notes.append(f"items met before may come again: {data.repeats:,} interactions are with one of these")
        return task

    @property
    def typical_length(self) -> int:
        """Items of a training sample, on average."""
        sizes = self.lengths("train")
        return max(1, round(float(sizes.mean()))) if len(sizes) else 1

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to score these items; see `dougong.tasks.recommending.fitting`."""
        fitted, lines, self.masked = fit_items(config, len(self.catalogue.names), self.asked_length, fixed, trained)
        self._windows = None
        if self.asked_length is None and config.get("max_length") is not None:
            self.max_length = int(config["max_length"])
        return fitted, [*self.notes, *lines]

    def read_by(self, model: nn.Module) -> NextItem:
        """The same task as a given model reads it: one that looks both ways is asked at a mask, one that looks back is
        not; samples and what they are ranked among stay. For models that are compared on one task.

        Raises:
            UserError: the model scores other items.
        """
        config: Any = getattr(model, "config", None)
        if not config:
            return self
        masked = fit_items(config, len(self.catalogue.names), None, trained=True)[2]
        length = int(config.get("max_length") or self.asked_length or LENGTH)
        if (masked, length) == (self.masked, self.max_length):
            return self
        found = copy.copy(self)
        found.masked, found.max_length, found._windows = masked, length, None
        return found

    def windows(self) -> Windows:
        """The stretches of histories to learn from, made once.

        Raises:
            UserError: there is none.
        """
        if self._windows is None:
            context = self.known().context("train")
            self._windows = Windows.of(context, self.max_length, 0 if self.masked else 1)
            if not len(self._windows):
                raise UserError(
                    self.known().source, "has no user with two items to learn from", "give longer histories"
                )
        return self._windows

    def known(self) -> InteractionData:
        """The data.

        Raises:
            UserError: there is none.
        """
        if self.data is None:
            raise UserError("data", "this model was opened without its data", "give data=..., or use predict")
        return self.data

    def size(self, split: str) -> int:
        """Stretches to learn from, or items that are asked about."""
        return len(self.windows()) if split == "train" else len(self.known().context(split).places)

    def lengths(self, split: str) -> np.ndarray:
        """Items of each sample, (n,)."""
        if split == "train":
            windows = self.windows()
            return windows.stop - windows.start - (not self.masked)
        context = self.known().context(split)
        return np.minimum(context.places - context.starts[context.owner], self.room) + self.masked

    @property
    def room(self) -> int:
        """Items of a history that are read to foresee the next one."""
        return self.max_length - self.masked

    @property
    def mask(self) -> int:
        """The token that stands for a masked item."""
        return len(self.catalogue.names)

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Stretches with what comes at each place, (B, L), of loss=binary (B, L, 1 + K) with what did not; else
        histories before an item, and that item, (B,)."""
        chosen = indices.numpy()
        if train:
            return self._learnt(chosen, indices, epoch, seed)
        if split == "train":
            raise UserError("split train", "is learnt from in stretches, and not asked about", "name val or test")
        data = self.known()
        context = data.context(split)
        places = context.places[chosen]
        start = np.maximum(context.starts[context.owner[chosen]], places - self.room)
        inputs = self._read(*gathered(context.item, start, places))
        some = self.candidates(split)
        truth = [Asked(context.before(index), None if some is None else some[index]) for index in chosen.tolist()]
        where = [data.where(number) for number in context.number[chosen].tolist()]
        return Batch(inputs, torch.from_numpy(context.item[places].astype(np.int64)), indices, where, truth)

    def _learnt(self, chosen: np.ndarray, indices: Tensor, epoch: int, seed: int) -> Batch:
        data, windows = self.known(), self.windows()
        context = data.context("train")
        start, stop, user = windows.start[chosen], windows.stop[chosen], windows.owner[chosen]
        items, real = gathered(context.item, start, stop)
        drawn = mix("items", seed, epoch)
        place = np.arange(items.shape[1])
        if self.masked:
            share = draws(drawn, chosen[:, None], place)
            sizes = (stop - start)[:, None]
            last = draws(drawn, chosen, -1)[:, None] < LAST
            hidden = np.where(last, place == sizes - 1, share < HIDDEN) & real
            none = ~hidden.any(1)[:, None]
            hidden |= none & (place == (draws(drawn, chosen, -2)[:, None] * sizes).astype(np.int64))
            read, targets = np.where(hidden, self.mask, items), np.where(hidden, items, IGNORED)
        else:
            read, real, targets = items[:, :-1], real[:, 1:], np.where(real[:, 1:], items[:, 1:], IGNORED)
        if self.loss_name == "binary":
            if self._negatives is None:
                owner = np.repeat(np.arange(len(data.users)), np.diff(context.starts))
                self._negatives = Negatives(owner, context.item, len(data.items))
            width = np.arange(targets.shape[1])
            others = self._negatives.draw(
                drawn, user[:, None, None], chosen[:, None, None], width[:, None], np.arange(self.drawn)
            )
            targets = np.concatenate((targets[..., None], others), 2)
        lengths = torch.from_numpy(real.sum(1))
        where = [f"user {data.users[int(each)].as_py()}" for each in user]
        return Batch((torch.from_numpy(np.where(real, read, 0)), lengths), torch.from_numpy(targets), indices, where)

    def _read(self, items: np.ndarray, real: np.ndarray) -> tuple[Tensor, Tensor]:
        """Histories as a model reads them: of one that looks both ways with a mask after the last item."""
        sizes = real.sum(1)
        if self.masked:
            items = np.concatenate((items, np.zeros((len(items), 1), np.int64)), 1)
            items[np.arange(len(items)), sizes] = self.mask
            sizes = sizes + 1
        return torch.from_numpy(items), torch.from_numpy(sizes)

    def candidates(self, split: str) -> np.ndarray | None:
        """Of each sample of a split the items that the true one is ranked among, (n, 100), none of which its user has
        met; None where it is ranked among all. Drawn by the split's own seed: every model meets the same ones."""
        count = RANKINGS[self.choices.ranking]
        if not count:
            return None
        if split not in self._candidates:
            data, context = self.known(), self.known().context(split)
            owner = np.repeat(np.arange(len(data.users)), np.diff(context.starts))
            drawer = Negatives(owner, context.item, len(data.items))
            number = np.arange(len(context.places))
            self._candidates[split] = drawer.draw(
                mix("candidates", split), context.owner[:, None], number[:, None], np.arange(count)
            )
        return self._candidates[split]

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """As chosen; the mean over places that are asked about, in nats."""
        assert batch.targets is not None
        if self.loss_name == "softmax":
            return cross_entropy(output, batch.targets, IGNORED, label_smoothing)
        if label_smoothing:
            raise UserError("label_smoothing", f"loss={self.loss_name} has none", "leave it out, or set loss=softmax")
        if self.loss_name == "binary":
            return binary(output, batch.targets)
        others = batch.targets[batch.targets != IGNORED]
        if len(others) > self.drawn:  # the loop sets the random state of every step
            others = others[torch.randperm(len(others))[: self.drawn].to(others.device)]
        if self._shares is None or self._shares.device != others.device:
            counts = torch.from_numpy(np.asarray(self.catalogue.counts, np.float64)).clamp_min(1)
            counts = torch.cat((counts, torch.ones(int(self.masked))))
            self._shares = (counts / counts.sum()).to(others.device)
        return sampled_softmax(output, batch.targets, others.unique(), self._shares, len(others))

    def weight(self, batch: Batch) -> float:
        """What the mean of a batch is over: places that are asked about."""
        assert batch.targets is not None
        asked = batch.targets[..., 0] if batch.targets.dim() == 3 else batch.targets
        return float((asked != IGNORED).sum())

    def scores(self, output: Output, batch: Batch) -> Tensor:
        """(B, V) of all items as the next one."""
        return scores_at(output, batch.inputs[1].to(batch.inputs[0].device) - 1)[:, : len(self.catalogue.names)]

    def new_metrics(self) -> RankingMetrics:
        """Sums that are still empty."""
        return RankingMetrics(self)

    def beside(self, split: str) -> dict[str, dict[str, float]]:
        """The metrics of rules without weights on a split, by name; see `dougong.tasks.recommending.baselines`."""
        return beside(self, split)

    @property
    def protocol(self) -> str:
        """How models are judged, in words."""
        return protocol_of(self)

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """The items that are most probable next; see `dougong.tasks.recommending.judging.shown`."""
        assert batch is not None
        return shown(self, self.scores(output, batch), batch)

    def records(self, output: Output, batch: Batch, split: str) -> list[dict[str, Any]]:
        """The rows that `evaluate` writes; see `dougong.tasks.recommending.judging.rows_of`."""
        return rows_of(self, self.scores(output, batch), batch)

    def keep(self, folder: Path) -> None:
        """Write what belongs beside a model of this task: its items."""
        self.catalogue.write(folder)

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data; the items lie beside it."""
        return {
            "task": self.name, "max_length": self.max_length, "masked": self.masked, "loss": self.loss_name,
            "ranking": self.choices.ranking, "seen": "exclude" if self.excludes else "include",
        }  # fmt: skip

    @classmethod
    def from_description(cls, description: Mapping[str, Any], folder: Path) -> NextItem:
        """The task that ``describe`` described, with the items of its folder; it predicts, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind, or there are no items.
        """
        from dougong.tasks.text_task import length_said

        masked = description.get("masked")
        if not isinstance(masked, bool):
            raise UserError("masked", f"{masked!r} will not do", "write true or false")
        chosen = {key: description.get(key) for key in ("loss", "ranking", "seen")}
        return cls(Catalogue.read(folder), Choices(**chosen), length_said(description), masked)  # type: ignore[arg-type]

    def judged_by(self, ranking: str | None, seen: str | None) -> NextItem:
        """The same task, judged in another way; as it was where None is given."""
        chosen = replace(self.choices, ranking=ranking or self.choices.ranking, seen=seen or self.choices.seen)
        return NextItem(self.catalogue, chosen, self.max_length, self.masked, self.data)

    def on(self, data: InteractionData) -> NextItem:
        """The same task, with its items and the model's length, on other data; interactions with items that it does not
        know are left out, and counted."""
        same, notes = self.catalogue.numbered(data)
        chosen = replace(self.choices, loss=self.loss_name, seen=self.choices.seen)
        return NextItem(self.catalogue, chosen, self.max_length, self.masked, same, notes)

    def prepare(self, raw: Any) -> Batch:
        """A history, or a list of them: names of items, oldest first, as a tuple, or in one text with commas between.

        Raises:
            UserError: something else, or nothing at all.
        """
        asked = histories_of(raw, self.catalogue)
        stop = np.cumsum([max(1, len(one.seen)) for one in asked])
        flat = np.concatenate([one.seen if len(one.seen) else np.zeros(1, np.int32) for one in asked])
        start = np.concatenate(([0], stop[:-1]))
        inputs = self._read(*gathered(flat, np.maximum(start, stop - self.room), stop))
        where = [one.said for one in asked]
        return Batch(inputs, None, torch.arange(len(asked)), where, asked)
