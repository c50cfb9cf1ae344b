"""What was written after a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Generation:
    """What was written after one prompt.

    Args:
        prompt: its token ids.
        tokens: the new token ids, the one that ended it included.
        reason: "end" when an end token came, "stop" when a stop string did, "length" when all that was asked for is
            written.
        text: the new tokens as text, without special tokens and up to the stop string; "" without a tokenizer.
        score: with beams, the log-probability divided by the length to the power ``length_penalty``.
        read: tokens that were read before the first new one: those of the prompt, but for what was known already. What
            was read for several texts is counted with the first of them.
        proposed: tokens that a draft or a lookup guessed; 0 without these.
        accepted: those of them that the model agreed with.

    The last three say how a text was written, and do not count when two answers are compared.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    reason: str
    text: str = ""
    score: float | None = None
    read: int = field(default=0, compare=False)
    proposed: int = field(default=0, compare=False)
    accepted: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text
