"""Tokenizers trained on a user's own texts, by the libraries `tokenizers` and `sentencepiece`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dougong.data.tokenizing import protobuf
from dougong.data.tokenizing.opening import Opened
from dougong.data.tokenizing.pipelines import BERT, FAMILIES, Vocabulary, bos_eos_template
from dougong.data.tokenizing.settings import Added, Settings
from dougong.data.tokenizing.tokenizer import Tokenizer, whole
from dougong.errors import UserError, unknown

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Core

Kind = Literal["bpe", "wordpiece", "unigram", "characters"]
Ends = Literal["bos-eos", "cls-sep", "none"]
KINDS: tuple[Kind, ...] = ("bpe", "wordpiece", "unigram", "characters")
ENDS: tuple[Ends, ...] = ("bos-eos", "cls-sep", "none")

WHERE = "tokenizer"
PIECE = 2_000
"""Characters that are given to a trainer at once; longer texts are cut."""

_PLAIN = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"}
_BRACKETS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def train_tokenizer(
    texts: Iterable[str],
    kind: Kind = "bpe",
    vocab_size: int = 8000,
    *,
    lowercase: bool = False,
    ends: Ends | None = None,
    max_length: int | None = None,
) -> Tokenizer:
    """Train a tokenizer. The same texts in the same order give the same one.

    Args:
        texts: gone through once or twice; held in memory when they come from an iterator that ends.
        kind: "bpe", pairs of bytes merged (Sennrich et al. 2016; Radford et al. 2019): nothing is unknown to it and it
            gives every text back; "wordpiece" as BERT has it (Devlin et al. 2019), each Chinese character by itself;
            "unigram" (Kudo 2018), after NFKC and with blanks of any kind as one, by sentencepiece;
            "characters", one id each, as they stand.
        vocab_size: ids at most, special ones included. Short texts may give fewer.
        lowercase: fold upper case before anything else; in "wordpiece" accents go too, as in BERT.
        ends: "bos-eos": ``<s>`` and ``</s>`` around each text; "cls-sep": ``[CLS]`` before and ``[SEP]`` after it,
            types 0 and 1 for pairs, and ``[MASK]``; "none": ``<s>`` and ``</s>`` exist and are put nowhere. By default
            "cls-sep" for wordpiece, else "bos-eos". Each has a pad token, id 0, and but for "bpe" an unknown one.
        max_length: of the model, noted for those who open the tokenizer.

    Raises:
        UserError: an unknown kind, no text, or a vocabulary too small for the kind.
    """
    if kind not in KINDS:
        raise unknown(WHERE, "kind of tokenizer", kind, KINDS)
    ends = ends or ("cls-sep" if kind == "wordpiece" else "bos-eos")
    if ends not in ENDS:
        raise unknown(WHERE, "ends", ends, ENDS)
    settings = _settings(kind, ends, lowercase, max_length)
    fixed = len(settings.roles) + (256 if kind == "bpe" else 0)
    if vocab_size <= fixed:
        has = f"{len(settings.roles)} special tokens" + (" and 256 bytes" if kind == "bpe" else "")
        raise UserError("vocab_size", f"{vocab_size}, but there are {has}", f"ask for more than {fixed}")
    again = texts if iter(texts) is not texts else list(texts)
    core = _TRAINED[kind](again, vocab_size, lowercase, settings)
    core.add_special_tokens([token.built() for token in settings.roles.values()])
    if core.get_vocab_size() > vocab_size:
        what = f"{vocab_size}, but the characters of the texts alone need {core.get_vocab_size()}"
        raise UserError("vocab_size", what, "ask for more, or take bpe, which works on bytes")
    core.post_processor = BERT.finish(core, settings) if ends == "cls-sep" and BERT.finish else _ends(core, ends)
    del settings.config["do_lower_case"]
    return Tokenizer(Opened(core, settings, Path("tokenizer.json")), {})


def _settings(kind: Kind, ends: Ends, lowercase: bool, max_length: int | None) -> Settings:
    """Special tokens and what the tokenizer's configuration will say."""
    roles = dict(_BRACKETS if ends == "cls-sep" else _PLAIN)
    if kind == "bpe":
        del roles["unk"]
    names = ["input_ids", *(["token_type_ids"] if ends == "cls-sep" else []), "attention_mask"]
    config: dict[str, Any] = {"model_input_names": names, "do_lower_case": lowercase}
    if max_length is not None:
        config["model_max_length"] = max_length
    return Settings(WHERE, config, roles={role: Added(content) for role, content in roles.items()})


def _ends(core: Core, ends: Ends) -> Any:
    """bos and eos around a text, or nothing."""
    asked = {"add_bos_token": True, "add_eos_token": True} if ends == "bos-eos" else {}
    return bos_eos_template(core, Settings(WHERE, asked, roles={name: Added(_PLAIN[name]) for name in ("bos", "eos")}))


