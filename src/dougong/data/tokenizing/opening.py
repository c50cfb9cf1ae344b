"""From the files of a folder to a working tokenizer, whichever of the published layouts they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.tokenizing import protobuf
from dougong.data.tokenizing.files import AGAIN, json_of, merges_txt, present, text_of, vocab_txt, vocabulary
from dougong.data.tokenizing.pipelines import BERT, FAMILIES, Family, Vocabulary, bos_eos_template, with_defaults
from dougong.data.tokenizing.settings import Added, Settings, read_settings
from dougong.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Core

SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
LAYOUTS = "tokenizer.json; vocab.txt; vocab.json with merges.txt; a sentencepiece .model; source.spm with vocab.json"


@dataclass
class Opened:
    """A tokenizer of the `tokenizers` library and what its files say about it."""

    core: Core
    settings: Settings
    source: Path
    family: Family | None = None
    notes: list[str] = field(default_factory=list)
    exchange: Callable[[Any], list[int]] | None = None  # an encoding's ids, where they are not core's own (Marian)
    pieces: list[str] | None = None  # token of each of the model's ids, where core does not know all (Marian)
    carried: tuple[Path, ...] = ()  # files that are saved as they are (Marian)


def open_files(path: Path) -> Opened:
    """Read a folder, or the one file named.

    Raises:
        UserError: nothing there, or a file that cannot be used.
    """
    if path.is_dir():
        folder, chosen = path, None
    elif path.is_file():
        folder, chosen = path.parent, path.name
    else:
        raise UserError(str(path), "no such folder or file", f"give a folder with one of: {LAYOUTS}")
    settings = read_settings(folder)
    if chosen is None:
        named = ("tokenizer.json", "source.spm", "vocab.txt", "vocab.json", *SENTENCEPIECE)
        chosen = next((name for name in named if present(folder, name)), None)
        if chosen is None:
            raise UserError(str(folder), "holds no tokenizer", f"give a folder with one of: {LAYOUTS}")
    source = folder / chosen
    if chosen in ("source.spm", "target.spm"):
        from dougong.data.tokenizing.marian import open_marian

        return open_marian(folder, settings, chosen.removesuffix(".spm"))
    opened = _from_json(source, settings) if _is_whole(source) else _from_vocabulary(source, settings)
    if _is_whole(source):  # the others were checked when read
        _check_ids(opened)
    opened.core.no_truncation()
    opened.core.no_padding()
    opened.core.encode_special_tokens = bool(settings.flag("split_special_tokens", False))
    return opened


def _is_whole(source: Path) -> bool:
    """Whether a file is a tokenizer.json, whatever its name."""
    return source.suffix == ".json" and source.name != "vocab.json"


def _from_json(source: Path, settings: Settings) -> Opened:
    """A tokenizer.json: what it says of splitting is what is done."""
    from tokenizers import Tokenizer

    text_of(source)  # names a file that is missing, too large or no text
    try:
        core = Tokenizer.from_file(str(source))
    except Exception as fault:  # the library raises plain Exception
        json_of(source, unique=False)  # no JSON at all: said with its line
        reason = " ".join(str(fault).split())[:160]
        raise UserError(str(source), f"not a tokenizer of the tokenizers library ({reason})", AGAIN) from None
    family = FAMILIES.get(settings.family)
    opened = Opened(core, settings, source, family)
    _overridden(opened)
    stated = {index: token.content for index, token in core.get_added_tokens_decoder().items()}
    declared = [
        (index, token)
        for index, token in settings.added
        if index is None or stated.get(index, token.content) == token.content
    ]
    if len(declared) < len(settings.added):
        index, token = next(item for item in settings.added if item not in declared)
        raise UserError(
            settings.where,
            f"id {index} is {token.content!r} here and {stated[index or 0]!r} in tokenizer.json",
            "take both files from the same tokenizer",
        )
    _add(core, settings, declared)
    if core.post_processor is None:
        # With a tokenizer.json, Transformers reads add_bos_token and add_eos_token off its template, not off the flags.
        core.post_processor = bos_eos_template(core, Settings(settings.where))
    return opened


def _overridden(opened: Opened) -> None:
    """Options of tokenizer_config.json that speak against tokenizer.json: they were set later, and they win."""
    from tokenizers import normalizers, pre_tokenizers

    core, settings = opened.core, opened.settings
    normalizer = core.normalizer
    if settings.family in ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer") and isinstance(
        normalizer, normalizers.BertNormalizer
    ):
        for option, name in (
            ("do_lower_case", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ):
            if option in settings.config and getattr(normalizer, name) != settings.config[option]:
                setattr(normalizer, name, settings.flag(option, None))
                opened.notes.append(f"tokenizer_config.json says {option} = {settings.config[option]}: done")
        core.normalizer = normalizer
    before = core.pre_tokenizer
    if settings.family in ("GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer") and isinstance(
        before, pre_tokenizers.ByteLevel
    ):
        wanted = settings.flag("add_prefix_space", None)
        if wanted is not None and before.add_prefix_space != wanted:
            before.add_prefix_space = wanted
            core.pre_tokenizer = before
            opened.notes.append(f"tokenizer_config.json says add_prefix_space = {wanted}: done")


def _from_vocabulary(source: Path, settings: Settings) -> Opened:
    """The older layouts: a vocabulary alone, and the family knows the rest."""
    name = source.name
    if name == "vocab.txt" or source.suffix == ".txt":
        vocabulary_ = Vocabulary(ids=vocab_txt(source))
        family = _family(settings, ("wordpiece",), "BertTokenizer", source)
    elif name == "vocab.json":
        ids = vocabulary(json_of(source), str(source))
        merges = present(source.parent, "merges.txt")
        if merges is None:
            raise UserError(str(source.parent), "vocab.json without merges.txt", "put merges.txt beside it")
        vocabulary_ = Vocabulary(ids=ids, merges=merges_txt(merges, ids))
        guess = "RobertaTokenizer" if {"<s>", "<mask>"} <= set(ids) else "GPT2Tokenizer"
        family = _family(settings, ("bytes",), guess, source)
    elif source.suffix in (".model", ".spm"):
        model = protobuf.read(source)
        if model.model not in ("unigram", "bpe"):
            raise UserError(str(source), f"a sentencepiece model of kind {model.model!r}", "known: unigram, bpe")
        guess = "LlamaTokenizer" if model.model == "bpe" else "T5Tokenizer"
        if source.name == "sentencepiece.bpe.model" and model.model == "unigram":
            guess = "XLMRobertaTokenizer"
        family = _family(settings, ("pairs",) if model.model == "bpe" else ("unigram",), guess, source)
        with_defaults(settings, family)
        vocabulary_ = _pieces(model, settings)
    else:
        raise UserError(str(source), "not a file that tokenizers are kept in", f"give one of: {LAYOUTS}")
    with_defaults(settings, family)
    if family.model in ("wordpiece", "pairs") and "unk" not in settings.roles:
        raise UserError(settings.where, "unk_token is null", "name the token that stands for unknown text")
    try:
        core = family.build(vocabulary_, settings)
    except Exception as fault:  # the library raises plain Exception
        if isinstance(fault, UserError):
            raise
        raise UserError(str(source), f"the vocabulary cannot be used ({fault})", AGAIN) from None
    _add(core, settings, settings.added)
    core.post_processor = (family.finish or bos_eos_template)(core, settings)
    return Opened(core, settings, source, family)


def _family(settings: Settings, models: tuple[str, ...], guess: str, source: Path) -> Family:
    """The family named in the folder, or the guess from the files.

    Raises:
        UserError: a family that we do not know in this layout.
    """
    settings.family = (
        settings.family if settings.family not in ("", "PreTrainedTokenizer", "TokenizersBackend") else guess
    )
    family = FAMILIES.get(settings.family)
    if family is None:
        fitting = sorted(name for name, known in FAMILIES.items() if known.model in models)
        raise UserError(
            settings.where,
            f"tokenizer_class {settings.family!r} is not known with {source.name} alone",
            f"save it once in Transformers, which writes tokenizer.json; known here: {', '.join(fitting)}",
        )
    if family.model not in models:
        raise UserError(
            settings.where,
            f"tokenizer_class is {settings.family!r}, but {source.name} holds no such vocabulary",
            "take all files from the same tokenizer",
        )
    return BERT if family is None else family


def _pieces(model: protobuf.SentencePiece, settings: Settings) -> Vocabulary:
    """A sentencepiece vocabulary, numbered as the family numbers it."""
    scored = [(piece.text, piece.score) for piece in model.pieces]
    apart = [
        Added(piece.text, special=piece.kind == protobuf.CONTROL)
        for piece in model.pieces
        if piece.kind in (protobuf.CONTROL, protobuf.USER_DEFINED)
    ]
    known = {item.content for item in settings.extra}
    settings.extra += [item for item in apart if item.content not in known]
    if model.model == "bpe":
        ids = {text: index for index, (text, _) in enumerate(scored)}
        return Vocabulary(ids=ids, merges=merges_of(ids))
    unk_id = model.unk_id
    if settings.family == "XLMRobertaTokenizer":
        # fairseq's order: four tokens of its own first, the mask last.
        first = [(settings.roles[role].content, 0.0) for role in ("bos", "pad", "eos", "unk")]
        scored = [*first, *scored[3:], (settings.roles["mask"].content, 0.0)]
        unk_id = 3
    elif settings.family == "T5Tokenizer":
        count = settings.config.get("extra_ids", 100)
        if type(count) is not int or not 0 <= count <= 100_000:
            raise UserError(
                settings.where, f"extra_ids is {count!r}", "write a whole number, 100 in the published models"
            )
        sentinels = [f"<extra_id_{number}>" for number in range(count)]
        scored += [(sentinel, 0.0) for sentinel in reversed(sentinels)]
        settings.extra += [Added(sentinel) for sentinel in sentinels if sentinel not in known]
    return Vocabulary(scored=scored, unk_id=unk_id, charsmap=model.charsmap)


def merges_of(ids: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, earlier pieces first, then by the length of the left one.

    A sentencepiece file of merged pieces keeps no merges; the order of its pieces is the order of merging
    (Sennrich et al. 2016, algorithm 1, as sentencepiece trains it).
    """
    return [
        (piece[:cut], piece[cut:])
        for piece in sorted(ids, key=ids.__getitem__)
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]


