"""The tensors of a folder: one safetensors file, several with an index, or an old .bin. Read here and nowhere else."""

from __future__ import annotations

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

DONTNEED, HUGE, POPULATE = 4, 14, 22  # Linux's MADV_DONTNEED, MADV_HUGEPAGE and MADV_POPULATE_READ (from 5.14 on)
TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
}  # fmt: skip
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
        """A tensor, on the CPU; of a mapped file a view of the mapping, which is read when it is looked at.

        Raises:
            UserError: it cannot be read.
        """
        file = self._files[name]
        held = self._open[file]
        try:
            return held[name] if isinstance(held, dict) else held.get(name)
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            raise UserError(str(file), f"{name} cannot be read ({error})", RESTORE) from None

    def stretches(self) -> Iterator[tuple[list[str], Tensor]]:
        """Every tensor once, those of one type that lie side by side in a mapped file as one of one axis."""
        for file, held in self._open.items():
            if isinstance(held, Mapped):
                yield from held.stretches()
            else:
                yield from (([name], tensor) for name, tensor in held.items() if self._files.get(name) == file)

    def prepare(self, name: str, tensor: Tensor) -> None:
        """Have the memory of a tensor that `get` gave mapped at once, which is faster than page by page."""
        if self._files[name] in self._mapped:
            advise(tensor, POPULATE, outward=True)

    def forget(self, name: str, tensor: Tensor) -> None:
        """Give the memory of a tensor back that `get` gave and that was copied. Read again, it comes from the file.

        Without this a mapped file counts beside the copies as long as any other tensor of it is in use.
        """
        if self._files[name] in self._mapped:
            advise(tensor, DONTNEED, outward=False)

    def _names(self, file: Path) -> list[str]:
        if file.suffix == ".safetensors":
            self._open[file] = held = Mapped(file)
            self._mapped.add(file)
            return list(held.header)
        self._open[file], mapped = _read_bin(file)
        if mapped:
            self._mapped.add(file)
        return list(self._open[file])


class Mapped:
    """A safetensors file in memory. The library checks the whole header first, then tensors are views of the mapping.

    Args:
        file: to map; changes to tensors are private and never reach it.

    Raises:
        UserError: the library refuses the file.
    """

    def __init__(self, file: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "pt"):
                pass
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                self.header: dict[str, Any] = json.loads(stream.read(length))
                mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(str(file), f"is no safetensors file ({error})", RESTORE) from None
        self.header.pop("__metadata__", None)
        self._bytes = torch.frombuffer(mapping, dtype=torch.uint8)
        self._start = 8 + length

    def get(self, name: str) -> Tensor:
        """A tensor by name; one that does not begin where its type must is copied.

        Raises:
            ValueError: its type is unknown.
        """
        entry = self.header[name]
        if entry["dtype"] not in TYPES:
            raise ValueError(f"type {entry['dtype']} is not known")
        begin, end = (self._start + offset for offset in entry["data_offsets"])
        held, dtype = self._bytes[begin:end], TYPES[entry["dtype"]]
        if begin % dtype.itemsize:
            held = held.clone()
        return held.view(dtype).view(entry["shape"])

    def stretches(self, longest: int = 2**26) -> Iterator[tuple[list[str], Tensor]]:
        """Names and values of neighbours of one type, up to about ``longest`` bytes; unknown types are left out."""
        groups: list[list[str]] = []
        filled = 0
        for name in sorted(self.header, key=lambda each: self.header[each]["data_offsets"]):
            begin, end = self.header[name]["data_offsets"]
            kind = self.header[name]["dtype"]
            if not groups or filled > longest or kind != self.header[groups[-1][-1]]["dtype"]:
                groups.append([])
                filled = 0
            groups[-1].append(name)
            filled += end - begin
        for names in groups:
            dtype = TYPES.get(self.header[names[0]]["dtype"])
            begin = self._start + self.header[names[0]]["data_offsets"][0]
            end = self._start + self.header[names[-1]]["data_offsets"][1]
            if dtype is not None and begin % dtype.itemsize == 0:
                yield names, self._bytes[begin:end].view(dtype)


def advise(tensor: Tensor, advice: int, outward: bool) -> None:
    """Tell the system what becomes of a tensor's pages.

    Args:
        tensor: on the CPU.
        advice: one of those above.
        outward: whether pages that it shares with a neighbour are meant too.
    """
    if sys.platform != "linux":
        return
    begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()
    page = mmap.PAGESIZE
    first, last = (begin // page, -(-end // page)) if outward else (-(-begin // page), end // page)
    if last > first:  # an older system that does not know the advice does without
        _libc().madvise(ctypes.c_void_p(first * page), ctypes.c_size_t((last - first) * page), advice)


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
