"""Names that several foreign configurations share, and ours for them."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign

# theirs -> ours; the first of several with one meaning is what we write
ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "relu": "relu", "silu": "silu", "swish": "silu", "tanh": "tanh", "quick_gelu": "gelu_quick",
}  # fmt: skip


def activation(theirs: Foreign, key: str, default: str = "gelu") -> str:
    """Our name of the activation that a key names."""
    return ACTIVATIONS[theirs.only(key, *dict.fromkeys([default, *ACTIVATIONS]))]


def foreign_activation(ours: str, preferred: str = "") -> str:
    """Their name of ours; of several with one meaning the preferred one. A name that only we have stays as it is."""
    if ACTIVATIONS.get(preferred) == ours:
        return preferred
    return next((theirs for theirs, mine in ACTIVATIONS.items() if mine == ours), ours)


def n_classes(theirs: Foreign) -> int:
    """How many labels there are; two where none are named, as the reference library has it."""
    labels: Any = theirs.take("id2label", None, kind=dict)
    return len(labels) if labels else int(theirs.take("num_labels", 2, kind=int))


def head_of(theirs: Foreign, heads: dict[str, str | None], default: str | None = None) -> str | None:
    """Our head for the class that "architectures" names; ``default`` when it names none.

    Raises:
        UserError: a class that we do not build.
    """
    named = theirs.take("architectures", [], kind=list)
    if not named:
        return default
    return heads[theirs.only("architectures", *[[name] for name in heads])[0]]


SCALING_KEYS = {
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor", "low": "low_freq_factor", "high": "high_freq_factor",
        "original_length": "original_max_position_embeddings",
    },
    "yarn": {
        "factor": "factor", "fast": "beta_fast", "slow": "beta_slow", "attention": "attention_factor",
        "whole": "truncate", "original_length": "original_max_position_embeddings",
    },
}  # fmt: skip


def rope(theirs: Foreign, base: float = 10000.0) -> dict[str, Any]:
    """Our ``rope_base`` and ``rope_scaling`` for theirs, as Transformers 5 or 4 write them.

    Raises:
        UserError: a scaling, or a setting of one, that we do not build.
    """
    theirs.ignore("rope_parameters", "rope_scaling")
    both = [theirs.inside(key) for key in ("rope_parameters", "rope_scaling")]
    found = next((each for each in both if each.values), both[0])
    kind = found.only("rope_type", *["default", *SCALING_KEYS], default=found.take("type", "default"))
    found.ignore("type")
    settings: dict[str, Any] = {}
    if kind != "default":
        settings["kind"] = kind
        for ours, key in SCALING_KEYS[kind].items():
            if found.take(key, None, kind=object) is not None:
                settings[ours] = found.take(key, None, kind=object)
        if kind == "yarn" and "original_length" not in settings:
            settings["original_length"] = theirs.count("max_position_embeddings")
    rope_base = found.take("rope_theta", None, kind=float)
    if rope_base is None:
        rope_base = theirs.take("rope_theta", base)
    theirs.ignore("rope_theta")
    found.finish()
    return {"rope_base": float(rope_base), "rope_scaling": settings or None}


def foreign_rope(ours: dict[str, Any]) -> dict[str, Any]:
    """``rope_parameters`` as Transformers 5 writes them, beside ``rope_theta`` and ``rope_scaling`` as 4 does."""
    settings = dict(ours["rope_scaling"] or {})
    kind = settings.pop("kind", "default")
    named = {SCALING_KEYS[kind][key]: value for key, value in settings.items()} if settings else {}
    base = {"rope_theta": ours["rope_base"]}
    old = {"rope_scaling": {"rope_type": kind, **named}} if named else {}
    return {"rope_parameters": {**base, "rope_type": kind, **named}, **base, **old}
