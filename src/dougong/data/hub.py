"""Data sets in the form of the `datasets` library: on the hub as ``hf:org/name``, or in a folder that it wrote."""

from __future__ import annotations

import functools
import json
import logging
import re
from pathlib import Path
from typing import Any

from dougong.data.names import named_split, plain, shown
from dougong.errors import UserError, nearest

PREFIX = "hf:"
ID = re.compile(
    r"hf:(?P<name>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(@(?P<revision>[\w./-]{1,200}))?(:(?P<config>[\w.+ -]{1,200}))?"
)
SHARD = re.compile(r".+-(?P<split>\w+(?:\.\w+)*?)(-\d{5}-of-\d{5})?\.arrow")
"""How the library names the files of its cache: name-train.arrow, name-train-00000-of-00002.arrow."""
OLDEST = 4
"""Of the `datasets` library: the versions before it may run code that a data set brings along."""

Files = list[tuple[Path, str | None]]


def is_hub(source: str | Path) -> bool:
    """Whether a source is meant to be fetched from the hub."""
    return str(source).startswith(PREFIX)


def hub_name(source: str | Path) -> str:
    """The data set's name alone, for titles: that of hf:org/name@revision:config is "name"."""
    match = ID.fullmatch(str(source))
    return match["name"].split("/")[1] if match else str(source)


@functools.cache
def hub_folder(source: str) -> Path:
    """The folder, in the cache of the `datasets` library, that holds a data set of the hub as Arrow files.

    Asked once in a process. Nothing that a data set brings along is run. ``HF_HOME``, ``HF_TOKEN``, ``HF_ENDPOINT`` and
    ``HF_HUB_OFFLINE`` are those of the library; offline, what was fetched before is read again.

    Args:
        source: ``hf:org/name``, with ``@revision`` and ``:config`` where they are wanted.

    Raises:
        UserError: no such data set, revision or configuration; one that only code could read; the library is missing;
            or the hub cannot be reached.
    """
    match = ID.fullmatch(source)
    if match is None:
        raise UserError(
            plain(source), "names no data set of the hub", "write hf:org/name, hf:org/name@revision or ...:config"
        )
    try:
        import datasets
    except ImportError:
        raise UserError(
            source, "is read by the library datasets, which is not installed", "pip install datasets, or give a folder"
        ) from None
    if int(datasets.__version__.split(".")[0]) < OLDEST:
        raise UserError(source, f"is not read by datasets {datasets.__version__}", "pip install 'datasets>=4'")
    name = match["name"]
    # a folder of that name here would be read instead
    asked = f"hf://datasets/{name}" if Path(name).exists() else name
    shows = datasets.utils.logging.is_progress_bar_enabled()
    datasets.utils.logging.disable_progress_bar()
    loggers = [logging.getLogger(each) for each in ("datasets", "huggingface_hub")]
    levels = [each.level for each in loggers]
    for each in loggers:  # what is wrong is said in one line, by us
        each.setLevel(logging.CRITICAL)
    try:
        found = datasets.load_dataset(asked, match["config"], revision=match["revision"])
        return _folder_of(found, source)
    except UserError:
        raise
    except Exception as error:  # whatever a file of somebody else's may lead to
        raise _said(error, source, match["revision"], match["config"]) from None
    finally:
        for each, before in zip(loggers, levels, strict=True):
            each.setLevel(before)
        if shows:
            datasets.utils.logging.enable_progress_bar()


def _folder_of(found: Any, source: str) -> Path:
    files = {Path(each["filename"]).parent for split in found.values() for each in split.cache_files}
    if len(files) != 1:
        raise UserError(source, "holds no rows", "choose another data set")
    return files.pop()


