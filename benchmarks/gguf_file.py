"""A Llama of Transformers as a file that llama.cpp opens, without a vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
OUTER = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}  # fmt: skip


def write(model: Any, path: Path, kind: str) -> None:
    """Write a LlamaForCausalLM with untied tables.

    Args:
        model: of Transformers.
        path: of the file.
        kind: "F32", "Q8_0" or "Q4_0"; norms stay float32.
    """
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("random")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    quantised = getattr(gguf.GGMLQuantizationType, kind)
    for name, weight in model.state_dict().items():
        values = weight.float().numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        if name in OUTER:
            other = OUTER[name]
        else:
            _, _, number, rest = name.split(".", 3)
            other = f"blk.{number}.{NAMES[rest.removesuffix('.weight')]}.weight"
            for projection, count in heads.items():
                if projection in rest:  # llama.cpp rotates neighbours, Transformers halves
                    width = values.shape[0] // count // 2
                    values = values.reshape(count, 2, width, -1).swapaxes(1, 2).reshape(values.shape)
        if values.ndim > 1 and kind != "F32":
            writer.add_tensor(other, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(other, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Runner:
    """llama.cpp with one file: logits of a prompt, and greedy texts.

    Args:
        path: of the file.
        threads: that work.
        context: tokens that it has room for.
        exact: keys and values in float32, as elsewhere; by default llama.cpp keeps them in float16.
    """

    def __init__(self, path: Path, threads: int, context: int, exact: bool) -> None:
        import llama_cpp

        wide = {"type_k": 0, "type_v": 0} if exact else {}  # GGML_TYPE_F32
        self.llama: Any = llama_cpp.Llama(
            str(path), n_ctx=context, n_threads=threads, n_threads_batch=threads, n_batch=512, n_ubatch=512,
            verbose=False, **wide,
        )  # fmt: skip

    def read(self, prompt: list[int]) -> Any:
        """The logits (V,) after a prompt."""
        self.llama.reset()
        self.llama._ctx.kv_cache_clear()
        self.llama.eval(prompt)
        return self._last()

    def write(self, prompt: list[int], count: int) -> list[int]:
        """So many most probable tokens."""
        scores, found = self.read(prompt), []
        for left in range(count, 0, -1):
            found.append(int(scores.argmax()))
            if left > 1:
                self.llama.eval([found[-1]])
                scores = self._last()
        return found

    def _last(self) -> Any:
        import numpy as np

        size = self.llama.n_vocab()
        return np.ctypeslib.as_array(self.llama._ctx.get_logits_ith(-1), (size,))
