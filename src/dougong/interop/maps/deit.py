"""DeiT: ``deit`` in the Hugging Face layout; ViT's names, and a second token."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.vit import NAMES, SILENT, blocks, foreign, shared
from dougong.interop.names import head_of, n_classes
from dougong.interop.transforms import Lead, Pile, Then

HEADS = {"DeiTForImageClassificationWithTeacher": "teacher", "DeiTForImageClassification": "label", "DeiTModel": None}


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    head = head_of(theirs, HEADS)
    classes = n_classes(theirs) if head else None
    d_ff = theirs.count("intermediate_size", 3072)
    return {**shared(theirs), "d_ff": d_ff, "n_classes": classes, "teacher": head != "label"}


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    head = None if not ours["n_classes"] else "teacher" if ours["teacher"] else "label"
    kind = next(kind for kind, mine in HEADS.items() if mine == head)
    return {"model_type": "deit", "architectures": [kind], **foreign(ours), "intermediate_size": ours["d_ff"]}


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    head = [Key("classifier.*", "head.linear.*")]
    if ours["teacher"]:
        head = [
            Key("cls_classifier.*", "head.heads.label.linear.*"),
            Key("distillation_classifier.*", "head.heads.teacher.linear.*"),
        ]
    tokens = tuple(f"deit.embeddings.{name}_token" for name in ("cls", "distillation"))
    prefix = Key(tokens, "embedding.prefix", Then(Lead(2), Pile()))
    return [prefix, *blocks("deit", *NAMES), *(head if ours["n_classes"] else [])]


MAP = Map(
    "deit", ("deit",), ours, theirs, keys, prefix="deit.", headless=("DeiTModel",),
    ignored=(r"deit\.pooler\.dense\..*", r"deit\.embeddings\.mask_token"), silent=SILENT,
)  # fmt: skip
