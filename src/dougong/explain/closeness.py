"""Two texts that a model compares by their vectors: which words of the first make it close to the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.places import At, Placed, only
from dougong.explain.subject import Grids, Subject
from dougong.explain.texts import TextSubject, read_passage
from dougong.parts.output import Output

LONGEST_NAME = 60
"""Characters of the other text where it stands as a name."""


class Comparing(nn.Module):
    """A model that makes vectors, as one that reads a text and answers with its cosine to another text's vector.

    The other vector is held fixed, so a change of the cosine comes from the text that is read.

    Args:
        model: texts to hidden states.
        measure: hidden states to vectors of length 1; see `dougong.tasks.measures.Measure`.
        other: (1, L) tokens of the other text.
    """

    def __init__(self, model: nn.Module, measure: Any, other: Tensor) -> None:
        super().__init__()
        self.model, self.measure, self.other = model, measure, other
        self.read_other()

    @property
    def embedding(self) -> Any:
        """That of the model."""
        return self.model.embedding

    @torch.no_grad()
    def read_other(self) -> None:
        """Make the other text's vector anew, as after a change of the weights."""
        self.fixed = self.vectors(self.other.to(next(self.model.parameters()).device))

    def vectors(self, tokens: Tensor) -> Tensor:
        """Tokens (N, L) without padding to vectors (N, P) of length 1."""
        lengths = torch.full((len(tokens),), tokens.shape[1], device=tokens.device)
        return self.measure.vectors(self.model(tokens), lengths)

    def forward(self, tokens: Tensor) -> Output:
        """Tokens (N, L) to an `Output` whose logits (N, 1) are cosines."""
        return Output(logits=(self.vectors(tokens) @ self.fixed.T))


@dataclass(frozen=True, eq=False)
class ClosenessSubject(TextSubject):
    """A text, and how close it is to another one, whose vector is held. Args: see `TextSubject`."""

    noun = "other text"
    measure = "cosine"

    @property
    def aim(self) -> str:
        """What scores are parts of, in words."""
        return "the cosine with the other text"

    @property
    def watched(self) -> str:
        """What is watched while units are removed."""
        return "the cosine with the other text"

    def there(self, points: Tensor) -> str:
        """The cosine at points (1, ...), in a sentence."""
        return f"Its cosine with the other text is {float(self.probability(points)):.2f}."

    def with_model(self, model: nn.Module) -> Subject:
        """The same question put to another model: it reads the other text, too."""
        assert isinstance(model, Comparing)
        model.read_other()
        return super().with_model(model)

    def tokens_read(self) -> Tensor:
        """The different tokens of both texts."""
        assert isinstance(self.model, Comparing)
        return torch.cat((self.inputs, self.model.other.to(self.inputs.device)), 1).unique()

    @torch.no_grad()
    def probability(self, points: Tensor) -> Tensor:
        """Points (N, ...) to cosines, (N,), in batches."""
        return torch.cat([self.evidence(part) for part in points.split(self.batch)])

    def readout(self, grids: Grids | None = None) -> list[int] | None:
        """The token that the vector is read at, where it is one; None for all of them."""
        assert isinstance(self.model, Comparing)
        return {("cls",): [0], ("lasttoken",): [-1]}.get(tuple(self.model.measure.pooling))


def of_pairs(task: Any, model: nn.Module, texts: Any, at: At) -> Placed:
    """A text, and another that it is compared with.

    Args:
        task: "sentence-embedding".
        model: that makes the vectors.
        texts: two of them; scores are of the first one's words.
        at: None; a cosine is of the whole.

    Raises:
        UserError: no two texts, one without words, or a place is asked about.
    """
    if at is not None:
        raise UserError(f"at={at}", "two texts are compared as wholes", "leave it out")
    given: Sequence[Any] = texts if isinstance(texts, list | tuple) else (texts,)
    if len(given) != 2:
        what = "is one text, and a text is explained by how close it is to another" if len(given) == 1 else (
            f"are {len(given)} texts"
        )  # fmt: skip
        raise UserError("text", what, "give two: on the command line by --text, twice; in Python as a tuple")
    passages = []
    for text in map(only, given):
        encoded = task.tokenizer.encode([text], max_length=task.max_length if task.max_length < 10**9 else None)[0]
        passages.append((read_passage([text], encoded), torch.tensor([list(encoded.ids)])))
    (passage, tokens), (other, fixed) = passages
    cut = f" {other.unread} of its words are beyond the tokens that the model reads." if other.unread else ""
    name = given[1] if len(given[1]) <= LONGEST_NAME else f"{given[1][: LONGEST_NAME - 3]}..."
    return Placed(
        tokens,
        passage,
        None,
        "",
        reader=Comparing(model, task.measure, fixed),
        subject=ClosenessSubject,
        name=name,
        said=f"The other text: “{given[1]}”. Its vector is held, so scores are of the first text's words alone; give "
        f"the two the other way round for its own.{cut}",
    )