def _said(error: Exception, source: str, revision: str | None, config: str | None) -> UserError:
    """One line about why the library could not give a data set."""
    text = " ".join(str(error).split())
    kinds = {each.__name__ for each in type(error).__mro__}
    local = "or give a folder that datasets.save_to_disk or a download wrote"
    if "no longer supported" in text:
        return UserError(source, "is read by code of its own, which is never run", f"give its Parquet files, {local}")
    if "gated" in text:
        return UserError(source, "may only be read after its terms are accepted", "accept them, and set HF_TOKEN")
    if revision and ("Revision" in text or "revision" in text):
        return UserError(source, f"has no revision {revision}", "name a branch, tag or commit that it has")
    known = re.search(r"(?:[Aa]vailable(?: configs)?|among the available configs): \[([^\]]*)\]", text)
    if known:
        names = re.findall(r"'([^']*)'", known[1])
        guess = nearest(config, names) if config else None
        what = f"has no configuration {config!r}" if config else "has several configurations"
        hint = f"did you mean {guess}? There are" if guess else f"write {source}:{names[0]}, or another of"
        return UserError(source, what, f"{hint if config is None or guess else 'there are'} {shown(names)}")
    if "DatasetNotFoundError" in kinds and "Revision" not in text:
        return UserError(source, "is not on the hub, or it is private", f"check its name, or set HF_TOKEN, {local}")
    if "DataFilesNotFoundError" in kinds or "EmptyDatasetError" in kinds:
        return UserError(source, "holds no files of data that are read", f"choose another, {local}")
    if "ConnectionError" in kinds or "OfflineModeIsEnabled" in kinds or "ConnectError" in kinds:
        return UserError(source, "is not in the cache, and the hub cannot be reached", f"go online, {local}")
    return UserError(source, f"cannot be read ({text[:160]})", f"try again, {local}")


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by the `datasets` library: by save_to_disk, or in its cache."""
    return folder.is_dir() and any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))


def saved_files(folder: Path) -> Files:
    """The Arrow files of a folder that the `datasets` library wrote, with their splits; none when it is no such folder.

    Splits that are neither train, val nor test are left out; see `left_out`.

    Raises:
        UserError: a file that says how the data lies is damaged, or a file that it names is missing.
    """
    parts = _parts(folder)
    names = {part for part, _ in parts}
    if len(names) == 1:  # whatever it is called, it is all that there is
        return [(path, None) for _, path in parts]
    kept: Files = [(path, named_split(str(part))) for part, path in parts if named_split(str(part))]
    if parts and not any(part == "train" for _, part in kept):
        said = shown([str(name) for name in names])
        raise UserError(str(folder), f"has the splits {said} but no train", "rename one of them to train")
    order = ("train", "val", "test")
    return sorted(kept, key=lambda each: order.index(str(each[1])))


def left_out(folder: Path) -> list[str]:
    """A line for the splits that are not read; empty when there is none."""
    names = dict.fromkeys(str(part) for part, _ in _parts(folder))
    odd = [name for name in names if not named_split(name)]
    if not odd or len(names) == 1:
        return []
    return [f"Left out: split{'s' * (len(odd) > 1)} {shown(odd)}, which {'are' if len(odd) > 1 else 'is'} not read."]


def _parts(folder: Path) -> list[tuple[str | None, Path]]:
    """Split and path of each Arrow file, splits by the names that they have."""
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not all(isinstance(name, str) and _inside(name) for name in splits):
            raise UserError(str(folder / "dataset_dict.json"), "names no splits", "save the data set again")
        return [(name, path) for name in splits for path in _saved(folder / name)]
    if (folder / "state.json").is_file():
        return [(None, path) for path in _saved(folder)]
    if (folder / "dataset_info.json").is_file():
        splits = _json(folder / "dataset_info.json").get("splits")
        found = [(SHARD.fullmatch(path.name), path) for path in sorted(folder.glob("*.arrow"))]
        # other files there are what the library made of these
        order = list(splits or {})
        held = [(match["split"], path) for match, path in found if match and match["split"] in order]
        return sorted(held, key=lambda each: order.index(each[0]))
    return []


def _saved(folder: Path) -> list[Path]:
    """The Arrow files of one data set that save_to_disk wrote, in their order."""
    listed = _json(folder / "state.json").get("_data_files")
    names = [each.get("filename") if isinstance(each, dict) else None for each in listed or ()]
    if not names or not all(isinstance(name, str) and _inside(name) for name in names):
        raise UserError(str(folder / "state.json"), "names no files", "save the data set again")
    for name in names:
        if not (folder / str(name)).is_file():
            raise UserError(str(folder / str(name)), "is missing", "save the data set again")
    return [folder / str(name) for name in names]


def _inside(name: str) -> bool:
    return bool(name) and Path(name).name == name and name not in (".", "..")


def _json(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror or error})", "save the data set again") from None
    except ValueError:
        raise UserError(str(path), "is no whole JSON", "save the data set again") from None
    if not isinstance(held, dict):
        raise UserError(str(path), "is no JSON object", "save the data set again")
    return held
