"""Text to ids and back: one small class over the `tokenizers` library, whatever files the tokenizer came in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dougong.data.tokenizing.encoding import Encoding, kept
from dougong.data.tokenizing.opening import Opened, open_files
from dougong.data.tokenizing.settings import ROLES, Settings
from dougong.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from dougong.data.tokenizing.streaming import Stream

AT_ONCE = 512
"""Texts of many that are encoded at once."""

_LOOSE = {code: 0xFFFD for code in range(0xD800, 0xE000)}


def whole(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD, so that every character keeps its place."""
    return text.translate(_LOOSE)


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer with everything that its files say.

    Make one with `Tokenizer.open`. Any number of threads may use it at once.

    Attributes:
        opened: the tokenizer of the `tokenizers` library and the settings read.
        templates: chat templates by name; "default" is the one that is used unless another is named.
    """

    opened: Opened
    templates: Mapping[str, str]

    @staticmethod
    def open(path: str | Path) -> Tokenizer:
        """Open a folder of tokenizer files, or one of them.

        Read are tokenizer.json; vocab.txt (BERT); vocab.json with merges.txt (GPT-2, RoBERTa, BART, Qwen2, CLIP);
        sentencepiece models (T5, XLM-R, Llama, Gemma); source.spm, target.spm and vocab.json (Marian); and beside
        them tokenizer_config.json, special_tokens_map.json, added_tokens.json, config.json (for the family only),
        chat_template.jinja and additional_chat_templates/. Where a tokenizer.json is there, it says how text is split.

        Args:
            path: the folder, or a file in it.

        Raises:
            UserError: nothing there, or a file that cannot be used: which, where, and why.
        """
        from dougong.data.tokenizing.chat import read_templates

        opened = open_files(Path(path))
        folder = opened.source.parent
        return Tokenizer(opened, read_templates(folder, opened.settings))

    @property
    def settings(self) -> Settings:
        """What the configuration files say."""
        return self.opened.settings

    @property
    def source(self) -> Path:
        """The file that the vocabulary was read from."""
        return self.opened.source

    # What is known of the vocabulary.

    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id, added tokens included: the rows that an embedding needs at least."""
        return max(self.vocabulary.values(), default=-1) + 1

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Id by token, added tokens included."""
        if self.opened.pieces is not None:
            return {piece: index for index, piece in enumerate(self.opened.pieces)}
        return self.opened.core.get_vocab(with_added_tokens=True)

    def id(self, token: str) -> int | None:
        """The id of a token, None when the vocabulary lacks it."""
        if self.opened.pieces is not None:
            return self.vocabulary.get(token)
        return self.opened.core.token_to_id(token)

    def token(self, index: int) -> str | None:
        """The token of an id, None when there is none."""
        if self.opened.pieces is not None:
            return self.opened.pieces[index] if 0 <= index < len(self.opened.pieces) else None
        return self.opened.core.id_to_token(index)

    def written(self, index: int) -> str | None:
        """The token of an id as people write it, None when there is none.

        The sign of a vocabulary for a blank (Ġ of bytes, ▁ of pieces) is a blank; part of a character is its bytes, as
        <0xE4>. The ## of word pieces stays: it says that a word goes on.
        """
        from dougong.data.tokenizing.decoding import written

        return written(self, index)

    @cached_property
    def special(self) -> dict[str, str]:
        """Special tokens by role: "bos", "eos", "unk", "sep", "pad", "cls", "mask" those there are, then others."""
        roles = {role: self.settings.roles[role].content for role in ROLES if role in self.settings.roles}
        return roles | {name.removesuffix("_token"): item.content for name, item in self.settings.named.items()}

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """The ids of `special`, by role."""
        found = {role: self.id(token) for role, token in self.special.items()}
        return {role: index for role, index in found.items() if index is not None}

    @property
    def max_length(self) -> int | None:
        """The longest sequence that the model was made for, None when the files name none."""
        return self.settings.number("model_max_length")

    def check(self, vocab_size: int, where: str) -> None:
        """Make sure that a model with this many embeddings can take every id.

        Args:
            vocab_size: rows of the model's embedding. More than `vocab_size` is fine: many are padded.
            where: the model, named in the error.

        Raises:
            UserError: an id has no row.
        """
        if self.vocab_size > vocab_size:
            high = self.token(self.vocab_size - 1)
            raise UserError(
                where,
                f"the model has {vocab_size} embeddings, but the tokenizer {self.source} has ids up to "
                f"{self.vocab_size - 1} ({high!r})",
                "take model and tokenizer from the same folder, or enlarge the embedding",
            )

    # Text to ids.

    @overload
    def encode(  # type: ignore[overload-overlap]  # a str is a sequence of str, and the first overload is asked first
        self, text: str, pair: str | None = None, special: bool = True, max_length: int | None = None
    ) -> Encoding: ...

    @overload
    def encode(
        self,
        text: Sequence[str],
        pair: Sequence[str] | None = None,
        special: bool = True,
        max_length: int | None = None,
    ) -> list[Encoding]: ...

    def encode(
        self,
        text: str | Sequence[str],
        pair: str | Sequence[str] | None = None,
        special: bool = True,
        max_length: int | None = None,
    ) -> Encoding | list[Encoding]:
        """Ids and where in the text each comes from.

        Args:
            text: one text, or several.
            pair: a second text for each, as for entailment or questions with their passage.
            special: whether special tokens (bos, cls, eos, sep) are put where the model expects them. Special tokens
                that stand in the text are found either way.
            max_length: cut to this many ids, special tokens included; of a pair, the longer text loses tokens first.

        Returns:
            An `Encoding` for a text, a list of them for several. A lone surrogate, which no encoding of Unicode can
            express, counts as U+FFFD.

        Raises:
            UserError: `pair` does not go with `text`, or `max_length` leaves no room for the special tokens.
        """
        one = isinstance(text, str)
        if pair is not None and isinstance(pair, str) != one:
            raise UserError("encode", "one of text and pair is a list", "give two texts or two lists")
        if not isinstance(text, Iterable):
            raise UserError("encode", f"a {type(text).__name__} where a text should be", "give str")
        texts: list[Any] = [text] if one else list(text)
        if pair is not None:
            pairs = [pair] if one else list(pair)
            if len(pairs) != len(texts):
                raise UserError("encode", f"{len(texts)} texts and {len(pairs)} pairs", "give as many of each")
            texts = list(zip(texts, pairs, strict=True))
        found = self._run(texts, special, pair is not None)
        exchange = self.opened.exchange
        if max_length is None:
            encoded = [Encoding(raw, exchange) for raw in found]
        else:
            added = self.opened.core.num_special_tokens_to_add(pair is not None) if special else 0
            if max_length <= added:
                raise UserError("max_length", f"{max_length}, beside {added} special tokens", "ask for more")
            side = self.settings.side("truncation_side", "right")
            encoded = [Encoding(raw, exchange, kept(raw, max_length, added, side)) for raw in found]
        return encoded[0] if one else encoded

    def cutter(self, max_length: int) -> Callable[[Sequence[int]], list[int]] | None:
        """What makes of the ids of one text, uncut, those that it has when it is cut to this many; None if unknown.

        Args:
            max_length: as for `encode`.
        """
        sample = self.encode("a 1")
        assert isinstance(sample, Encoding)
        if 0 not in sample.texts:
            return None
        before, added = sample.texts.index(0), self.opened.core.num_special_tokens_to_add(False)
        right = self.settings.side("truncation_side", "right") == "right"

        def cut(ids: Sequence[int]) -> list[int]:
            gone = max(0, len(ids) - max_length)
            end = len(ids) - (added - before)
            start = end - gone if right else before
            return [*ids[:start], *ids[start + gone :]]

        return cut if max_length > added else None

    def each(
        self,
        texts: Sequence[str],
        pair: Sequence[str] | None = None,
        special: bool = True,
        max_length: int | None = None,
    ) -> Iterator[Encoding]:
        """The encodings of many texts, one after another; arguments as for `encode`.

        A few hundred are encoded at once: one takes some hundred bytes a token, which ids alone do not.
        """
        for start in range(0, len(texts), AT_ONCE):
            stop = start + AT_ONCE
            second = None if pair is None else pair[start:stop]
            yield from self.encode(texts[start:stop], second, special, max_length)  # type: ignore[misc]

    def _run(self, texts: list[Any], special: bool, pairs: bool) -> list[Any]:
        """Raw encodings, never cut: cutting is a state of the library's tokenizer, and keeps all that it cuts off."""
        core = self.opened.core
        try:
            if len(texts) > 1:
                return core.encode_batch(texts, add_special_tokens=special)
            first, second = texts[0] if pairs else (texts[0], None) if texts else ("", None)
            return [core.encode(first, second, add_special_tokens=special)] if texts else []
        except TypeError:
            cleaned = [_clean(item) for item in texts]  # a lone surrogate is the one str that Rust refuses
            return core.encode_batch(cleaned, add_special_tokens=special)

    def batch(
        self,
        texts: Iterable[str],
        pair: Iterable[str] | None = None,
        special: bool = True,
        max_length: int | None = None,
        side: str = "right",
    ) -> tuple[Tensor, Tensor]:
        """Texts as models take them: ``model(*tokenizer.batch(texts))``.

        Args:
            texts, pair, special, max_length: as for `encode`.
            side: where shorter texts are filled up, "right" or "left". Our models take right-hand padding.

        Returns:
            tokens (B, L), int64, filled with the pad token (0 where the tokenizer has none: models with lengths never
            look at it); lengths (B,), int64.

        Raises:
            UserError: as `encode`; or no text at all.
        """
        import torch

        rows = [one.ids for one in self.encode(list(texts), None if pair is None else list(pair), special, max_length)]
        if not rows:
            raise UserError("batch", "no texts", "give at least one")
        if side not in ("left", "right"):
            raise UserError("side", f"{side!r}", "left or right")
        lengths = [len(row) for row in rows]
        longest, fill = max(lengths), self.special_ids.get("pad", 0)
        if side == "right":
            full = [row + [fill] * (longest - len(row)) for row in rows]
        else:
            full = [[fill] * (longest - len(row)) + row for row in rows]
        return torch.tensor(full, dtype=torch.long).view(len(rows), longest), torch.tensor(lengths)

    # Ids to text.

    def decode(self, ids: Iterable[int] | Tensor, skip_special: bool = True) -> str:
        """Ids as text.

        Args:
            ids: of one sequence; a list or a tensor of one axis.
            skip_special: whether special tokens are left out.

        Raises:
            UserError: an id below 0. Ids that stand for no token (rows that a model has beyond the vocabulary) are
                left out.
        """
        from dougong.data.tokenizing.decoding import decode

        return decode(self, [int(index) for index in ids], skip_special)

    def stream(self, skip_special: bool = True) -> Stream:
        """A decoder for ids that arrive one at a time, as in generation; see `Stream`."""
        from dougong.data.tokenizing.streaming import Stream

        return Stream(self, skip_special)

    # Chat.

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: str | None = None,
        **variables: Any,
    ) -> str:
        """A conversation as the text that the model was trained on; see `dougong.data.tokenizing.chat.render`.

        The text holds the special tokens: encode it with ``special=False``.

        Args:
            messages: ``{"role": "user", "content": "Hello"}`` and so on.
            add_generation_prompt: end with the opening of the model's own turn.
            tools: functions that the model may call, as JSON schemas.
            template: the name of one of `templates`; by default "tool_use" where tools are given and it is there,
                else "default".
            **variables: what else the template asks for.

        Raises:
            UserError: no such template, or one that cannot be used, does something forbidden, or refuses the messages.
        """
        from dougong.data.tokenizing.chat import render

        return render(self, messages, add_generation_prompt, tools, template, variables)

    # Out again.

    def save(self, folder: str | Path) -> list[Path]:
        """Write the tokenizer so that Transformers' AutoTokenizer opens it with the same behaviour.

        Returns:
            The files: tokenizer.json, tokenizer_config.json, special_tokens_map.json, chat templates if there are
            any; for Marian its own files.

        Raises:
            UserError: the folder cannot be written.
        """
        from dougong.data.tokenizing.saving import save

        return save(self, Path(folder))

    def describe(self) -> dict[str, Any]:
        """What it is, as plain data for data.json and the terminal."""
        model = type(self.opened.core.model).__name__
        return {
            "family": self.settings.family or None,
            "model": model,
            "source": self.source.name,
            "vocab_size": self.vocab_size,
            "added_tokens": len(self.opened.core.get_added_tokens_decoder()),
            "special": dict(self.special),
            "max_length": self.max_length,
            "padding_side": self.padding_side,
            "chat_templates": sorted(self.templates),
            "notes": list(self.opened.notes),
        }

    @property
    def padding_side(self) -> str:
        """The side on which the family's models are padded in Transformers, "left" or "right"."""
        family = self.opened.family
        return self.settings.side("padding_side", family.padding if family else "right")

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        return f"Tokenizer({self.settings.family or type(self.opened.core.model).__name__}, {self.vocab_size} ids)"


def _clean(item: Any) -> Any:
    if isinstance(item, tuple):
        return tuple(_clean(part) for part in item)
    if not isinstance(item, str):
        raise UserError("encode", f"a {type(item).__name__} where a text should be", "give str")
    return whole(item)
