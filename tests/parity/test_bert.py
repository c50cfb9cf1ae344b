"""BERT loaded from and saved to the Hugging Face layout, with each of its heads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import check_family
from torch import Tensor, nn

import dougong
from dougong.errors import UserError

CONFIG: dict[str, Any] = {
    "vocab_size": 29, "max_position_embeddings": 13, "type_vocab_size": 3, "hidden_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 3, "intermediate_size": 20, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
}  # fmt: skip
LENGTHS = torch.tensor([11, 7, 1])
TOKENS = torch.randint(1, 29, (3, 11), generator=torch.Generator().manual_seed(1))
TYPES = torch.randint(0, 3, (3, 11), generator=torch.Generator().manual_seed(2))
REAL = torch.arange(11) < LENGTHS[:, None]


def real(answer: Tensor) -> Tensor:
    """Answers at padded places mean nothing."""
    return answer[REAL] if answer.dim() == 3 else answer


def ours_of(model: nn.Module) -> Tensor:
    return real(model(TOKENS, LENGTHS, types=TYPES).logits)


def theirs_of(model: nn.Module) -> Tensor:
    output = model(TOKENS, attention_mask=REAL.long(), token_type_ids=TYPES)
    if hasattr(output, "start_logits"):
        return real(torch.stack((output.start_logits, output.end_logits), -1))
    return real(output.pooler_output if hasattr(output, "pooler_output") else output.logits)


@pytest.mark.parametrize(
    "kind",
    ["BertForMaskedLM", "BertModel", "BertForSequenceClassification", "BertForTokenClassification",
     "BertForQuestionAnswering"],
)  # fmt: skip
def test_each_head(kind: str, tmp_path: Path) -> None:
    import transformers

    labels = {"num_labels": 4} if kind.endswith("Classification") else {}
    check_family(
        lambda: getattr(transformers, kind)(transformers.BertConfig(**CONFIG, **labels)), ours_of, theirs_of, tmp_path
    )


def test_other_activation_and_norm(tmp_path: Path) -> None:
    import transformers

    config = transformers.BertConfig(**CONFIG, hidden_act="gelu_new", layer_norm_eps=1e-3)
    model = check_family(lambda: transformers.BertForMaskedLM(config), ours_of, theirs_of, tmp_path)
    assert model.config["activation"] == "gelu_tanh" and model.config["eps"] == 1e-3


def test_without_its_pooler_it_stays_without(tmp_path: Path) -> None:
    import transformers

    theirs = transformers.BertModel(transformers.BertConfig(**CONFIG), add_pooling_layer=False).eval()
    theirs.save_pretrained(tmp_path)
    ours = dougong.load(tmp_path)
    hidden = theirs(TOKENS, attention_mask=REAL.long(), token_type_ids=TYPES).last_hidden_state
    torch.testing.assert_close(real(ours(TOKENS, LENGTHS, types=TYPES).hidden), real(hidden), rtol=0, atol=1e-5)
    assert ours.head is None
    assert dougong.load(dougong.save(ours, tmp_path / "back", layout="huggingface")).config == ours.config


def test_labels_come_along(tmp_path: Path) -> None:
    import transformers

    names = {0: "错", 1: "right", 2: "unsure"}
    config = transformers.BertConfig(**CONFIG, id2label=names, label2id={name: index for index, name in names.items()})
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    model = dougong.load(tmp_path)
    assert model.card["labels"] == list(names.values())
    assert model.card["tokens"] == {"pad": 0}
    dougong.save(model, tmp_path / "back")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "back")
    assert again.config.id2label == names


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key' is not supported"),
        ({"is_decoder": True}, "is_decoder=True is not supported"),
        ({"hidden_act": "mish"}, "hidden_act='mish' is not supported"),
        ({"quantum": 7}, "quantum=7 is neither handled nor known to be harmless"),
        ({"hidden_size": 13}, "divide"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"hidden_size": "12"}, "hidden_size='12'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
        ({"vocab_size": 10**12}, "vocab_size=1000000000000"),
        ({"intermediate_size": 21}, "gives (20, 12), not (21, 12)"),
        ({"num_hidden_layers": 3}, "lacks bert.encoder.layer.2"),
        ({"num_hidden_layers": 1}, "unknown"),
        ({"architectures": ["BertForMultipleChoice"]}, "BertForMultipleChoice"),
        ({"model_type": "berd"}, "did you mean 'bert'"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "its own code"),
    ],
)
def test_what_we_do_not_build_is_refused_by_name(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    import json

    import transformers

    transformers.BertForMaskedLM(transformers.BertConfig(**CONFIG)).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError) as error:
        dougong.load(tmp_path)
    assert said in str(error.value) and str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_types_are_refused_where_there_are_none() -> None:
    build: Callable[..., nn.Module] = dougong.build
    model = build("gpt2", vocab_size=9, d_model=8, n_layers=1, n_heads=2)
    with pytest.raises(ValueError, match="types"):
        model(TOKENS % 9, types=TYPES)
