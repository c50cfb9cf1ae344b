"""Families and maps from outside the package: registered by hand, or found as entry points of installed packages."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.registering import forgotten
from torch import nn

import dougong
from dougong.architectures import registry
from dougong.architectures.registry import architecture, families, register
from dougong.architectures.textcnn import textcnn
from dougong.errors import UserError
from dougong.interop import mapping
from dougong.interop.mapping import maps

OWN = """
from dougong.architectures import architecture
from dougong.architectures.gpt2 import gpt2
from dougong.interop.mapping import maps, register
from dataclasses import replace


@architecture
def letters(*, d_model: int = 8) -> object:
    \"\"\"Reads letters.\"\"\"
    return gpt2(vocab_size=26, max_length=16, d_model=d_model, n_layers=1, n_heads=2)


register(replace(maps()["gpt2"], architecture="letters", model_types=("letters",)))
"""


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with forgotten():
        yield


def letters(*, d_model: int = 8) -> nn.Module:
    """Reads letters."""
    return textcnn(vocab_size=26, d_model=d_model, n_classes=2)


def test_a_registered_function_is_a_family_like_ours(tmp_path: Path) -> None:
    known = set(families())
    assert architecture(letters) is letters
    assert set(families()) - known == {"letters"}
    model = dougong.build("letters", d_model=6, seed=0).eval()
    assert model.config == {"architecture": "letters", "d_model": 6}
    again = dougong.load(dougong.save(model, tmp_path))
    tokens = torch.arange(12)[None]
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    with pytest.raises(UserError, match="did you mean 'd_model'"):
        dougong.build("letters", d_modle=6)


def test_a_family_of_ones_own_may_be_registered_again_and_one_of_ours_not() -> None:
    register("letters", letters)
    register("letters", letters, d_model=4)
    assert families()["letters"].fixed == {"d_model": 4}
    with pytest.raises(UserError, match=r"^gpt2: is a family of dougong already"):
        register("gpt2", letters)
    assert families()["gpt2"].function is not letters


def refused(change: Callable[[mapping.Map], mapping.Map]) -> str:
    """What registering a changed map of GPT-2 for a family of one's own says."""
    known = dict(maps())
    with pytest.raises(UserError) as caught:
        mapping.register(change(known["gpt2"]))
    assert maps() == known
    return str(caught.value)


def test_a_map_is_read_and_written_once_its_family_is_known(tmp_path: Path) -> None:
    def change(one: mapping.Map) -> mapping.Map:
        return dataclasses.replace(one, architecture="letters", model_types=("letters",))

    assert "unknown architecture 'letters'" in refused(change)
    register("letters", families()["gpt2"].function)
    one = mapping.register(change(maps()["gpt2"]))
    assert maps()["letters"] is one and mapping.by_model_type()["letters"] is one
    assert mapping.register(one) is one
    model = dougong.build("letters", vocab_size=26, max_length=8, d_model=8, n_layers=1, n_heads=2)
    dougong.save(model, tmp_path, layout="huggingface")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "letters"}))
    assert dougong.load(tmp_path).config["architecture"] == "letters"


def test_a_map_takes_nothing_from_another_family() -> None:
    assert "gpt2: has a map in dougong already" in refused(lambda one: one)
    register("letters", letters)
    assert "gpt2: is read by the map of gpt2 already" in refused(
        lambda one: dataclasses.replace(one, architecture="letters")
    )


def installed(folder: Path, module: str, code: str) -> Path:
    """A folder as pip leaves it: a module, and metadata that name it as an entry point."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    entry = f"[{registry.ENTRY_POINTS}]\n{module} = {module}\n"
    (metadata / "entry_points.txt").write_text(entry, encoding="utf-8")
    return folder


def dougong_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, with a folder of installed packages beside the real ones."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}
    command = [sys.executable, "-m", "dougong", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


def test_an_installed_package_brings_its_families_to_the_command_line(tmp_path: Path) -> None:
    folder = installed(tmp_path / "site", "letters_package", OWN)
    done = dougong_command(folder, "models", "letters", "d_model=10")
    assert done.returncode == 0, done.stderr
    assert "letters: Reads letters." in done.stdout and re.search(r"d_model +10\b", done.stdout)
    code = "from dougong.interop import maps; assert maps()['letters'].model_types == ('letters',)"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_a_package_that_cannot_be_imported_is_named_in_one_line(tmp_path: Path) -> None:
    folder = installed(tmp_path / "site", "broken_package", "raise RuntimeError('out of order')\n")
    done = dougong_command(folder, "models", "vit-tiny")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line == (
        "broken_package, an entry point of dougong.families: cannot be imported "
        "(RuntimeError: out of order); repair or uninstall the package that names it"
    )
