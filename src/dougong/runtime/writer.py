"""A model that writes: decoders and encoder-decoders behind one small face, token by token with a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.frames.encoder_decoder import EncoderDecoder
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.parts.attention import Attention
from dougong.parts.cache import Cache
from dougong.parts.convolution import Convolution
from dougong.parts.masks import looks_ahead
from dougong.parts.positions import Learned
from dougong.parts.recurrence import Recurrence
from dougong.runtime.native import Captured, NotCaptured, native
from dougong.runtime.prefixes import Prefix

DECODERS = "give a decoder with a language head, as gpt2, llama or t5"


class Writer:
    """Gives the scores of the next token for a batch of texts.

    Args:
        model: a decoder, or an encoder-decoder, with a language head.
        start: the token with which an encoder-decoder begins to write.
        whole: tokens can be taken back, so windows keep what they have left behind.

    Raises:
        UserError: the model cannot write, or it is not known with which token it begins.
    """

    def __init__(self, model: nn.Module, start: int | None = None, whole: bool = False) -> None:
        kind, config = getattr(model, "input_kind", ""), getattr(model, "config", {})
        name = str(config.get("architecture", "model"))
        if not isinstance(model, Model | EncoderDecoder) or kind not in ("tokens", "tokens_pair"):
            raise UserError(name, "does not write: it reads no tokens", DECODERS)
        stack = model.decoder if isinstance(model, EncoderDecoder) else model.body
        if model.head is None or not isinstance(stack, Stack):
            raise UserError(name, "does not write: it has no language head", DECODERS)
        if any(_looks_ahead(part) for part in stack.modules()):
            raise UserError(name, "does not write: it reads texts from both sides", DECODERS)
        if isinstance(model, EncoderDecoder) and start is None:
            raise UserError(
                name, "does not say with which token it begins to write", "give start, the id of that token"
            )
        self.model, self.stack, self.start, self.name, self.whole = model, stack, start, name, whole
        self.n_vocabulary = int(config["vocab_size"])
        self.device = next(model.parameters()).device
        self.cache = Cache(1)
        self.spare = 0  # columns of the cache for rows that come and go, see `dougong.parts.cache.Cache`
        self.read: list[int] = []  # tokens of each prompt that the last `begin` or `join` read
        self.captured: Captured | None = None
        self.reason = ""  # why a step goes through the model's modules, where it does

    @property
    def reads(self) -> bool:
        """Whether prompts are read by an encoder, so that what is written begins anew."""
        return isinstance(self.model, EncoderDecoder)

    @property
    def recurs(self) -> bool:
        """Whether a layer keeps a state, out of which no token can be taken again."""
        return any(isinstance(part, Recurrence | Convolution) for part in self.stack.modules())

    def begun(self, prompt: Sequence[int]) -> list[int]:
        """What a row holds before anything is written."""
        return [self.start] if self.reads and self.start is not None else list(prompt)

    def limits(self) -> tuple[int | None, int | None]:
        """Tokens that a prompt may have, and a text with its beginning; None where nothing bounds them."""
        reader = self.model.encoder if isinstance(self.model, EncoderDecoder) else self.stack
        assert isinstance(reader, Stack)
        return _places(reader), _places(self.stack)

    def takes(self, prompt: Sequence[int], where: str) -> None:
        """Make sure that a draft can read a prompt.

        Raises:
            UserError: it has fewer places.
        """
        reads, holds = self.limits()
        most = reads if self.reads else holds
        if most is not None and len(prompt) > most:
            raise UserError(where, f"has {len(prompt)} tokens, and the draft reads {most}", "leave the draft out")

    def begin(
        self, prompts: Sequence[Sequence[int]], room: int | Sequence[int], copies: int = 1, prefix: Prefix | None = None
    ) -> Tensor:
        """Read prompts of any lengths: the scores (B, V) of what comes after each, float32.

        Args:
            prompts: tokens.
            room: new tokens at most, of all or of each.
            copies: rows for each prompt, which stand side by side.
            prefix: a beginning that is not read again where prompts have it.

        Raises:
            UserError: the model's head scores no tokens.
        """
        rooms = [room] * len(prompts) if isinstance(room, int) else room
        # the last new token is written and not read
        end = max(len(self.begun(prompt)) + new for prompt, new in zip(prompts, rooms, strict=True)) - 1
        self.read = [len(prompt) for prompt in prompts]
        scores = self._read(prompts, end) if prefix is None else self._read_after(prefix, prompts, end)
        if copies > 1:
            rows = torch.arange(len(prompts), device=scores.device).repeat_interleave(copies)
            scores = scores[rows]
            self.keep(rows)
        return scores

    def join(
        self, prompts: Sequence[Sequence[int]], room: int | Sequence[int], copies: int = 1, prefix: Prefix | None = None
    ) -> Tensor:
        """Read more prompts while others are written: as `begin`, and their rows come after those that are there."""
        running = self.cache
        scores = self.begin(prompts, room, copies, prefix)
        running.join(self.cache)
        self.cache = running
        return scores

    def prefix(self, tokens: Sequence[int]) -> Prefix:
        """Read the beginning of prompts.

        Raises:
            UserError: the model reads prompts from both sides.
        """
        if isinstance(self.model, EncoderDecoder):
            raise UserError("prefix", "this model reads a prompt from both sides, never a part first", "leave it out")
        cache = Cache(len(tokens), whole=True)
        self._hidden(torch.tensor([list(tokens)]).to(self.device), cache)
        return Prefix(self.model, tuple(tokens), cache)

    def _read(self, prompts: Sequence[Sequence[int]], end: int) -> Tensor:
        """Prompts from their first token, without padding, into a new cache of ``end`` tokens."""
        counts = torch.tensor([len(prompt) for prompt in prompts])
        longest = int(counts.max())
        tokens = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts]).to(self.device)
        lengths = counts.to(self.device)
        model, self.cache = self.model, Cache(end, self.whole, self.spare)
        if isinstance(model, EncoderDecoder):
            memory = model.encode(tokens, lengths)
            first = torch.full((len(prompts), 1), int(self.start or 0), device=self.device)
            hidden = self.stack(
                model.target_embedding(first).x, memory=memory, memory_lengths=lengths, cache=self.cache
            )
        else:
            hidden = self.stack(model.embedding(tokens).x, lengths=lengths, cache=self.cache, only=-1)
        return self._scores(hidden)[:, -1]

    def _read_after(self, prefix: Prefix, prompts: Sequence[Sequence[int]], end: int) -> Tensor:
        """Prompts, each after as much of the prefix as it has; those that share nothing as ever."""
        groups = prefix.groups(prompts)
        caches: list[Cache] = []
        found: list[Tensor] = []
        for rows, new in groups:
            part = [prompts[row] for row in rows]
            if new is None:
                found.append(self._read(part, end))
            else:
                self.cache = prefix.cache.first([len(prompt) - new for prompt in part], end, self.whole)
                tokens = torch.tensor([list(prompt[len(prompt) - new :]) for prompt in part]).to(self.device)
                hidden = self._hidden(tokens, self.cache)
                found.append(self._scores(hidden[:, -1:])[:, -1])
                for row in rows:
                    self.read[row] = new
            caches.append(self.cache)
        self.cache = caches[0]
        for other in caches[1:]:
            self.cache.join(other)
        order = [row for rows, _ in groups for row in rows]
        scores = torch.cat(found)
        if order == sorted(order):
            return scores
        places = torch.tensor(order, device=scores.device).argsort()
        self.keep(places)
        return scores[places]

    def step(self, tokens: Tensor) -> Tensor:
        """One more token (B,) for each row: the scores (B, V) of the next."""
        return self.steps(tokens[:, None])[:, -1]

    def steps(self, tokens: Tensor) -> Tensor:
        """Several more tokens (B, L) for each row: the scores (B, L, V) after each of them, float32."""
        self.cache.reserve(tokens.shape[1])
        captured = self._capture()
        if captured is not None and captured.takes(self.cache, tokens.shape[1]):
            return captured.step(tokens, self.cache)[..., : self.n_vocabulary]
        return self._scores(self._hidden(tokens, self.cache))

    def _hidden(self, tokens: Tensor, cache: Cache) -> Tensor:
        """More tokens (B, L) through the model's modules, after those that a cache holds: (B, L, D)."""
        model = self.model
        embedding = model.target_embedding if isinstance(model, EncoderDecoder) else model.embedding
        return self.stack(embedding(tokens).x, cache=cache)

    def _capture(self) -> Captured | None:
        """The step as a program of our own kernels, where there are some and the model's parts are known to them."""
        if self.reason or (self.captured is not None and self.captured.end >= self.cache.max_length):
            return self.captured
        kernels = native() if self.device.type == "cpu" else None
        if kernels is None:
            self.reason = "there are no kernels of our own here"
            return None
        try:
            self.captured = Captured(self.model, kernels, self.cache.max_length)
        except NotCaptured as part:
            self.captured, self.reason = None, f"no kernel of our own stands for {part}"
        return self.captured

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows of the batch, in this order."""
        self.cache.reorder(rows)

    def settle(self, rows: Sequence[int]) -> None:
        """As `keep`, for rows of which each stays in its place or comes from behind; the others are not copied."""
        self.cache.settle(rows)

    def take_back(self, tokens: int) -> None:
        """Forget the newest tokens of every row."""
        self.cache.rewind(tokens)

    def _scores(self, hidden: Tensor) -> Tensor:
        """Of hidden states (B, L, D): (B, L, V), float32."""
        assert self.model.head is not None
        scores = self.model.head(hidden, None)
        if scores.dim() != 3 or scores.shape[-1] != self.n_vocabulary:
            raise UserError(self.name, "does not write: its head scores no tokens", DECODERS)
        return scores.float()


def _looks_ahead(part: nn.Module) -> bool:
    if isinstance(part, Attention):
        return not part.cross and looks_ahead(part.mask)
    return (isinstance(part, Recurrence) and part.bidirectional) or (isinstance(part, Convolution) and part.pad[1] > 0)


def _places(stack: Stack) -> int | None:
    def found() -> Iterator[int]:
        for part in stack.positions.values():
            if isinstance(part, Learned):
                yield part.max_length

    return min(found(), default=None)