def _options(vocab_size: int, settings: Settings) -> dict[str, Any]:
    special = [token.built() for token in settings.roles.values()]
    return {"vocab_size": vocab_size, "special_tokens": special, "show_progress": False}


def _bpe(texts: Iterable[str], vocab_size: int, lowercase: bool, settings: Settings) -> Core:
    from tokenizers import normalizers, pre_tokenizers, trainers

    core = FAMILIES["GPT2Tokenizer"].build(Vocabulary(), settings)
    if lowercase:
        core.normalizer = normalizers.Lowercase()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **_options(vocab_size, settings))
    core.train_from_iterator(_pieces(texts), trainer)
    return core


def _wordpiece(texts: Iterable[str], vocab_size: int, lowercase: bool, settings: Settings) -> Core:
    """Pairs merged, most frequent first. Pairs that are equally frequent are merged in the order of their ids, and the
    library gives characters within words ids in no order that lasts: so they get theirs here, before it begins.
    """
    from tokenizers import trainers

    unknown_ = settings.roles["unk"].content
    core = BERT.build(Vocabulary(ids={unknown_: 0}), settings)
    counts: Counter[str] = Counter()
    inner: set[str] = set()
    for text in _pieces(texts):
        for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(text)):
            counts.update(word)
            inner.update(word[1:])
    room, kept = vocab_size - len(settings.roles), []
    for sign, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        room -= 1 + (sign in inner)
        if room < 0:  # the rarest characters become unknown
            break
        kept.append(sign)
    options = _options(vocab_size, settings)
    options["special_tokens"] += [f"##{sign}" for sign in sorted(inner & set(kept))]
    trainer = trainers.WordPieceTrainer(
        continuing_subword_prefix="##", initial_alphabet=kept, limit_alphabet=len(kept), **options
    )
    core.train_from_iterator(_pieces(texts), trainer)
    return BERT.build(Vocabulary(ids=core.get_vocab(with_added_tokens=True)), settings)


def _unigram(texts: Iterable[str], vocab_size: int, lowercase: bool, settings: Settings) -> Core:
    """By sentencepiece: the library `tokenizers` finds other pieces each time."""
    import tempfile

    import sentencepiece

    roles = {role: token.content for role, token in settings.roles.items()}
    options: dict[str, Any] = {}
    for role in ("pad", "unk", "bos", "eos"):
        options[f"{role}_id"] = list(roles).index(role) if role in roles else -1
        if role in roles:
            options[f"{role}_piece"] = roles[role]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trained.model"
        with path.open("wb") as file:
            try:
                sentencepiece.SentencePieceTrainer.train(
                    sentence_iterator=(text.replace("\0", " ") for text in _pieces(texts)),
                    model_writer=file,
                    model_type="unigram",
                    vocab_size=vocab_size,
                    hard_vocab_limit=False,
                    normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
                    control_symbols=[roles[role] for role in ("cls", "sep", "mask") if role in roles],
                    max_sentence_length=8 * PIECE,
                    num_threads=1,
                    minloglevel=2,
                    **options,
                )
            except UserError:
                raise
            except (RuntimeError, OSError) as fault:
                reason = " ".join(str(fault).split())[-160:]
                remedy = "ask for another vocab_size, or give more text"
                raise UserError(WHERE, f"cannot be trained on these texts ({reason})", remedy) from None
        model = protobuf.read(path)
    scored = [(piece.text, piece.score) for piece in model.pieces]
    return FAMILIES["T5Tokenizer"].build(
        Vocabulary(scored=scored, unk_id=model.unk_id, charsmap=model.charsmap), settings
    )


def _characters(texts: Iterable[str], vocab_size: int, lowercase: bool, settings: Settings) -> Core:
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
    from tokenizers.models import WordLevel

    unknown_ = settings.roles["unk"].content
    core = Tokenizer(WordLevel({unknown_: 0}, unk_token=unknown_))
    if lowercase:
        core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    core.train_from_iterator(_pieces(texts), trainers.WordLevelTrainer(**_options(vocab_size, settings)))
    return core


_TRAINED: dict[str, Callable[[Iterable[str], int, bool, Settings], Core]] = {
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
    "characters": _characters,
}


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """The texts, long ones in pieces; characters that no encoding of Unicode can express are replaced.

    Raises:
        UserError: there is no text, or something that is none.
    """
    found = False
    for text in texts:
        if not isinstance(text, str):
            raise UserError(WHERE, f"a {type(text).__name__} where a text should be", "give str")
        found = found or bool(text.strip())
        for start in range(0, len(text), PIECE):
            yield whole(text[start : start + PIECE])
    if not found:
        raise UserError(WHERE, "there is no text to train on", "give texts that hold something")
