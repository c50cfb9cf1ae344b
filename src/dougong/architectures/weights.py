"""The tensors of a folder: one safetensors file, several with an index, or an old .bin. Read here and nowhere else."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import mmap
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dougong.errors import UserError

RESTORE = "restore or save it again"
SHARD = 5 * 10**9  # bytes; larger models are written in several files


class Weights:
    """Tensors by name, read when asked for.

    safetensors files are mapped into memory: what is not copied is not read twice. A .bin is read whole, with
    ``weights_only``, which executes nothing.

    Args:
        folder: that holds the files.

    Raises:
        UserError: there are none, or one is broken, or the index names files that are missing or lie elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self._mapped: set[Path] = set()
        self._stack = contextlib.ExitStack()
        files, index = _find(folder)
        for file in files:
            inside(file, folder)
            for name in self._names(file):
                if name in self._files:
                    raise UserError(str(file), f"{name} is also in {self._files[name].name}", "give each tensor once")
                self._files[name] = file
        for name, file in index.items():
            if self._files.get(name) != file:
                raise UserError(str(file), f"lacks {name}, which the index promises", RESTORE)

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._open.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def where(self, name: str) -> str:
        """The file that holds a tensor."""
        return str(self._files[name])

    def get(self, name: str) -> Tensor:
        """A tensor, on the CPU.

        Raises:
            UserError: it cannot be read.
        """
        from safetensors import SafetensorError

        file = self._files[name]
        held = self._open[file]
        if isinstance(held, dict):
            return held[name]
        try:
            return held.get_tensor(name)
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise UserError(str(file), f"{name} cannot be read ({error})", RESTORE) from None

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, from the header."""
        held = self._open[self._files[name]]
        return tuple(held[name].shape) if isinstance(held, dict) else tuple(held.get_slice(name).get_shape())

    def forget(self, name: str, tensor: Tensor) -> None:
        """Give the memory of a tensor back that `get` gave and that was copied. Read again, it comes from the file.

        Without this a mapped file counts beside the copies as long as any other tensor of it is in use.
        """
        if self._files[name] not in self._mapped or sys.platform != "linux":
            return
        begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.numel() * tensor.element_size()) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > begin:  # a page that another tensor shares stays
            _libc().madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)

    def _names(self, file: Path) -> list[str]:
        from safetensors import SafetensorError, safe_open

        if file.suffix == ".safetensors":
            try:
                held = self._stack.enter_context(safe_open(file, "pt"))
            except (SafetensorError, OSError, ValueError) as error:
                raise UserError(str(file), f"is no safetensors file ({error})", RESTORE) from None
            self._open[file] = held
            self._mapped.add(file)
            return list(held.keys())
        self._open[file], mapped = _read_bin(file)
        if mapped:
            self._mapped.add(file)
        return list(self._open[file])


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


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


def _read_bin(file: Path) -> tuple[dict[str, Tensor], bool]:
    """The state dict of a .bin, nothing in it executed, and whether it is mapped."""
    mapped = True
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises what it likes; files from before torch 1.6 cannot be mapped
        try:
            held, mapped = torch.load(file, map_location="cpu", weights_only=True), False
        except Exception:  # what it says is advice to trust the file
            what = "is no plain file of weights: it is broken, or a pickle that would run code"
            raise UserError(str(file), what, "give safetensors") from None
    if not isinstance(held, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in held.items()):
        raise UserError(str(file), "holds something else than tensors by name", "give safetensors")
    return held, mapped


def _find(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files, and what an index says of them."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name], {}
        if index.is_file():
            return _read_index(inside(index, folder))
    raise UserError(
        str(folder), "no weights", "it should hold model.safetensors, model.safetensors.index.json or pytorch_model.bin"
    )


def _read_index(index: Path) -> tuple[list[Path], dict[str, Path]]:
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        promised = {str(name): str(file) for name, file in named.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise UserError(str(index), f"is no index of weights ({error})", RESTORE) from None
    found = {}
    for name, file in promised.items():
        if Path(file).name != file or file in ("", ".", ".."):
            raise UserError(str(index), f"{name} is said to lie in {file!r}, outside the folder", "do not trust it")
        found[name] = index.parent / file
        if not found[name].is_file():
            raise UserError(str(found[name]), "no such file, though the index names it", "fetch it")
    return sorted(set(found.values())), found


def write_weights(folder: Path, tensors: Mapping[str, Tensor], shard: int = SHARD) -> list[Path]:
    """Write tensors as model.safetensors, or as several files with an index where they are larger than ``shard`` bytes.

    Each file is written beside and renamed, the index last; files of an earlier save that are no longer named go.

    Args:
        folder: that exists.
        tensors: by name.
        shard: bytes that a file may hold; a larger tensor has a file of its own.
    """
    from safetensors.torch import save_file

    groups: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        n_bytes = tensor.numel() * tensor.element_size()
        if groups[-1] and filled + n_bytes > shard:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += n_bytes
    several = len(groups) > 1
    files = [
        folder / (f"model-{number:05d}-of-{len(groups):05d}.safetensors" if several else "model.safetensors")
        for number in range(1, len(groups) + 1)
    ]
    for file, names in zip(files, groups, strict=True):
        half = file.with_suffix(".part")
        save_file({name: tensors[name].detach().cpu().contiguous() for name in names}, half, metadata={"format": "pt"})
        half.chmod(0o666 & ~_umask())
        os.replace(half, file)
    index = folder / "model.safetensors.index.json"
    if several:
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        placed = {name: file.name for file, names in zip(files, groups, strict=True) for name in names}
        half = index.with_suffix(".part")
        half.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": placed}, indent=2) + "\n")
        os.replace(half, index)
    else:
        index.unlink(missing_ok=True)
    for old in [*folder.glob("model-*-of-*.safetensors"), folder / "model.safetensors"]:
        if old.exists() and old not in files:
            old.unlink()
    return files


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
