"""How each family splits text: normaliser, pre-tokenizer, decoder and template around a vocabulary.

Each builder takes the vocabulary as its files hold it and returns a tokenizer of the `tokenizers` library, set up as
Transformers' class for the family sets it up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dougong.data.tokenizing.settings import Added, Settings
from dougong.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Core

SPACE = "\u2581"  # how sentencepiece writes a space

# Qwen2's published splitting: contractions, words with one leading sign, single digits, signs, line ends, blanks.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP_SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass
class Vocabulary:
    """What the files hold: ids, or scored pieces in the order of their ids, and what goes with them."""

    ids: dict[str, int] = field(default_factory=dict)
    merges: list[tuple[str, str]] = field(default_factory=list)
    scored: list[tuple[str, float]] = field(default_factory=list)
    unk_id: int = 0
    charsmap: bytes = b""


@dataclass(frozen=True)
class Family:
    """One family of tokenizers.

    Attributes:
        model: "wordpiece", "bytes" (byte-level pair merging), "unigram" or "pairs" (merged pieces of sentencepiece).
        build: makes the tokenizer.
        roles: special tokens where the files name none.
        padding: the side on which its models are padded.
        inputs: names of what its models take.
        finish: sets the template once every special token has its id; None: only bos and eos where asked for.
    """

    model: str
    build: Callable[[Vocabulary, Settings], Core]
    roles: dict[str, str]
    padding: str = "right"
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    finish: Callable[[Core, Settings], Any] | None = None


def _id(core: Core, settings: Settings, role: str) -> tuple[str, int]:
    """A special token and its id."""
    content = settings.roles[role].content
    index = core.token_to_id(content)
    if index is None:
        raise UserError(settings.where, f"the {role} token {content!r} is not in the vocabulary", "add it there")
    return content, index


def _wordpiece(vocabulary: Vocabulary, settings: Settings) -> Core:
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import WordPiece

    core = Tokenizer(WordPiece(vocabulary.ids, unk_token=settings.roles["unk"].content))
    core.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.flag("tokenize_chinese_chars", True)),
        strip_accents=settings.flag("strip_accents", None),
        lowercase=bool(settings.flag("do_lower_case", True)),
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(prefix="##")
    return core


def _bert_template(core: Core, settings: Settings) -> Any:
    from tokenizers import processors

    cls, sep = _id(core, settings, "cls"), _id(core, settings, "sep")
    return processors.TemplateProcessing(
        single=f"{cls[0]}:0 $A:0 {sep[0]}:0",
        pair=f"{cls[0]}:0 $A:0 {sep[0]}:0 $B:1 {sep[0]}:1",
        special_tokens=[cls, sep],
    )


def _bpe(vocabulary: Vocabulary, **options: Any) -> Core:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    return Tokenizer(BPE(vocab=vocabulary.ids, merges=vocabulary.merges, **options))


_PLAIN: dict[str, Any] = {"continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False}


def _byte_level(vocabulary: Vocabulary, settings: Settings) -> Core:
    from tokenizers import decoders, pre_tokenizers

    core = _bpe(vocabulary, **_PLAIN)
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.flag("add_prefix_space", False)))
    core.decoder = decoders.ByteLevel()
    return core


def _roberta_template(core: Core, settings: Settings) -> Any:
    from tokenizers import processors

    trim, prefix = settings.flag("trim_offsets", True), settings.flag("add_prefix_space", False)
    return processors.RobertaProcessing(
        _id(core, settings, "sep"), _id(core, settings, "cls"), bool(trim), bool(prefix)
    )


def _qwen(vocabulary: Vocabulary, settings: Settings) -> Core:
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    core = _bpe(vocabulary, **_PLAIN)
    prefix = bool(settings.flag("add_prefix_space", False))
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def _clip(vocabulary: Vocabulary, settings: Settings) -> Core:
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    options = {**_PLAIN, "end_of_word_suffix": "</w>", "unk_token": settings.roles["unk"].content}
    core = _bpe(vocabulary, **options)
    core.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def _clip_template(core: Core, settings: Settings) -> Any:
    from tokenizers import processors

    return processors.RobertaProcessing(_id(core, settings, "eos"), _id(core, settings, "bos"), False, False)


def _unigram(vocabulary: Vocabulary, settings: Settings, scheme: str = "always") -> Core:
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import Unigram

    core = Tokenizer(Unigram(vocabulary.scored, unk_id=vocabulary.unk_id, byte_fallback=False))
    if vocabulary.charsmap:
        core.normalizer = normalizers.Precompiled(vocabulary.charsmap)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme)]
    )
    core.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    return core


def _xlm_roberta(vocabulary: Vocabulary, settings: Settings) -> Core:
    return _unigram(vocabulary, settings, "always" if settings.flag("add_prefix_space", True) else "never")


def _t5_template(core: Core, settings: Settings) -> Any:
    from tokenizers import processors

    eos = _id(core, settings, "eos")
    return processors.TemplateProcessing(single=["$A", eos[0]], pair=["$A", eos[0], "$B", eos[0]], special_tokens=[eos])


def _xlm_roberta_template(core: Core, settings: Settings) -> Any:
    from tokenizers import processors

    bos, eos = _id(core, settings, "bos"), _id(core, settings, "eos")
    return processors.TemplateProcessing(
        single=[bos[0], "$A", eos[0]],
        pair=[bos[0], "$A", eos[0], eos[0], "$B", eos[0]],
        special_tokens=[bos, eos],
    )


def _llama(vocabulary: Vocabulary, settings: Settings) -> Core:
    from tokenizers import decoders, pre_tokenizers

    core = _bpe(vocabulary, fuse_unk=True, byte_fallback=True)
    prefix = settings.flag("add_prefix_space", True)
    # "legacy" puts a space before every stretch of text that follows a special token, not only before the first.
    scheme = ("always" if settings.flag("legacy", False) else "first") if prefix else "never"
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    core.decoder = decoders.Sequence(steps)
    return core


def _gemma(vocabulary: Vocabulary, settings: Settings) -> Core:
    from tokenizers import decoders, normalizers, pre_tokenizers

    core = _bpe(vocabulary, fuse_unk=True, byte_fallback=True, unk_token=settings.roles["unk"].content)
    core.normalizer = normalizers.Replace(" ", SPACE)
    core.pre_tokenizer = pre_tokenizers.Split(pattern=" ", behavior="merged_with_previous", invert=False)
    core.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return core


def bos_eos_template(core: Core, settings: Settings) -> Any:
    """bos before and eos after each text, where add_bos_token and add_eos_token ask for them."""
    from tokenizers import processors

    before = _id(core, settings, "bos") if settings.flag("add_bos_token", False) and "bos" in settings.roles else None
    after = _id(core, settings, "eos") if settings.flag("add_eos_token", False) and "eos" in settings.roles else None

    def around(text: str, kind: int) -> list[str]:
        return [*([f"{before[0]}:{kind}"] if before else []), text, *([f"{after[0]}:{kind}"] if after else [])]

    single = around("$A:0", 0)
    return processors.TemplateProcessing(
        single=single,
        pair=[*single, *around("$B:1", 1)],
        special_tokens=[item for item in (before, after) if item],
    )


_BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_TEXT_END = "<|endoftext|>"
_ROBERTA = {
    **{"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>"},
    **{"unk": "<unk>", "pad": "<pad>", "mask": "<mask>"},
}
_TYPES = ("input_ids", "token_type_ids", "attention_mask")

BERT = Family("wordpiece", _wordpiece, _BERT, inputs=_TYPES, finish=_bert_template)
FAMILIES = {
    "BertTokenizer": BERT,
    "ElectraTokenizer": BERT,
    "DistilBertTokenizer": Family("wordpiece", _wordpiece, _BERT, finish=_bert_template),
    "GPT2Tokenizer": Family("bytes", _byte_level, dict.fromkeys(("unk", "bos", "eos"), _TEXT_END)),
    "RobertaTokenizer": Family("bytes", _byte_level, _ROBERTA, finish=_roberta_template),
    "BartTokenizer": Family("bytes", _byte_level, _ROBERTA, finish=_roberta_template),
    "Qwen2Tokenizer": Family("bytes", _qwen, dict.fromkeys(("unk", "eos", "pad"), _TEXT_END)),
    "CLIPTokenizer": Family(
        "bytes",
        _clip,
        {"unk": _TEXT_END, "bos": "<|startoftext|>", "eos": _TEXT_END, "pad": _TEXT_END},
        finish=_clip_template,
    ),
    "T5Tokenizer": Family("unigram", _unigram, {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}, finish=_t5_template),
    "XLMRobertaTokenizer": Family("unigram", _xlm_roberta, _ROBERTA, finish=_xlm_roberta_template),
    "LlamaTokenizer": Family("pairs", _llama, {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}, padding="left"),
    "GemmaTokenizer": Family(
        "pairs",
        _gemma,
        {"unk": "<unk>", "bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "mask": "<mask>"},
        padding="left",
    ),
}


def with_defaults(settings: Settings, family: Family) -> None:
    """Fill in the special tokens that the family has and the files do not name; null in a file means none."""
    flags = {item.content: item for _, item in settings.added}
    for role, content in family.roles.items():
        if role not in settings.roles and f"{role}_token" not in settings.config:
            settings.roles[role] = flags.get(content, Added(content))
