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

DECODERS = "give a decoder with a language head, as gpt2, llama or t5"


class Writer:
    """Gives the scores of the next token for a batch of texts.

    Args:
        model: a decoder, or an encoder-decoder, with a language head.
        start: the token with which an encoder-decoder begins to write.

    Raises:
        UserError: the model cannot write, or it is not known with which token it begins.
    """

    def __init__(self, model: nn.Module, start: int | None = None) -> None:
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
        self.model, self.stack, self.start, self.name = model, stack, start, name
        self.n_vocabulary = int(config["vocab_size"])
        self.device = next(model.parameters()).device
        self.cache = Cache(1)
        self.captured: Captured | None = None
        self.reason = ""  # why a step goes through the model's modules, where it does

    @property
    def reads(self) -> bool:
        """Whether prompts are read by an encoder, so that what is written begins anew."""
        return isinstance(self.model, EncoderDecoder)

    def begun(self, prompt: Sequence[int]) -> list[int]:
        """What a row holds before anything is written."""
        return [self.start] if self.reads and self.start is not None else list(prompt)

    def limits(self) -> tuple[int | None, int | None]:
        """Tokens that a prompt may have, and a text with its beginning; None where nothing bounds them."""
        reader = self.model.encoder if isinstance(self.model, EncoderDecoder) else self.stack
        assert isinstance(reader, Stack)
        return _places(reader), _places(self.stack)

    def begin(self, prompts: Sequence[Sequence[int]], room: int) -> Tensor:
        """Read prompts of any lengths: the scores (B, V) of what comes after each, float32.

        Args:
            prompts: tokens.
            room: new tokens at most.

        Raises:
            UserError: the model's head scores no tokens.
        """
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        longest = int(lengths.max())
        tokens = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts]).to(self.device)
        lengths = lengths.to(self.device)
        model = self.model
        if isinstance(model, EncoderDecoder):
            self.cache = Cache(room)
            memory = model.encode(tokens, lengths)
            first = torch.full((len(prompts), 1), int(self.start or 0), device=self.device)
            hidden = self.stack(
                model.target_embedding(first).x, memory=memory, memory_lengths=lengths, cache=self.cache
            )
        else:
            self.cache = Cache(longest + room - 1)  # the last token is written and not read
            hidden = self.stack(model.embedding(tokens).x, lengths=lengths, cache=self.cache)
            hidden = hidden[torch.arange(len(prompts), device=self.device), lengths - 1][:, None]
        return self._scores(hidden)[:, -1]

    def step(self, tokens: Tensor) -> Tensor:
        """One more token (B,) for each row: the scores (B, V) of the next."""
        return self.steps(tokens[:, None])[:, -1]

    def steps(self, tokens: Tensor) -> Tensor:
        """Several more tokens (B, L) for each row: the scores (B, L, V) after each of them, float32."""
        captured = self._capture()
        if captured is not None and captured.takes(self.cache, tokens.shape[1]):
            return captured.step(tokens, self.cache)[..., : self.n_vocabulary]
        model = self.model
        embedding = model.target_embedding if isinstance(model, EncoderDecoder) else model.embedding
        return self._scores(self.stack(embedding(tokens).x, cache=self.cache))

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
