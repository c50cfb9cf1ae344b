"""The family that the tutorial adds: a wrong map is refuted by the page itself, and its file works as a package."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from support.foreign import check_family
from support.registering import forgotten
from support.tutorials import Page, read, run

import dougong
from dougong.architectures.registry import ENTRY_POINTS, families
from dougong.errors import UserError

PATH = Path(__file__).parents[2] / "docs" / "tutorials" / "add-a-family.md"
FILE = re.compile(r'^```python title="gpt_neox.py"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PROOF = 'assert certificate["passed"]'


def own_file() -> str:
    """The cells that the page says go into a file."""
    return "\n".join(FILE.findall(PATH.read_text(encoding="utf-8")))


def up_to_the_proof(change: Callable[[str], str]) -> Page:
    """The page with its code changed, up to the proof and without the cells on the way that only show something."""
    page = read(PATH)
    last = next(number for number, cell in enumerate(page.cells) if PROOF in cell.code)
    cells = [cell for cell in page.cells[: last + 1] if "execute(" not in cell.code and "pythia" not in cell.code]
    changed = [dataclasses.replace(cell, code="import dougong as dg\n" + change(cell.code)) for cell in cells]
    return dataclasses.replace(page, cells=changed)


def replaced(old: str, new: str) -> Callable[[str], str]:
    assert own_file().count(old) == 1, f"{old!r} does not stand in the page once"
    return lambda code: code.replace(old, new)


def test_the_page_up_to_its_proof_passes(tmp_path: Path) -> None:
    run(up_to_the_proof(str), tmp_path)
    assert "gpt_neox" not in families(), "the page's family outlives it"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('Then(HeadByHead(ours["n_heads"]), Split())', "Split()"),
        ('("query", "key", "value")', '("key", "query", "value")'),
        ("(self.n_heads, 3, -1)", "(3, self.n_heads, -1)"),
        ("int(d_model // n_heads * rotary_share)", "d_model // n_heads"),
        ("for body in (attention, network)", "for body in (network, attention)"),
        ('join="sum"', 'join="channels"'),
        ("mask=Causal(), ", ""),
        ('"eps": theirs.take("layer_norm_eps", 1e-5)', '"eps": 1e-3 + 0 * theirs.take("layer_norm_eps", 1e-5)'),
        ('Key("gpt_neox.embed_in.weight", "embedding.weight")', 'Key("embed_out.weight", "embedding.weight")'),
    ],
)
def test_a_wrong_map_or_function_makes_the_page_fail(old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(up_to_the_proof(replaced(old, new)), tmp_path)


def test_the_family_keeps_every_promise_of_ours(tmp_path: Path) -> None:
    """Gradients, padding, a second run in float64, a round trip, every weight permuted in turn."""
    (tmp_path / "gpt_neox.py").write_text(own_file(), encoding="utf-8")
    config = transformers.GPTNeoXConfig(
        vocab_size=29, max_position_embeddings=16, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=20, hidden_act="gelu_new", layer_norm_eps=1e-3, bos_token_id=0, eos_token_id=0,
        rope_parameters={"rope_theta": 500.0, "partial_rotary_factor": 0.5, "rope_type": "default"},
    )  # fmt: skip
    tokens, lengths = torch.randint(29, (2, 7), generator=torch.Generator().manual_seed(0)), torch.tensor([7, 4])
    real = torch.arange(7) < lengths[:, None]
    with forgotten():
        sys.path.insert(0, str(tmp_path))
        try:
            import gpt_neox  # type: ignore[import-not-found]  # noqa: F401
        finally:
            sys.path.remove(str(tmp_path))
            sys.modules.pop("gpt_neox", None)
        check_family(
            lambda: transformers.GPTNeoXForCausalLM(config),
            lambda ours: ours(tokens, lengths).logits[real],
            lambda theirs: theirs(tokens, attention_mask=real.long()).logits[real],
            tmp_path / "work",
        )


def test_its_file_works_as_a_package_on_the_command_line(tmp_path: Path) -> None:
    site = tmp_path / "site"
    metadata = site / "dougong_gpt_neox-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "gpt_neox.py").write_text(own_file(), encoding="utf-8")
    stated = re.search(r"```toml\n(.*?)```", PATH.read_text(encoding="utf-8"), re.DOTALL)
    assert stated is not None and f'[project.entry-points."{ENTRY_POINTS}"]\ngpt_neox = "gpt_neox"' in stated[1]
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dougong-gpt-neox\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\ngpt_neox = gpt_neox\n")
    config = transformers.GPTNeoXConfig(
        vocab_size=29, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5, "rope_type": "default"},
    )  # fmt: skip
    transformers.GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "theirs")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "dougong", "convert", "theirs", "ours", "--to", "dougong", "--certify"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    certificate = json.loads((tmp_path / "ours" / "certificate.json").read_text())
    assert certificate["passed"] and certificate["against"] == "transformers"
    with pytest.raises(UserError, match="unknown model_type 'gpt_neox'"):
        dougong.load(tmp_path / "theirs")  # here nobody has brought the family
