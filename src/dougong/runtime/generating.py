"""Generation: a model goes on from prompts, one token at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dougong.errors import UserError
from dougong.runtime import beams
from dougong.runtime.choosing import Chooser, Rules
from dougong.runtime.kernels import FastLinears
from dougong.runtime.reading import Reader
from dougong.runtime.settings import DEFAULT_LENGTH, Settings
from dougong.runtime.writer import Writer

if TYPE_CHECKING:
    from dougong.data.tokenizing import Tokenizer

BATCH = 32
"""Texts that are written side by side."""


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
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    reason: str
    text: str = ""
    score: float | None = None

    def __str__(self) -> str:
        return self.text


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
            samples, repetition_penalty, beams, length_penalty, stop, ...

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
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # rows of like length share a batch
    size = max(1, BATCH // max(wanted.samples, wanted.beams))
    for begin in range(0, len(order), size):
        part = order[begin : begin + size]
        for row, several in zip(part, job.write([rows[row] for row in part]), strict=True):
            found[row] = several
    answers: list[Any] = [several if wanted.samples > 1 else several[0] for several in found]
    return answers[0] if single else answers


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
        self.generation = job.done(prompt, tokens, reader)


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


class Job:
    """One call of `generate`: a model, what is asked of it, and what its files say.

    Args:
        model: that writes.
        settings: what is asked for.
        tokenizer: of the model; opened from its folder when it is needed.
        show: called after each step with the number of texts that grew.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        tokenizer: Tokenizer | None,
        show: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.settings, self._tokenizer, self.show = model, settings, tokenizer, show
        card: Mapping[str, Any] = getattr(model, "card", None) or {}
        self.folder = Path(card["folder"]) if card.get("folder") else None
        said = _said(self.folder) or dict(card.get("tokens") or {})
        self.start = settings.start if settings.start is not None else said.get("decoder_start", said.get("bos"))
        self.bos = said.get("bos")
        self.writer, self.fast = Writer(model, self.start), FastLinears(model)
        ends = said.get("eos", ()) if settings.end is None else settings.end
        self.ends = frozenset((ends,) if isinstance(ends, int) else ends)  # type: ignore[arg-type]
        reads = self.writer.reads
        banned = {*settings.banned, *said.get("banned", ())}
        self.rules = Rules(
            replace(settings, banned=banned),
            self.ends,
            said.get("forced_bos") if reads else None,
            said.get("forced_eos") if reads else None,
        )
        self._known(self.ends, "end")
        self._known(self.rules.banned, "banned")
        if reads:
            self._known([self.start], "start")

    def _known(self, tokens: Any, name: str) -> None:
        for token in tokens:
            if not isinstance(token, int) or not 0 <= token < self.writer.n_vocabulary:
                raise UserError(name, f"{token!r} is no token", f"give ids from 0 to {self.writer.n_vocabulary - 1}")

    # What is read.

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's, if there is one beside it.

        Raises:
            UserError: it does not fit the model.
        """
        if self._tokenizer is None and self.folder is not None and self.folder.is_dir():
            from dougong.data.tokenizing import Tokenizer

            try:
                self._tokenizer = Tokenizer.open(self.folder)
            except UserError:
                if any((self.folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
                    raise
                return None
            self._tokenizer.check(self.writer.n_vocabulary, str(self.folder))
        return self._tokenizer

    def prompts(self, given: Any) -> tuple[list[list[int]], bool]:
        """Prompts as token ids, and whether it is one by itself.

        Raises:
            UserError: something that is no prompt, or texts without a tokenizer.
        """
        if isinstance(given, str):
            return [self._encoded(given, "prompt")], True
        if isinstance(given, torch.Tensor):
            given = given.tolist()
        many = list(given) if isinstance(given, Sequence) else None
        if many is None or not many:
            raise UserError("prompts", f"{type(given).__name__} holds no prompt", "give a text, or token ids")
        if all(isinstance(one, Mapping) for one in many):
            return [self._conversation(many)], True
        if all(_is_id(one) for one in many):
            return [[int(one) for one in many]], True
        return [self._one(one, number) for number, one in enumerate(many)], False

    def _one(self, given: Any, number: int) -> list[int]:
        if isinstance(given, str):
            return self._encoded(given, f"prompt {number}")
        if isinstance(given, torch.Tensor):
            given = given.tolist()
        if isinstance(given, Sequence) and all(_is_id(one) for one in given):
            return [int(one) for one in given]
        if isinstance(given, Sequence) and all(isinstance(one, Mapping) for one in given):
            return self._conversation(list(given))
        raise UserError(f"prompt {number}", "is neither a text nor token ids", "give one of these")

    def _encoded(self, text: str, where: str) -> list[int]:
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise UserError(where, "is a text, and there is no tokenizer beside the model", "give tokenizer=, or ids")
        ids = list(tokenizer.encode(text).ids)
        return ids if ids or self.bos is None else [self.bos]

    def _conversation(self, messages: list[Mapping[str, Any]]) -> list[int]:
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise UserError("conversation", "there is no tokenizer beside the model", "give tokenizer=")
        return list(tokenizer.encode(tokenizer.chat(messages, add_generation_prompt=True), special=False).ids)

    def check(self, rows: list[list[int]]) -> None:
        """Make sure that the model can take these prompts.

        Raises:
            UserError: no tokens, tokens that it does not have, or more than it has places for.
        """
        size, (reads, holds) = self.writer.n_vocabulary, self.writer.limits()
        for number, row in enumerate(rows):
            where = f"prompt {number}" if len(rows) > 1 else "prompt"
            if not row:
                raise UserError(where, "has no tokens", "give at least one")
            if min(row) < 0 or max(row) >= size:
                raise UserError(where, f"has tokens outside 0..{size - 1}", "use the model's tokenizer")
            if reads is not None and len(row) > reads:
                raise UserError(where, f"has {len(row)} tokens, and the model reads {reads}", "shorten it")
            # the last new token is not read, so it needs no place
            new = self.settings.max_new_tokens or 1
            asked = len(self.writer.begun(row)) + new - 1
            if holds is not None and asked > holds:
                left = holds - len(self.writer.begun(row)) + 1
                raise UserError(
                    where,
                    f"and {new} new tokens need {asked} places, and the model has {holds}",
                    f"ask for at most {left} new tokens" if left > 0 else "shorten it",
                )
        self.longest = holds

    def room(self, rows: list[list[int]]) -> int:
        """New tokens for each of these prompts."""
        if self.settings.max_new_tokens is not None:
            return self.settings.max_new_tokens
        held = max(len(self.writer.begun(row)) for row in rows)
        return DEFAULT_LENGTH if self.longest is None else min(DEFAULT_LENGTH, self.longest - held + 1)

    def reader(self, prompt: list[int]) -> Reader | None:
        """What turns new tokens into text, if there is a tokenizer.

        Raises:
            UserError: there are stop strings and no tokenizer.
        """
        stops = tuple(self.settings.stop)
        if self.tokenizer is None:
            if stops:
                raise UserError("stop", "texts are asked for, and there is no tokenizer", "give tokenizer=")
            return None
        return Reader(self.tokenizer, () if self.writer.reads else prompt, stops)

    # What is written.

    def write(self, prompts: list[list[int]]) -> list[list[Generation]]:
        """The generations of each prompt of one batch, ``samples`` of each."""
        if self.settings.beams > 1:
            return self._beams(prompts)
        count = self.settings.samples
        rows = [prompt for prompt in prompts for _ in range(count)]
        readers = [self.reader(prompt) for prompt in rows]
        tokens: list[list[int]] = [[] for _ in rows]
        for row, token in self.steps(prompts, readers):
            tokens[row].append(token)
            reader = readers[row]
            if reader is not None and token not in self.ends:
                reader.push(token)
        done = [self.done(*each) for each in zip(rows, tokens, readers, strict=True)]
        return [done[i : i + count] for i in range(0, len(done), count)]

    def done(
        self, prompt: list[int], tokens: list[int], reader: Reader | None, score: float | None = None
    ) -> Generation:
        """A text whose last token is written; the reader has been given them all."""
        if reader is not None:
            reader.close()
        stopped = reader is not None and reader.stopped
        reason = "stop" if stopped else "end" if tokens and tokens[-1] in self.ends else "length"
        return Generation(tuple(prompt), tuple(tokens), reason, reader.text if reader is not None else "", score)

    def steps(self, prompts: list[list[int]], readers: Sequence[Reader | None]) -> Iterator[tuple[int, int]]:
        """Each new token as (row, token), rows in turn, step by step; who takes one pushes it into the row's reader.

        A row that has ended leaves the batch, and its keys leave the cache.

        Args:
            prompts: of one batch; each has ``samples`` rows.
            readers: of each row.
        """
        count, room = self.settings.samples, self.room(prompts)
        choose = Chooser(self.settings, [stream for _ in prompts for stream in range(count)])
        texts = [self.writer.begun(prompt) for prompt in prompts for _ in range(count)]
        alive = list(range(len(texts)))
        with self._ready():
            scores = self.writer.begin(prompts, room)
            if count > 1:
                rows = torch.arange(len(prompts), device=scores.device).repeat_interleave(count)
                scores = scores[rows]
                self.writer.keep(rows)
        for written in range(room):
            with self._ready():
                tokens = choose(self.rules(scores, [texts[row] for row in alive], written, room), alive)
                chosen = tokens.tolist()
            for row, token in zip(alive, chosen, strict=True):
                texts[row].append(token)
                yield row, token
            if self.show is not None:
                self.show(len(alive))
            going = [
                place
                for place, (row, token) in enumerate(zip(alive, chosen, strict=True))
                if token not in self.ends and not ((reader := readers[row]) is not None and reader.stopped)
            ]
            if not going or written == room - 1:
                return
            with self._ready():
                if len(going) < len(alive):
                    kept = torch.tensor(going, device=tokens.device)
                    self.writer.keep(kept)
                    tokens, alive = tokens[kept], [alive[place] for place in going]
                scores = self.writer.step(tokens)

    def _beams(self, prompts: list[list[int]]) -> list[list[Generation]]:
        stopped = None
        if self.settings.stop:
            stopped = [lambda text, prompt=prompt: self._stopped(prompt, text) for prompt in prompts]
        with self._ready():
            found = beams.search(self.writer, prompts, self.rules, self.room(prompts), stopped, self.show)
        answers = []
        for prompt, several in zip(prompts, found, strict=True):
            row = []
            for score, tokens in several[: self.settings.samples]:
                reader = self.reader(prompt)
                for token in tokens:
                    if reader is not None and token not in self.ends:
                        reader.push(token)
                row.append(self.done(prompt, tokens, reader, score))
            answers.append(row)
        return answers

    def _stopped(self, prompt: list[int], tokens: Sequence[int]) -> bool:
        reader = self.reader(prompt)
        assert reader is not None
        for token in tokens:
            reader.push(token)
        return reader.stopped

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """In evaluation, without gradients, linear layers by their fastest kernel; as it was between the steps."""
        training = self.model.training
        if training:
            self.model.eval()
        try:
            with torch.inference_mode(), self.fast:
                yield
        finally:
            if training:
                self.model.train()


def _is_id(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


def _said(folder: Path | None) -> dict[str, Any]:
    """What generation_config.json says of tokens, by role; how a text is chosen is the user's to say.

    Raises:
        UserError: the file is broken, or asks for what we do not do.
    """
    file = folder / "generation_config.json" if folder is not None else None
    if file is None or not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(str(file), "is no JSON", "restore the file, or delete it") from None
    if not isinstance(said, dict):
        raise UserError(str(file), "holds no JSON object", "restore the file, or delete it")
    roles = ("bos", "eos", "pad", "decoder_start", "forced_bos", "forced_eos")
    found = {role: said[f"{role}_token_id"] for role in roles if said.get(f"{role}_token_id") is not None}
    words = said.get("bad_words_ids") or []
    if any(len(word) != 1 for word in words):
        raise UserError(str(file), "bad_words_ids holds runs of several tokens", "delete it, and give banned=")
    return {**found, "banned": [word[0] for word in words]}
