"""GPT-2: ``gpt2`` in the Hugging Face layout, whose projections are fused and stored (in, out)."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.llama import answer
from dougong.interop.names import head_of, n_classes
from dougong.interop.transforms import Split, Then, Transpose

HEADS = {
    "GPT2LMHeadModel": "causal-language", "GPT2Model": None, "GPT2ForSequenceClassification": "sequence",
    "GPT2ForTokenClassification": "tokens",
}  # fmt: skip


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    head = head_of(theirs, HEADS, "causal-language")
    theirs.only("classifier_dropout", None, 0.1)
    theirs.only("activation_function", "gelu_new", "gelu_pytorch_tanh")
    theirs.only("layer_norm_epsilon", 1e-5)
    theirs.only("scale_attn_weights", True)
    for key in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"):
        theirs.only(key, False)
    theirs.only("tie_word_embeddings", True)
    dropout = theirs.take("resid_pdrop", 0.1)
    for key in ("embd_pdrop", "attn_pdrop"):
        theirs.only(key, dropout, default=0.1)
    d_model = theirs.count("n_embd", 768)
    d_ff = theirs.take("n_inner", None)
    return {
        "vocab_size": theirs.count("vocab_size", 50257),
        "max_length": theirs.count("n_positions", 1024),
        "d_model": d_model,
        "n_layers": theirs.count("n_layer", 12, most=10_000),
        "n_heads": theirs.count("n_head", 12),
        "d_ff": None if d_ff is None or d_ff == 4 * d_model else d_ff,
        "dropout": dropout,
        "head": head,
        "n_classes": n_classes(theirs) if head in ("sequence", "tokens") else 2,
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    return {
        "model_type": "gpt2",
        "architectures": [next(kind for kind, head in HEADS.items() if head == ours["head"])],
        **({"num_labels": ours["n_classes"]} if ours["head"] in ("sequence", "tokens") else {}),
        "activation_function": "gelu_new",
        "vocab_size": ours["vocab_size"],
        "n_positions": ours["max_length"],
        "n_ctx": ours["max_length"],
        "n_embd": ours["d_model"],
        "n_layer": ours["n_layers"],
        "n_head": ours["n_heads"],
        "n_inner": ours["d_ff"],
        "layer_norm_epsilon": 1e-5,
        **{f"{where}_pdrop": ours["dropout"] for where in ("resid", "embd", "attn")},
        "tie_word_embeddings": True,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    block, attention = "body.blocks.{i}", "body.blocks.{i}.attention.body"
    sides = ("query", "key", "value")
    return [
        Key("transformer.wte.weight", "embedding.weight"),
        Key("transformer.wpe.weight", "body.positions.all.weight"),
        Key("transformer.h.{i}.ln_1.*", f"{block}.attention.before.*"),
        Key(
            "transformer.h.{i}.attn.c_attn.weight",
            tuple(f"{attention}.{side}.weight" for side in sides),
            Then(Transpose(), Split()),
        ),
        Key("transformer.h.{i}.attn.c_attn.bias", tuple(f"{attention}.{side}.bias" for side in sides), Split()),
        Key("transformer.h.{i}.attn.c_proj.weight", f"{attention}.output.weight", Transpose()),
        Key("transformer.h.{i}.attn.c_proj.bias", f"{attention}.output.bias"),
        Key("transformer.h.{i}.ln_2.*", f"{block}.feed_forward.before.*"),
        Key("transformer.h.{i}.mlp.c_fc.weight", f"{block}.feed_forward.body.up.weight", Transpose()),
        Key("transformer.h.{i}.mlp.c_fc.bias", f"{block}.feed_forward.body.up.bias"),
        Key("transformer.h.{i}.mlp.c_proj.weight", f"{block}.feed_forward.body.down.weight", Transpose()),
        Key("transformer.h.{i}.mlp.c_proj.bias", f"{block}.feed_forward.body.down.bias"),
        Key("transformer.ln_f.*", "body.after.*"),
        *answer(ours, "classifier"),
    ]


MAP = Map(
    "gpt2",
    ("gpt2",),
    ours,
    theirs,
    keys,
    prefix="transformer.",
    headless=("GPT2Model",),
    repeats=(("lm_head.weight", "transformer.wte.weight"),),
    ignored=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
    silent=("n_ctx", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
            "summary_first_dropout"),
)  # fmt: skip
