"""Writing and reading with a Llama of 125M parameters and with GPT-2, beside Transformers, llama.cpp and CTranslate2.

python benchmarks/decoding.py [--cases one sixteen prefill gpt2] [--rounds 5] [--threads 4] [--quick]

All have the same random weights. Logits after a prompt are compared, and in float32 the tokens that are written. Rates
are of whole runs: 8 tokens are read and 64 written. "share_of_memory" is the rate over that of reading the weights once
for every token at the bandwidth that `dougong bench` measures.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import CLOSE, apart, beside, options, peer, prepared, random_weights, say
from gguf_file import Runner, write
from record import in_turns, record

import dougong

CASES = ("one", "sixteen", "prefill", "gpt2")
PROMPT = 8
WIDTHS = {"float32": 4, "bf16": 2, "int8": 1 + 1 / 16, "int4": 1 / 2 + 1 / 16}
LOOSE = {"bf16": 0.1, "int8": 0.1, "int4": float("inf")}
"""How far logits may lie apart, as a share of the largest, where weights or arithmetic are narrower.

Random weights lose all in 4 bits; what trained ones lose is measured on text (perplexity.py)."""
GOALS = (
    "batch 1 float32: 4.5 times Transformers, 1.0 llama.cpp f32, 0.85 of memory; int8: 1.0 llama.cpp q8_0; int4: 1.0 "
    "llama.cpp q4_0; batch 16 float32: 3 times Transformers; prefill of 512: 2.2 (float32) and 1.4 (bf16) times "
    "Transformers"
)

Runs = dict[str, Callable[[], Any]]


class Models:
    """The same weights in every library.

    Args:
        given: the options.
        folder: for their files.
        theirs: of Transformers, with random weights.
    """

    def __init__(self, given: Any, folder: Path, theirs: Any) -> None:
        self.given, self.folder, self.theirs = given, folder, theirs
        theirs.generation_config.eos_token_id = None
        theirs.save_pretrained(folder)
        self.vocabulary = int(theirs.config.vocab_size)
        numbers = torch.Generator().manual_seed(1)
        self.prompts = torch.randint(0, self.vocabulary, (16, 512), generator=numbers).tolist()
        self.halves: Any = None

    def ours(self, precision: str) -> Any:
        """Loaded anew, as preparing rewrites it."""
        return prepared(dougong.load(self.folder), precision)

    def other(self, precision: str) -> Any:
        """Of Transformers."""
        if precision == "float32":
            return self.theirs
        self.halves = self.halves if self.halves is not None else copy.deepcopy(self.theirs).bfloat16()
        return self.halves

    def write_ours(self, model: Any, rows: list[list[int]], count: int) -> list[list[int]]:
        """Greedy tokens."""
        return [list(one.tokens) for one in dougong.generate(model, rows, max_new_tokens=count, end=())]

    def write_theirs(self, model: Any, rows: list[list[int]], count: int) -> list[list[int]]:
        """Greedy tokens."""
        ids = torch.tensor(rows)
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count, pad_token_id=0
        )
        return found[:, ids.shape[1] :].tolist()


def close(precision: str, found: Any, reference: Any) -> float:
    """How far logits lie apart.

    Raises:
        SystemExit: too far.
    """
    distance = apart(found, reference)
    bound = CLOSE if precision == "float32" else LOOSE[precision] * float(torch.as_tensor(reference).abs().max())
    if distance > bound:
        raise SystemExit(f"{precision}: logits are {distance:.2e} apart, more than {bound:.2e}")
    return distance


def logits(model: Any, prompt: list[int]) -> torch.Tensor:
    """Of either PyTorch library, after a prompt."""
    with torch.inference_mode():
        return model(torch.tensor([prompt])).logits[0, -1].float()


def llama(models: Models, bandwidth: float) -> dict[str, Any]:
    """The cases of the Llama."""
    given, figures = models.given, {}
    count, reference = (8 if given.quick else 64), logits(models.theirs, models.prompts[0][:PROMPT])
    config = models.theirs.config
    multiplied = sum(p.numel() for p in models.theirs.parameters()) - config.vocab_size * config.hidden_size
    foreign = peer("llama_cpp") if peer("gguf") else None
    for case, precision, batch in (
        ("one", "float32", 1), ("one", "bf16", 1), ("one", "int8", 1), ("one", "int4", 1), ("sixteen", "float32", 16),
        ("prefill", "float32", 1), ("prefill", "bf16", 1),
    ):  # fmt: skip
        if case not in given.cases:
            continue
        length, new = (64 if given.quick else 512, 1) if case == "prefill" else (PROMPT, count)
        rows = [row[:length] for row in models.prompts[:batch]]
        name, told, texts, runs = f"{case}, {precision}", {}, {}, {}
        ours = models.ours(precision)
        if ours is not None:
            told["dougong_apart"] = close(precision, logits(ours, rows[0][:PROMPT]), reference)
            runs["dougong"] = lambda m=ours, r=rows, n=new: models.write_ours(m, r, n)
        if precision in ("float32", "bf16"):
            other = models.other(precision)
            runs["transformers"] = lambda m=other, r=rows, n=new: models.write_theirs(m, r, n)
        kind = {"float32": "F32", "int8": "Q8_0", "int4": "Q4_0"}.get(precision)
        if foreign is not None and kind and batch == 1:
            file = models.folder / f"{kind}.gguf"
            if not file.exists():
                write(models.theirs, file, kind)
            runner = Runner(file, torch.get_num_threads(), length + new + 8, exact=precision == "float32")
            told["llama.cpp_apart"] = close(precision, runner.read(rows[0][:PROMPT]), reference)
            runs["llama.cpp"] = lambda r=rows[0], n=new, one=runner: [one.write(r, n)]
        texts = {who: run() for who, run in runs.items()}
        if precision == "float32" and any(text != texts["transformers"] for text in texts.values()):
            raise SystemExit(f"{name}: not all wrote the same tokens")
        seconds = in_turns(runs, given.rounds, warmup=0, most=60.0)
        told |= beside(seconds, batch * (length if case == "prefill" else new), "tokens")
        if case != "prefill" and "dougong" in runs:
            limit = batch * bandwidth / (multiplied * WIDTHS[precision])
            told["share_of_memory"] = told["dougong_tokens_per_second"] / limit
        figures[name] = told
        say(name, told)
        if not given.dry:  # what is measured stays, whatever happens to the rest
            record("decoding", {"bandwidth": bandwidth, "goal": GOALS, **figures})
    return figures


def gpt2(models: Models) -> dict[str, Any]:
    """GPT-2 beside Transformers and CTranslate2."""
    new, row = (8 if models.given.quick else 64), models.prompts[0][:PROMPT]
    ours = models.ours("float32")
    runs: Runs = {
        "dougong": lambda: models.write_ours(ours, [row], new),
        "transformers": lambda: models.write_theirs(models.theirs, [row], new),
    }
    told: dict[str, Any] = {"dougong_apart": close("float32", logits(ours, row), logits(models.theirs, row))}
    fast = peer("ctranslate2")
    if fast is not None:
        from ctranslate2.converters.transformers import GPT2Loader

        words = [f"t{number}" for number in range(models.vocabulary)]
        models.theirs.config.activation_function = "gelu_new"
        made = GPT2Loader().get_model_spec(models.theirs)
        made.register_vocabulary(words)
        made.config.unk_token = made.config.bos_token = made.config.eos_token = words[0]
        made.validate()
        made.optimize()
        made.save(str(models.folder))
        runner = fast.Generator(str(models.folder), device="cpu", intra_threads=torch.get_num_threads())
        prompt = [words[token] for token in row]

        def write_fast() -> list[list[int]]:
            found = runner.generate_batch(
                [prompt], max_length=new, min_length=new, sampling_topk=1, include_prompt_in_result=False,
                end_token=[], cache_static_prompt=False,
            )  # fmt: skip
            return [list(found[0].sequences_ids[0])]

        runs["ctranslate2"] = write_fast
    texts = {who: run() for who, run in runs.items()}
    if any(text != texts["transformers"] for text in texts.values()):
        raise SystemExit(f"gpt2: not all wrote the same tokens: {texts}")
    told |= beside(in_turns(runs, models.given.rounds, warmup=0, most=60.0), new, "tokens")
    say("gpt2, float32", told)
    return {"gpt2, float32": told}


def main() -> None:
    """Measure, print, record."""
    given = options(__doc__, cases={"nargs": "+", "default": CASES, "choices": CASES})
    transformers = peer("transformers")
    if transformers is None:
        raise SystemExit("nothing to compare with")
    from dougong.cost.limits import limits

    bandwidth = limits("cpu").bandwidth
    figures: dict[str, Any] = {"bandwidth": bandwidth, "goal": GOALS}
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048, "vocab_size": 32000}
    if given.quick:
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 512}
    if set(given.cases) - {"gpt2"}:
        heads = sizes["hidden_size"] // 64
        config = transformers.LlamaConfig(
            **sizes, num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=2048
        )
        with tempfile.TemporaryDirectory() as folder:
            theirs = random_weights(transformers.LlamaForCausalLM(config))
            figures |= llama(Models(given, Path(folder), theirs), bandwidth)
    if "gpt2" in given.cases:
        small = {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 512} if given.quick else {}
        with tempfile.TemporaryDirectory() as folder:
            theirs = random_weights(transformers.GPT2LMHeadModel(transformers.GPT2Config(**small)))
            figures |= gpt2(Models(given, Path(folder), theirs))
    if not given.dry:
        record("decoding", figures)


if __name__ == "__main__":
    main()
