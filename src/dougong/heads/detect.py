"""Detection: every object query answers with a class and a box."""

from __future__ import annotations

import itertools

from torch import Tensor, nn


class Layered(nn.Module):
    """Linear layers with ReLUs between (Carion et al. 2020, section 3.2: the feed-forward network of boxes).

    Args:
        widths: of the input, of what is between, and of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    @property
    def last(self) -> nn.Linear:
        """The layer that answers."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) to (..., last width)."""
        for layer in self.layers[:-1]:
            x = nn.functional.relu(layer(x))
        return self.layers[-1](x)


class Detect(nn.Module):
    """A class and a box for each query (Carion et al. 2020, section 3.2).

    Args:
        d_model: D.
        n_classes: C.
        no_object: whether a query may answer "nothing", by one logit more; else each class is scored by itself.
    """

    def __init__(self, d_model: int, n_classes: int, no_object: bool = True) -> None:
        super().__init__()
        self.classes = nn.Linear(d_model, n_classes + no_object)
        self.box = Layered(d_model, d_model, d_model, 4)

    def forward(self, hidden: Tensor, anchors: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(..., N, D) to logits (..., N, C + 1 or C) and boxes (..., N, 4).

        Boxes are centre x, centre y, width and height, as shares of the picture.

        Args:
            hidden: states of the queries.
            anchors: (..., N, 4) boxes before the logistic function, from which each query's own is a step (Zhu et al.
                2021, section 4.2).
        """
        step = self.box(hidden)
        return self.classes(hidden), (step if anchors is None else step + anchors).sigmoid()
