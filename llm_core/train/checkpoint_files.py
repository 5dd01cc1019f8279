"""How a checkpoint lies on the disk: tensors in pieces, and the digests of all files.

Every process writes the pieces that it holds, each piece once, into safetensors files of its own; ``index.json`` says
of every tensor how large it is as a whole and where each piece belongs. So a reader takes what it needs, however many
processes wrote and however many read. ``manifest.json`` has the size and sha256 of every other file, and its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm_core.atomic import sha256_of

STATE, INDEX, MANIFEST = "state.json", "index.json", "manifest.json"
VERSION = 2
#: Bytes that are written and hashed at a time.
CHUNK = 1 << 24
#: The names that the safetensors format has for types.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
#: Threads that hash files; sha256 runs at some 1.5 GB/s each and leaves the interpreter alone.
HASH_THREADS = 8

#: Groups of named tensors: "weights", "optimizer", "average" (only where one is kept).
TensorGroups = Mapping[str, Mapping[str, Tensor]]
#: group -> name -> (shape of the whole, where this process's block begins, the block's shape), as JSON.
Layout = dict[str, dict[str, list[list[int]]]]
#: group -> name -> {"shape": of the whole, "pieces": [{"file", "offset", "shape"}]}, as JSON.
Index = dict[str, dict[str, dict[str, Any]]]


class Damaged(Exception):
    """A checkpoint isn't what was written. The text names the file and says why."""


@dataclass(frozen=True)
class Block:
    """The part of a tensor that this process holds."""

    local: Tensor
    whole: tuple[int, ...]
    offset: tuple[int, ...]


def block_of(tensor: Tensor) -> Block:
    """What this process holds of ``tensor``: a part of a DTensor, all of any other. Shares its memory."""
    if not hasattr(tensor, "device_mesh"):  # DTensor's import is slow, and with one process there are none
        local = tensor.detach()
        return Block(local, tuple(local.shape), (0,) * local.ndim)
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    assert isinstance(tensor, DTensor)
    whole = tuple(tensor.shape)
    _, offset = compute_local_shape_and_global_offset(whole, tensor.device_mesh, tensor.placements)
    return Block(tensor.to_local().detach(), whole, tuple(offset))


def layout_of(groups: TensorGroups) -> Layout:
    """Which blocks this process holds."""
    found: Layout = {}
    for group, tensors in groups.items():
        blocks = {name: block_of(tensor) for name, tensor in tensors.items()}
        found[group] = {n: [list(b.whole), list(b.offset), list(b.local.shape)] for n, b in blocks.items()}
    return found


def make_index(layouts: Sequence[Layout]) -> Index:
    """Who writes what: of equal blocks the first process's. ``layouts`` are by rank."""
    index: Index = {}
    for rank, layout in enumerate(layouts):
        for group, tensors in layout.items():
            for name, (whole, offset, shape) in tensors.items():
                entry = index.setdefault(group, {}).setdefault(name, {"shape": whole, "pieces": []})
                taken = any(piece["offset"] == offset and piece["shape"] == shape for piece in entry["pieces"])
                if not taken and 0 not in shape:
                    file = file_of(group, rank)
                    entry["pieces"].append({"file": file, "offset": offset, "shape": shape})
    return index


def file_of(group: str, rank: int) -> str:
    return f"{group}-{rank:05d}.safetensors"


def own_pieces(groups: TensorGroups, index: Index, rank: int) -> dict[str, dict[str, Tensor]]:
    """file -> name -> tensor of all that process ``rank`` has to write; the live tensors."""
    found: dict[str, dict[str, Tensor]] = {}
    for group, tensors in groups.items():
        file = file_of(group, rank)
        for name, tensor in tensors.items():
            if any(piece["file"] == file for piece in index[group][name]["pieces"]):
                found.setdefault(file, {})[name] = block_of(tensor).local
    return found


