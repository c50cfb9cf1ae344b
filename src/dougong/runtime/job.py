"""One call of generation: what is read, what is written, and what the model's files say of it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dougong.errors import UserError
from dougong.runtime import beams
from dougong.runtime.admitting import PLACES, Request, Together, Work
from dougong.runtime.choosing import Chooser, Rules
from dougong.runtime.generation import Generation
from dougong.runtime.kernels import FastLinears
from dougong.runtime.prefixes import worth_reading_once
from dougong.runtime.reading import Reader
from dougong.runtime.settings import DEFAULT_LENGTH, Settings
from dougong.runtime.speculating import Draft, Guesser, Lookup, Speculation, drafting
from dougong.runtime.writer import Writer

if TYPE_CHECKING:
    from dougong.data.tokenizing import Tokenizer


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
        self.folder = _folder(model)
        said = _said(self.folder) or dict(card.get("tokens") or {})
        self.start = settings.start if settings.start is not None else said.get("decoder_start", said.get("bos"))
        self.bos = said.get("bos")
        self.writer = Writer(model, self.start, whole=settings.guesses != "")
        self.draft = None if settings.draft is None else drafting(settings.draft, self.writer)
        if self.draft is not None:
            theirs = _tokenizer_in(_folder(settings.draft), self.draft.n_vocabulary)
            if theirs and self.tokenizer and theirs.vocabulary != self.tokenizer.vocabulary:
                raise UserError("draft", "has another vocabulary: other tokens", "give a model with the same tokenizer")
        self.models = [model] if self.draft is None or self.draft.model is model else [model, self.draft.model]
        self.fast = [FastLinears(each) for each in self.models]
        self.work: dict[int, Work] = {}  # of each row
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
        if settings.guesses and self.writer.recurs:
            raise UserError(settings.guesses, "takes tokens back, and this model's recurrence cannot", "leave it out")
        if settings.prefix is not None:
            settings.prefix.check(model)

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
        if self._tokenizer is None:
            self._tokenizer = _tokenizer_in(self.folder, self.writer.n_vocabulary)
        return self._tokenizer

    def prompts(self, given: Any, whole: bool = True) -> tuple[list[list[int]], bool]:
        """Prompts as token ids, and whether it is one by itself.

        Args:
            given: texts, conversations or ids.
            whole: a conversation is answered next; else it goes on.

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
            return [self._conversation(many, whole)], True
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

    def _conversation(self, messages: list[Mapping[str, Any]], whole: bool = True) -> list[int]:
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise UserError("conversation", "there is no tokenizer beside the model", "give tokenizer=")
        return list(tokenizer.encode(tokenizer.chat(messages, add_generation_prompt=whole), special=False).ids)

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
            if self.draft is not None:
                self.draft.takes(row, where)
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
        """The generations of each prompt, ``samples`` of each."""
        if self.settings.beams > 1:
            size = max(1, PLACES // self.settings.beams)
            parts = [prompts[begin : begin + size] for begin in range(0, len(prompts), size)]
            return [several for part in parts for several in self._beams(part)]
        count = self.settings.samples
        rows = [prompt for prompt in prompts for _ in range(count)]
        readers = [self.reader(prompt) for prompt in rows]
        tokens: list[list[int]] = [[] for _ in rows]
        for row, token in self.steps(prompts, readers):
            tokens[row].append(token)
            reader = readers[row]
            if reader is not None and token not in self.ends:
                reader.push(token)
        done = [self.done(*each, self.work[row]) for row, each in enumerate(zip(rows, tokens, readers, strict=True))]
        return [done[i : i + count] for i in range(0, len(done), count)]

    def done(
        self, prompt: list[int], tokens: list[int], reader: Reader | None, work: Work, score: float | None = None
    ) -> Generation:
        """A text whose last token is written; the reader has been given them all."""
        if reader is not None:
            reader.close()
        stopped = reader is not None and reader.stopped
        reason = "stop" if stopped else "end" if tokens and tokens[-1] in self.ends else "length"
        return Generation(
            tuple(prompt), tuple(tokens), reason, reader.text if reader is not None else "", score, **vars(work)
        )

    def steps(self, prompts: list[list[int]], readers: Sequence[Reader | None]) -> Iterator[tuple[int, int]]:
        """Each new token as (row, token), rows in turn, step by step; who takes one pushes it into the row's reader.

        Args:
            prompts: each has ``samples`` rows.
            readers: of each row.
        """
        with self.ready():
            writing = self._begun(prompts)
        left = [self.room([prompt]) for prompt in prompts for _ in range(self.settings.samples)]
        while writing:
            with self.ready():
                new = writing.advance()
            ended: set[int] = set()
            grown = 0
            for row, token in new:
                if row in ended:
                    continue  # guessed beyond the end
                yield row, token
                left[row] -= 1
                reader = readers[row]
                if token in self.ends or left[row] == 0 or (reader is not None and reader.stopped):
                    ended.add(row)
                grown += 1
            if self.show is not None:
                self.show(grown)
            with self.ready():
                writing.leave(ended)

    def _begun(self, prompts: list[list[int]]) -> Together | Speculation:
        """What writes the texts: side by side, or one after another with guesses."""
        count = self.settings.samples
        choose = Chooser(self.settings, streams(prompts, count))
        known, owed = self.settings.prefix, 0
        if known is None and len(prompts) > 1 and not self.writer.reads:
            shared = worth_reading_once(prompts)
            known, owed = (self.writer.prefix(shared), len(shared)) if shared else (None, 0)
        requests = [
            Request(prompt, [number * count + copy for copy in range(count)], self.room([prompt]), known)
            for number, prompt in enumerate(prompts)
        ]
        requests[0].owed = owed
        writing: Together | Speculation
        if self.settings.guesses:
            guesser: Guesser = Lookup(self.settings.lookup, self.writer.reads)
            if self.draft is not None:
                guesser = Draft(self.draft, self.rules, choose)
            writing = Speculation(self.writer, guesser, self.rules, choose, requests)
        else:
            writing = Together(self.writer, self.rules, choose, requests)
        self.work = writing.work
        return writing

    def _beams(self, prompts: list[list[int]]) -> list[list[Generation]]:
        stopped = None
        if self.settings.stop:
            stopped = [lambda text, prompt=prompt: self._stopped(prompt, text) for prompt in prompts]
        with self.ready():
            found = beams.search(self.writer, prompts, self.rules, self.room(prompts), stopped, self.show)
        answers = []
        for prompt, several in zip(prompts, found, strict=True):
            row: list[Generation] = []
            for score, tokens in several[: self.settings.samples]:
                reader = self.reader(prompt)
                for token in tokens:
                    if reader is not None and token not in self.ends:
                        reader.push(token)
                row.append(self.done(prompt, tokens, reader, Work(0 if row else len(prompt)), score))
            answers.append(row)
        return answers

    def _stopped(self, prompt: list[int], tokens: Sequence[int]) -> bool:
        reader = self.reader(prompt)
        assert reader is not None
        for token in tokens:
            reader.push(token)
        return reader.stopped

    @contextmanager
    def ready(self) -> Iterator[None]:
        """In evaluation, without gradients, linear layers by their fastest kernel; as it was between the steps."""
        training = [model for model in self.models if model.training]
        for model in training:
            model.eval()
        try:
            with torch.inference_mode(), ExitStack() as fast:
                for each in self.fast:
                    fast.enter_context(each)
                yield
        finally:
            for model in training:
                model.train()


def streams(prompts: Sequence[Sequence[int]], count: int) -> list[int]:
    """The number of each row's stream of random numbers: ``count`` rows for each prompt.

    It follows from the prompt's tokens, so that a text is the same whatever is written beside it, and prompts that
    differ do not draw alike; where one comes again, from how often it came before.
    """
    found, seen = list[int](), Counter[tuple[int, ...]]()
    for prompt in prompts:
        key = tuple(prompt)
        for copy in range(seen[key], seen[key] + count):
            digest = hashlib.blake2b(json.dumps([copy, *key]).encode(), digest_size=8).digest()
            found.append(int.from_bytes(digest, "little"))
        seen[key] += count
    return found


def _folder(model: nn.Module) -> Path | None:
    """That the model was loaded from."""
    card: Mapping[str, Any] = getattr(model, "card", None) or {}
    return Path(card["folder"]) if card.get("folder") else None


def _tokenizer_in(folder: Path | None, n_vocabulary: int) -> Tokenizer | None:
    """The tokenizer of a model in this folder, if there is one.

    Raises:
        UserError: it does not fit the model.
    """
    if folder is None or not folder.is_dir():
        return None
    from dougong.data.tokenizing import Tokenizer

    try:
        found = Tokenizer.open(folder)
    except UserError:
        if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
            raise
        return None
    found.check(n_vocabulary, str(folder))
    return found


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
