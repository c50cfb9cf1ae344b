"""Small models that write, theirs and ours, with the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

import dougong

SMALL: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 24, "intermediate_size": 28, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
BART: dict[str, Any] = {
    "vocab_size": 61, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 28, "decoder_ffn_dim": 28, "max_position_embeddings": 128,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 61, "d_model": 24, "d_kv": 6, "d_ff": 28, "num_layers": 2, "num_heads": 4,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, "decoder_start_token_id": 0,
}  # fmt: skip
GPT2: dict[str, Any] = {"vocab_size": 61, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 128}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "llama": ("LlamaForCausalLM", "LlamaConfig", SMALL),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**SMALL, "sliding_window": 5}),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", SMALL),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**SMALL, "head_dim": 6}),
    "gemma2": (
        "Gemma2ForCausalLM",
        "Gemma2Config",
        {**SMALL, "head_dim": 6, "sliding_window": 4, "query_pre_attn_scalar": 5, "tie_word_embeddings": False},
    ),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "flan-t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART),
    "marian": ("MarianMTModel", "MarianConfig", {**BART, "activation_function": "swish", "scale_embedding": True}),
}  # fmt: skip
READERS = ("t5", "flan-t5", "bart", "marian")
PROMPTS = [[5, 9, 11], [7], [8, 3, 4, 20, 33, 12, 6], [10, 30, 50]]


def pair(name: str, folder: Path) -> tuple[Any, Any]:
    """Their model and ours with the same weights, large enough that no two scores are close."""
    import transformers

    kind, config, values = KINDS[name]
    torch.manual_seed(3)
    theirs: Any = getattr(transformers, kind)(getattr(transformers, config)(**values))
    with torch.no_grad():
        for weight in (one for one in theirs.parameters() if one.requires_grad):  # not Marian's fixed waves
            weight.copy_(torch.randn_like(weight) * 0.3 if weight.dim() > 1 else weight)
    # what the files say is followed, in a test of its own
    theirs.generation_config.eos_token_id = theirs.generation_config.forced_eos_token_id = None
    theirs.eval().save_pretrained(folder)
    return theirs, dougong.load(folder)


def written_by(theirs: Any, prompt: list[int], **settings: Any) -> list[list[int]]:
    """The new tokens that Transformers writes after one prompt, padding taken off; one list a returned text."""
    ids = torch.tensor([prompt])
    texts = theirs.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=60, **settings).tolist()
    skip = 1 if theirs.config.is_encoder_decoder else len(prompt)
    return [_stripped(text[skip:]) if len(texts) > 1 else text[skip:] for text in texts]


def _stripped(text: list[int]) -> list[int]:
    while text and text[-1] == 60:  # several texts are padded to one length; where they are asked for, 60 is banned
        text = text[:-1]
    return text


TEXT = "the quick brown fox jumps over the lazy dog. 木构件不用一根钉子。 naïve café 🙂 " * 3


def with_tokenizer(folder: Path) -> Path:
    """A small GPT-2 of 96 places with a byte-level tokenizer of its own, in Hugging Face layout."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    core.train_from_iterator([TEXT], trainer)
    core.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    settings["chat_template"] = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    sizes = {"vocab_size": core.get_vocab_size(), "d_model": 24, "n_layers": 2, "n_heads": 4, "max_length": 96}
    model = dougong.build("gpt2-small", seed=1, **sizes)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.4 if weight.dim() > 1 else weight)
    dougong.save(model, folder)
    return folder