class HostCopies:
    """Copies in the CPU's memory that are written while training goes on. The memory is used again each time: taking
    pinned memory anew costs more than the copy."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, str], Tensor] = {}

    def of(self, files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """As ``files``, copied."""
        copies: dict[str, dict[str, Tensor]] = {}
        on_gpu = False
        for file, tensors in files.items():
            for name, tensor in tensors.items():
                buffer = self._buffers.get((file, name))
                if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
                    buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
                    self._buffers[file, name] = buffer
                buffer.copy_(tensor, non_blocking=True)
                copies.setdefault(file, {})[name] = buffer
                on_gpu |= tensor.is_cuda
        if on_gpu:
            torch.cuda.current_stream().synchronize()
        return copies


def write_tensors(path: Path, tensors: Mapping[str, Tensor], beat: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Write a safetensors file and bring it to the disk.

    Hashes what it writes on the way, so that nothing has to be read again. (The library's own writer would hold the
    interpreter, and the training with it, for as long as it writes.)

    Args:
        beat: called whenever some of it is written.

    Returns:
        The entry for the manifest.
    """
    # The largest types first, as the format wants it: so each tensor is aligned to its type.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in ordered:
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    size = 0
    with path.open("wb", buffering=0) as file:
        head = memoryview(len(text).to_bytes(8, "little") + text)
        for view in itertools.chain([head], (_bytes_of(tensor) for _, tensor in ordered)):
            for start in range(0, len(view), CHUNK):
                size += write_all(file.fileno(), view[start : start + CHUNK])
                digest.update(view[start : start + CHUNK])
                beat()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def write_all(descriptor: int, content: memoryview) -> int:
    """``os.write`` until everything is written; the number of bytes."""
    done = 0
    while done < len(content):
        done += os.write(descriptor, content[done:])
    return done


def write_json_file(path: Path, value: Any) -> dict[str, Any]:
    """Write ``value`` as JSON and bring it to the disk; the entry for the manifest."""
    content = json.dumps(value).encode()  # indentation would take Python's slow encoder, which holds the training up
    with path.open("wb", buffering=0) as file:
        write_all(file.fileno(), memoryview(content))
        os.fsync(file.fileno())
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_manifest(folder: Path, step: int, files: Mapping[str, Any], *, permanent: bool) -> None:
    manifest = {"version": VERSION, "step": step, "permanent": permanent, "files": dict(sorted(files.items()))}
    write_json_file(folder / MANIFEST, {"sha256": _digest(manifest), **manifest})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, checked to be as it was written.

    Raises:
        Damaged: it isn't.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["version"] != VERSION:
            raise Damaged(f"{MANIFEST} is of format version {manifest['version']}, this program reads {VERSION}")
        told = manifest.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{MANIFEST} can't be read ({error})") from error
    if told != _digest(manifest):
        raise Damaged(f"the content of {MANIFEST} has changed (sha256)")
    return dict(manifest)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def damage(folder: Path, names: Iterable[str], files: Mapping[str, Any]) -> str | None:
    """What is wrong with the files ``names`` of a checkpoint, in words; None if they are as ``files`` says."""

    def check(name: str) -> str | None:
        path, told = folder / name, files[name]
        try:
            size = path.stat().st_size
            if size != told["bytes"]:
                return f"{name} has {size} bytes instead of {told['bytes']}"
            return None if sha256_of(path) == told["sha256"] else f"the content of {name} has changed (sha256)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} can't be read ({error})"

    with ThreadPoolExecutor(HASH_THREADS) as pool:
        return next((trouble for trouble in pool.map(check, names) if trouble is not None), None)


@torch.no_grad()
def fill(folder: Path, index: Index, groups: TensorGroups) -> None:
    """Copy into every tensor of ``groups`` what this process holds of it, reading no more than that.

    Raises:
        Damaged: a tensor has another shape there, or a part of it isn't there.
    """
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for group, tensors in groups.items():
            for name, tensor in tensors.items():
                block, entry = block_of(tensor), index[group][name]
                if list(block.whole) != entry["shape"]:
                    raise Damaged(f"{name} of {group} is of shape {entry['shape']}, not {list(block.whole)}")
                copied = 0
                for piece in entry["pieces"]:
                    inside = _overlap(block, piece)
                    if inside is None:
                        continue
                    file = piece["file"]
                    if file not in files:
                        files[file] = stack.enter_context(_opened(folder / file))
                    there, here = inside
                    values = files[file].get_slice(name)[there] if there else files[file].get_tensor(name)
                    block.local[here].copy_(values)
                    copied += values.numel()
                if copied != block.local.numel():
                    raise Damaged(f"{name} of {group} isn't whole")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path.name} can't be read ({error})") from error


def _overlap(block: Block, piece: Mapping[str, Any]) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """The part that both have: as slices of the piece, and of the block."""
    there, here = [], []
    for begin, length, its_begin, its_length in zip(
        block.offset, block.local.shape, piece["offset"], piece["shape"], strict=True
    ):
        low, high = max(begin, its_begin), min(begin + length, its_begin + its_length)
        if low >= high:
            return None
        there.append(slice(low - its_begin, high - its_begin))
        here.append(slice(low - begin, high - begin))
    return tuple(there), tuple(here)
