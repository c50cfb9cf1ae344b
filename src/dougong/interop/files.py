"""The files beside a model's weights: where they may lie, and those that travel from folder to folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from dougong.architectures.weights import inside
from dougong.errors import UserError

TRAVEL = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm",
    "target.spm", "chat_template.jinja", "generation_config.json", "preprocessor_config.json",
    "processor_config.json",
)  # fmt: skip
"""Files that a model keeps, as they are, when it is loaded from one folder and saved to another."""


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: the file is missing or no JSON object.
    """
    if not file.is_file():
        raise UserError(
            str(file.parent), f"no {file.name}", f"give a run's folder or a model's, which holds {file.name}"
        )
    inside(file, file.parent)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(str(file), f"is no JSON ({error})", "restore the file") from None
    if not isinstance(config, dict):
        raise UserError(str(file), "holds no JSON object", "restore the file")
    return config


def travel(source: Path, folder: Path) -> list[str]:
    """Copy what a model keeps; the names of what was copied.

    Args:
        source: folder that the model was loaded from; when it is gone, nothing is copied.
        folder: that exists. What it holds already under these names is replaced.

    Raises:
        UserError: a file is a link that leads outside.
    """
    if not source.is_dir() or source.resolve() == folder.resolve():
        return []
    files = [inside(source / name, source) for name in TRAVEL if (source / name).is_file()]
    for file in files:
        half = folder / f"{file.name}.part"
        shutil.copyfile(file, half)
        os.replace(half, folder / file.name)
    return [file.name for file in files]