def _add(core: Core, settings: Settings, declared: list[tuple[int | None, Added]]) -> None:
    """Added tokens, those with declared ids first, then special ones that are not among them.

    Raises:
        UserError: a token would not get the id that is declared for it.
    """
    names = {token.content for _, token in declared} | {
        token.content for token in core.get_added_tokens_decoder().values()
    }
    missing = [token for token in settings.all_special() if token.content not in names]
    core.add_tokens([token.built() for token in (*(token for _, token in declared), *missing)])
    for index, token in declared:
        got = core.token_to_id(token.content)
        if index is not None and got != index:
            raise UserError(
                settings.where,
                f"the added token {token.content!r} is declared with id {index}, and gets {got}",
                "ids of added tokens follow those of the vocabulary without a hole",
            )


def _check_ids(opened: Opened) -> None:
    """No id twice; holes are told (tokenizer.json may have some)."""
    ids = opened.core.get_vocab(with_added_tokens=True)
    if len(set(ids.values())) < len(ids):
        seen: dict[int, str] = {}
        for token, index in ids.items():
            if index in seen:
                raise UserError(str(opened.source), f"{seen[index]!r} and {token!r} share id {index}", AGAIN)
            seen[index] = token
    holes = max(ids.values(), default=-1) + 1 - len(ids)
    if holes:
        opened.notes.append(f"{holes} ids below the highest stand for no token")
