"""Generation: a model goes on from prompts, one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from dougong.errors import UserError
from dougong.runtime.generation import Generation
from dougong.runtime.job import Job
from dougong.runtime.prefixes import Prefix
from dougong.runtime.reading import Reader
from dougong.runtime.settings import Settings

if TYPE_CHECKING:
    from dougong.data.tokenizing import Tokenizer


def generate(
    model: nn.Module,
    prompts: Any,
    *,
    tokenizer: Tokenizer | None = None,
    show: Callable[[int], None] | None = None,
    **settings: Any,
) -> Any:
    """Go on from each prompt. Every prompt gets the same answer in a batch as alone.

    Args:
        model: a decoder, or an encoder-decoder, which reads the prompt and writes an answer, with a language head.
        prompts: a text, a conversation (``[{"role": "user", "content": ...}]``, rendered with the model's chat
            template), token ids; or a list of texts, or of lists of ids.
        tokenizer: of the model; by default opened from the folder that the model was loaded from.
        show: called after each step with the number of texts that grew by a token; for a progress bar.
        settings: see `dougong.runtime.settings.Settings`: max_new_tokens, temperature, top_k, top_p, min_p, seed,
            samples, repetition_penalty, beams, length_penalty, stop, draft, lookup, prefix, ...

    Returns:
        A `Generation` for one prompt, a list of them for a list; with ``samples`` above 1 a list for each prompt.

    Raises:
        UserError: the model cannot write, a prompt that it cannot take, or a setting that will not do.

    >>> dg.generate(model, "Once upon a time", max_new_tokens=50, top_p=0.9).text  # doctest: +SKIP
    """
    wanted = Settings.of(**settings)
    job = Job(model, wanted, tokenizer, show)
    rows, single = job.prompts(prompts)
    job.check(rows)
    found: list[list[Generation]] = [[] for _ in rows]
    # the longest first: rows of like length are side by side, and the first cache is long enough for all
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    for row, several in zip(order, job.write([rows[row] for row in order]), strict=True):
        found[row] = several
    answers: list[Any] = [several if wanted.samples > 1 else several[0] for several in found]
    return answers[0] if single else answers


def prefix(model: nn.Module, beginning: Any, *, tokenizer: Tokenizer | None = None) -> Prefix:
    """Read the beginning of prompts once, for any number of calls: ``generate(model, prompts, prefix=this)``.

    Prompts are given whole, as without it, and their answers stay the same; those that begin with the same tokens, or
    with the first ones of them, are read from there on. Prompts of one call share what they begin with anyway.

    Args:
        model: a decoder with a language head.
        beginning: a text, token ids, or the first messages of a conversation.
        tokenizer: of the model; by default opened from the folder that the model was loaded from.

    Raises:
        UserError: an encoder-decoder, which reads prompts from both sides; no tokens, or more than it has places for.

    >>> rules = dg.prefix(model, "You answer in one word.")  # doctest: +SKIP
    >>> dg.generate(model, ["You answer in one word. Two and two?"], prefix=rules)  # doctest: +SKIP
    """
    job = Job(model, Settings(max_new_tokens=1, start=0), tokenizer)  # an encoder-decoder is refused for what it is
    rows, single = job.prompts(beginning, whole=False)
    if not single:
        raise UserError("prefix", "is several texts", "give one beginning")
    job.check(rows)
    with job.ready():
        return job.writer.prefix(rows[0])


class Writing(Iterator[str]):
    """A text that is being written: iterate over its pieces.

    Attributes:
        generation: the whole of it, once the last piece is there; None before.
    """

    def __init__(self, job: Job, prompt: list[int], reader: Reader) -> None:
        self.generation: Generation | None = None
        self._pieces = self._write(job, prompt, reader)

    def __next__(self) -> str:
        return next(self._pieces)

    def _write(self, job: Job, prompt: list[int], reader: Reader) -> Iterator[str]:
        tokens = []
        for _, token in job.steps([prompt], [reader]):
            tokens.append(token)
            piece = "" if token in job.ends else reader.push(token)
            if piece:
                yield piece
        rest = reader.close()
        if rest:
            yield rest
        self.generation = job.done(prompt, tokens, reader, job.work[0])


def stream(model: nn.Module, prompt: Any, *, tokenizer: Tokenizer | None = None, **settings: Any) -> Writing:
    """Go on from one prompt, and give each piece of text as soon as it is certain.

    All pieces together are the text that `generate` gives; afterwards the answer's ``generation`` says all else.

    Args:
        model, prompt, tokenizer, settings: as for `generate`; one prompt, one sample, no beams.

    Raises:
        UserError: as `generate`; several prompts, samples or beams; or no tokenizer.

    >>> for piece in dg.stream(model, "Once upon a time"): print(piece, end="", flush=True)  # doctest: +SKIP
    """
    wanted = Settings.of(**settings)
    if wanted.samples > 1 or wanted.beams > 1:
        raise UserError("stream", "one text is streamed at a time", "leave samples and beams out, or use generate")
    job = Job(model, wanted, tokenizer)
    rows, single = job.prompts(prompt)
    if not single:
        raise UserError("stream", "one text is streamed at a time", "give one prompt")
    job.check(rows)
    reader = job.reader(rows[0])
    if reader is None:
        raise UserError("stream", "the model has no tokenizer beside it", "give tokenizer=")
    return Writing(job, rows[0], reader)
