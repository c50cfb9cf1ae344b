"""Marian's tokenizers: two sentencepiece models that split, and one list of ids over both languages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.tokenizing import protobuf
from dougong.data.tokenizing.files import json_of, present, vocabulary
from dougong.data.tokenizing.opening import Opened
from dougong.data.tokenizing.pipelines import SPACE
from dougong.data.tokenizing.settings import Added, Settings
from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.data.tokenizing.tokenizer import Tokenizer

_ROLES = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}


@dataclass(frozen=True)
class Exchange:
    """From sentencepiece's ids to those of vocab.json.

    Text that the sentencepiece model of this side does not know may yet stand in vocab.json, which holds the pieces of
    both sides: then it has that id.

    Attributes:
        table: the id in vocab.json of each of the model's pieces.
        unknown: sentencepiece's id of what it does not know.
        ids: vocab.json.
        unk: the id there of what is in neither.
    """

    table: tuple[int, ...]
    unknown: int
    ids: dict[str, int]
    unk: int

    def __call__(self, raw: Any) -> list[int]:
        found = [self.table[index] for index in raw.ids]
        if self.unknown in raw.ids:
            tokens = raw.tokens
            for place, index in enumerate(raw.ids):
                if index == self.unknown:
                    found[place] = self.ids.get(tokens[place], self.unk)
        return found


def open_marian(folder: Path, settings: Settings, side: str = "source") -> Opened:
    """The tokenizer of a Marian folder: source.spm (or target.spm) with vocab.json.

    Transformers has this tokenizer in Python only; here the sentencepiece model runs in the `tokenizers` library, and
    its numbers are exchanged for those of vocab.json afterwards.

    Raises:
        UserError: a file that is missing or cannot be used.
    """
    source = folder / f"{side}.spm"
    path = present(folder, source.name)
    if path is None:
        raise UserError(str(folder), f"Marian's tokenizer without {source.name}", "put the file there")
    model = protobuf.read(path)
    if model.model != "unigram":
        raise UserError(str(source), f"a sentencepiece model of kind {model.model!r}", "Marian's are of kind unigram")
    words = present(folder, "vocab.json")
    if words is None:
        raise UserError(str(folder), "source.spm without vocab.json", "put vocab.json beside it")
    if settings.flag("separate_vocabs", False):
        raise UserError(settings.where, "separate_vocabs is true", "only models with one shared vocabulary are known")
    ids = vocabulary(json_of(words), str(words))
    for role, content in _ROLES.items():
        settings.roles.setdefault(role, Added(content))
    unk = ids.get(settings.roles["unk"].content)
    if unk is None:
        raise UserError(str(words), f"lacks the unknown token {settings.roles['unk'].content!r}", "add it")
    settings.family = "MarianTokenizer"
    core, table = _core(model, ids, unk, settings)
    pieces = sorted(ids, key=ids.__getitem__)
    carried = ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json", "special_tokens_map.json")
    return Opened(
        core=core,
        settings=settings,
        source=source,
        exchange=Exchange(tuple(table), model.unk_id, ids, unk),
        pieces=pieces,
        carried=tuple(folder / name for name in carried if present(folder, name)),
    )


def _core(model: protobuf.SentencePiece, ids: dict[str, int], unk: int, settings: Settings) -> tuple[Any, list[int]]:
    """The sentencepiece model as it is, special tokens and language codes added behind it, and the exchange of ids."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    # Pieces that sentencepiece itself never makes of text (control) must not match here either.
    hidden = {index: f"\U0010ffff{index}" for index, piece in enumerate(model.pieces) if piece.kind == protobuf.CONTROL}
    scored = [(hidden.get(index, piece.text), piece.score) for index, piece in enumerate(model.pieces)]
    core = Tokenizer(Unigram(scored, unk_id=model.unk_id, byte_fallback=False))
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    core.normalizer = normalizers.Sequence(steps)
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=False)
    core.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always", split=False)
    remap = [ids.get(piece.text, unk) for piece in model.pieces]
    codes = [Added(token) for token in ids if token.startswith(">>") and token.endswith("<<")]
    for token in (*(settings.roles[role] for role in settings.roles), *settings.extra, *codes):
        if core.token_to_id(token.content) is None and token.content in ids:
            core.add_tokens([token.built()])
            remap.append(ids[token.content])
        else:
            core.add_tokens([token.built()])
    eos = settings.roles["eos"].content
    core.post_processor = processors.TemplateProcessing(
        single=["$A", eos], pair=["$A", "$B", eos], special_tokens=[(eos, core.token_to_id(eos))]
    )
    return core, remap


def decode_pieces(tokenizer: Tokenizer, ids: list[int], skip_special: bool) -> str:
    """Ids of vocab.json as text: pieces joined, each special token with a space after it."""
    pieces = tokenizer.opened.pieces
    if pieces is None:
        raise TypeError("a tokenizer whose ids are its own")
    special = {token.content for token in tokenizer.settings.all_special()}
    text, run = "", ""

    def joined(run: str) -> str:
        return run.replace(SPACE, " ").removeprefix(" ")

    for index in ids:
        piece = pieces[index]
        if piece not in special:
            run += piece
        elif not skip_special:
            text += joined(run) + piece + " "
            run = ""
    return (text + joined(run)).strip()
