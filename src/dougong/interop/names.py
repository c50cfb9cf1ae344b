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


def foreign_activation(ours: str) -> str:
    """Their name of ours; a name that only we have stays as it is."""
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
