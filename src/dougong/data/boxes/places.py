"""Where the pictures of a data set with boxes lie, and which split a file belongs to."""

from __future__ import annotations

import re
from pathlib import Path

from dougong.data.folders import subfolders
from dougong.data.names import SPLIT_NAMES

FOLDERS = ("", "JPEGImages", "images", "Images", "imgs", "img", "pictures")
WORD = re.compile(r"[a-z]+")


def split_of(file: Path, root: Path) -> str | None:
    """The split that a file's name or folder says, as instances_train2017.json or valid/_annotations.coco.json.

    Args:
        file: of annotations, or a folder.
        root: of the data set, whose own name says nothing.
    """
    words = WORD.findall(file.stem.lower())
    inside = file.relative_to(root).parts[:-1] if file.is_relative_to(root) and file != root else ()
    for word in [*words, *(part.lower() for part in reversed(inside))]:
        if word in SPLIT_NAMES:
            return SPLIT_NAMES[word]
    return None


class Pictures:
    """Finds pictures by the names that annotations give them.

    Args:
        root: of the data set; a name may not lead out of it.
        file: of the annotations.
        split: "train", "val" or "test".
    """

    def __init__(self, root: Path, file: Path, split: str | None) -> None:
        self.root = root.resolve()
        parts = [p for p in subfolders(root) if p.name.lower() in ("images", "jpegimages")]
        named = [name for name, meant in SPLIT_NAMES.items() if meant == split]
        stem = file.stem.split("_")[-1]
        bases = [file.parent, root, *parts]
        self.folders = [base / each for base in bases for each in (*FOLDERS, stem, *named)]
        self.folders = [each for each in dict.fromkeys(self.folders) if each.is_dir()]

    def path(self, name: str) -> Path:
        """Where the picture is; where it should be when there is none."""
        relative = name.replace("\\", "/").lstrip("/")
        for folder in self.folders:
            path = folder / relative
            try:
                inside = path.resolve().is_relative_to(self.root)
                if inside and path.is_file():
                    return path
            except (OSError, ValueError):
                continue
        return self.root / "\0" if "\0" in relative else self.folders[0] / Path(relative).name
