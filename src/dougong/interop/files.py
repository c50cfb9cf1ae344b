"""The files beside a model's weights: where they may lie, and those that travel from folder to folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dougong.errors import UserError

TRAVEL = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm",
    "target.spm", "chat_template.jinja", "generation_config.json", "preprocessor_config.json",
    "processor_config.json",
)  # fmt: skip
"""Files that a model keeps, as they are, when it is loaded from one folder and saved to another."""


def inside(file: Path, folder: Path) -> Path:
    """The file, when it lies in the folder once all links are followed.

    A snapshot of the hub's cache, whose files are links into the ``blobs`` beside it, may lead there.

    Raises:
        UserError: it lies elsewhere.
    """
    real = file.resolve()
    homes = [folder.resolve()]
    if homes[0].parent.name == "snapshots":
        homes.append(homes[0].parent.parent / "blobs")
    if not any(real.is_relative_to(home) for home in homes):
        raise UserError(str(file), "is a link that leads outside its folder", "put the file itself there")
    return file


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
