"""What a detector learns from: each true box is given to a query, and that assignment is judged.

True objects come as one tensor, (B, M, 5): the number of the class, then the box as shares of the picture, centre x,
centre y, width, height. Rows whose class is negative fill pictures with fewer objects up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dougong.heads.boxes import corners, giou
from dougong.parts.output import Output

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al. 2017, section 4.1)."""
WORST = 1e300
"""What a match costs whose cost is no number: it is made last."""


@dataclass(frozen=True, eq=False)
class Match:
    """Which queries answer for which objects: P pairs over the whole batch.

    Args:
        row: (P,) the picture.
        query: (P,) among its queries.
        target: (P,) among its objects.
    """

    row: Tensor
    query: Tensor
    target: Tensor


@dataclass(frozen=True)
class SetLoss:
    """The loss of a set of boxes (Carion et al. 2020, section 3.1).

    Where logits have one column more than there are classes, it stands for "no object", and classes are judged by
    cross-entropy. Else each class is judged by itself, by the focal loss (Zhu et al. 2021).

    Args:
        n_classes: C.
        of_class, l1, giou: weights of the losses and of the costs of a match (appendix A.4).
        no_object: what a query without an object counts for in the cross-entropy.
        repeats: queries that each object is given to where an answer asks for more than one (Jia et al. 2023).
    """

    n_classes: int
    of_class: float = 1.0
    l1: float = 5.0
    giou: float = 2.0
    no_object: float = 0.1
    repeats: int = 4

    def __call__(self, output: Output, targets: Tensor) -> Tensor:
        """The weighted sum over all answers of a decoder: of the last layer, of earlier ones, and of what was noised.

        Args:
            output: with logits (B, N, C + 1 or C) and boxes (B, N, 4).
            targets: (B, M, 5).
        """
        return self.weighted(self.parts(output, targets))

    def weighted(self, parts: dict[str, Tensor]) -> Tensor:
        """The sum of losses by name, each with its weight; those that only inform are left out."""
        weights = {"class": self.of_class, "l1": self.l1, "giou": self.giou}
        kinds = {name: name.split("_")[0] for name in parts}
        return torch.stack([parts[name] * weights[kind] for name, kind in kinds.items() if kind in weights]).sum()

    def parts(self, output: Output, targets: Tensor) -> dict[str, Tensor]:
        """Each loss by name: "class", "l1" and "giou" of the last layer, "class_0" of the first, and so on.

        "cardinality" is how many objects too many or too few are found, on average; it is not learnt from.
        """
        found: dict[str, Tensor] = {}
        answers = [("", output), *((f"_{place}", each) for place, each in enumerate(output.auxiliary))]
        for end, one in answers:
            assert one.logits is not None and one.boxes is not None
            repeats = self.repeats if one.many else 1
            given = self.match(one.logits, one.boxes, targets, repeats)
            found |= {name + end: loss for name, loss in self.judge(one, targets, given).items()}
        for place, one in enumerate(output.denoised):
            parts = self.judge(one, targets, _own(one, targets))
            found |= {f"{name}_noised{place}": loss for name, loss in parts.items()}
        return found

    @torch.no_grad()
    def match(self, logits: Tensor, boxes: Tensor, targets: Tensor, repeats: int = 1) -> Match:
        """The assignment of objects to queries that costs least in all (Carion et al. 2020, equations 1 and 2).

        Args:
            logits: (B, N, C + 1) or (B, N, C).
            boxes: (B, N, 4).
            targets: (B, M, 5).
            repeats: queries that each object is given to; fewer where the queries do not suffice.
        """
        from scipy.optimize import linear_sum_assignment

        cost = self.costs(logits.detach(), boxes.detach(), targets).cpu().double().nan_to_num(WORST, WORST, WORST)
        rows, queries, wanted = [], [], []
        for row, real in enumerate((targets[..., 0] >= 0).cpu()):
            held = real.nonzero().flatten()
            if not len(held):
                continue
            held = held.repeat(max(1, min(repeats, logits.shape[1] // len(held))))
            query, place = linear_sum_assignment(cost[row][:, held].numpy())
            rows += [row] * len(query)
            queries += query.tolist()
            wanted += held[torch.from_numpy(place)].tolist()
        return Match(*(torch.tensor(each, dtype=torch.long, device=boxes.device) for each in (rows, queries, wanted)))

    def costs(self, logits: Tensor, boxes: Tensor, targets: Tensor) -> Tensor:
        """What each query would cost as the answer to each object: (B, N, M), without meaning in rows that fill up.

        The negative probability of the class (or twice what the focal loss would rise by), the L1 distance of the
        boxes, and their negative generalised IoU.
        """
        if self._several(logits):
            share = logits.sigmoid()
            right = ALPHA * (1 - share) ** GAMMA * -F.logsigmoid(logits)
            wrong = (1 - ALPHA) * share**GAMMA * -F.logsigmoid(-logits)
            of_class = 2 * (right - wrong)
        else:
            of_class = -logits.softmax(-1)
        classes = targets[..., 0].long().clamp(min=0)
        of_class = of_class.gather(2, classes[:, None, :].expand(-1, logits.shape[1], -1))
        true = targets[..., 1:].to(boxes.dtype)
        apart = (boxes[:, :, None] - true[:, None]).abs().sum(-1)
        alike = giou(corners(boxes)[:, :, None], corners(true)[:, None])
        return self.of_class * of_class + self.l1 * apart - self.giou * alike

    def judge(self, answer: Output, targets: Tensor, given: Match) -> dict[str, Tensor]:
        """The losses of an answer under an assignment, before they are weighted.

        Sums over boxes are divided by their number, which is 1 at least.
        """
        logits, boxes = answer.logits, answer.boxes
        assert logits is not None and boxes is not None
        count = max(1, len(given.row) if answer.many else int((targets[..., 0] >= 0).sum()))
        true = targets[given.row, given.target]
        classes, true = true[:, 0].long(), true[:, 1:].to(boxes.dtype)
        mine = boxes[given.row, given.query]
        alike = giou(corners(mine), corners(true))
        found = {
            "l1": (mine - true).abs().sum() / count,
            "giou": (1 - alike).sum() / count,
            "cardinality": self._surplus(logits, targets),
        }
        if not self._several(logits):
            wanted = torch.full(logits.shape[:2], self.n_classes, device=logits.device)
            wanted[given.row, given.query] = classes
            weights = torch.ones(self.n_classes + 1, dtype=logits.dtype, device=logits.device)
            weights[-1] = self.no_object
            return {"class": F.cross_entropy(logits.mT, wanted, weights), **found}
        wanted = torch.zeros_like(logits)
        wanted[given.row, given.query, classes] = 1.0
        return {"class": focal(logits, wanted).sum() / count, **found}

    def _several(self, logits: Tensor) -> bool:
        """Whether each class is scored by itself."""
        return logits.shape[-1] == self.n_classes

    @torch.no_grad()
    def _surplus(self, logits: Tensor, targets: Tensor) -> Tensor:
        real = (targets[..., 0] >= 0).sum(1)
        found = (logits > 0).any(-1) if self._several(logits) else logits.argmax(-1) != self.n_classes
        return (found.sum(1) - real).abs().to(logits.dtype).mean()


def focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """The focal loss of each score (Lin et al. 2017, equation 5): (...) and 0 or 1 (...) to (...)."""
    share = logits.sigmoid()
    wrong = wanted * (1 - share) + (1 - wanted) * share
    weight = wanted * ALPHA + (1 - wanted) * (1 - ALPHA)
    return weight * wrong**GAMMA * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def _own(answer: Output, targets: Tensor) -> Match:
    """Answers to noisy copies of the true boxes: group after group, each in the order of the objects."""
    assert answer.boxes is not None
    groups = answer.boxes.shape[1] // max(1, targets.shape[1])
    row, place = (targets[..., 0] >= 0).repeat(1, groups).nonzero(as_tuple=True)
    return Match(row, place, place % max(1, targets.shape[1]))
