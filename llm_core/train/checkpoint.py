"""Checkpoints that are whole or absent.

checkpoints/step-00001234/
    weights.safetensors     every trained parameter, fp32
    optimizer.safetensors   the optimizer's tensors
    state.json              step, tokens, random number generators, guard, log position, identity of the run
    manifest.json           size and sha256 of the three
checkpoints/LATEST          the name of the newest, for people and other programs

A checkpoint is written under a temporary name, flushed file by file, then the folder, and renamed; LATEST follows.
So a crash at any moment leaves the earlier checkpoints as they were. Loading trusts nothing but the digests: it goes
back to the newest checkpoint that is intact. There is no pickle anywhere.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm_core.atomic import sha256_of, write_bytes
from llm_core.errors import LlmCoreError
from llm_core.train.meter import disk_error

WEIGHTS, OPTIMIZER, STATE, MANIFEST = "weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
LATEST = "LATEST"
PREFIX = "step-"
VERSION = 1


#: Groups of named tensors: "weights", "optimizer", "average" (only where one is kept).
TensorGroups = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint, its digests checked."""

    step: int
    path: Path
    state: dict[str, Any]

    def load_into(self, groups: TensorGroups) -> None:
        """Copy every tensor of ``groups`` out of the files, in place.

        Raises:
            LlmCoreError: the checkpoint holds other tensors than these.
        """
        for group, tensors in groups.items():
            if not tensors and not (self.path / f"{group}.safetensors").is_file():
                continue
            stored = load_file(self.path / f"{group}.safetensors")
            if stored.keys() != tensors.keys():
                strange = sorted(stored.keys() ^ tensors.keys())
                raise LlmCoreError(
                    f"the checkpoint's {group} belong to another model ({strange[0]} and others).", where=str(self.path)
                )
            with torch.no_grad():
                for name, tensor in tensors.items():
                    tensor.copy_(stored[name])


class Damaged(Exception):
    """A checkpoint isn't what was written. The text names the file and says why."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: ``checkpoints/`` of the artifact.
        identity: all that decides the weights, as JSON values: a checkpoint of another run is refused.
        keep: so many of the newest stay.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.identity = json.loads(json.dumps(identity, sort_keys=True))

    def save(self, step: int, groups: TensorGroups, state: Mapping[str, Any], *, permanent: bool = False) -> None:
        """Write the checkpoint of ``step``. When this returns ``groups`` may change; publishing may go on behind.

        Raises:
            DiskFull: there is no room; the earlier checkpoints are untouched.
        """
        final = self.folder / f"{PREFIX}{step:08d}"
        temporary = self.folder / f"{final.name}.{os.getpid()}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            temporary.mkdir()
            written = [f"{group}.safetensors" for group, tensors in groups.items() if tensors]
            for group, tensors in groups.items():
                if tensors:
                    save_file(_on_cpu(tensors), temporary / f"{group}.safetensors")
            described = {"version": VERSION, "step": step, "identity": self.identity, **state}
            (temporary / STATE).write_text(json.dumps(described, indent=1), encoding="utf-8")
            files = {
                name: {"bytes": (temporary / name).stat().st_size, "sha256": sha256_of(temporary / name)}
                for name in (*written, STATE)
            }
            manifest = {"version": VERSION, "step": step, "files": files}
            (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            for name in (*written, STATE, MANIFEST):
                _flush(temporary / name)
            _flush(temporary)
            if final.exists():  # a damaged one of the same step, which loading went past
                shutil.rmtree(final)
            os.rename(temporary, final)  # noqa: PTH104 (the one moment that counts: plain to see)
            _flush(self.folder)
            write_bytes(self.folder / LATEST, f"{final.name}\n".encode())
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            told = disk_error(error, self.folder)
            if told is error:
                raise
            raise told from error
        self._prune(step)

    def wait(self) -> None:
        """Until what is being written in the background is published.

        Raises:
            DiskFull: it could not be.
        """

    def mark_best(self, step: int) -> None:
        """The checkpoint of ``step`` has the best validation so far: it stays, and BEST names it."""

    def newest(self, damaged: Callable[[str, str], None], *, before: int | None = None) -> Checkpoint | None:
        """The newest intact checkpoint, or None.

        Args:
            before: only of earlier steps than this one.
            damaged: told (checkpoint, what is wrong with it) for each that had to be passed over.

        Raises:
            LlmCoreError: it belongs to a run of another configuration or other inputs; says what differs.
        """
        for step in sorted(self.steps(), reverse=True):
            if before is not None and step >= before:
                continue
            path = self.folder / f"{PREFIX}{step:08d}"
            try:
                return self._load(path, step)
            except Damaged as error:
                damaged(path.name, str(error))
        return None

    def steps(self) -> list[int]:
        """Steps of all checkpoints that were published, intact or not."""
        names = [path.name for path in self.folder.glob(f"{PREFIX}*") if path.is_dir()]
        return [int(name.removeprefix(PREFIX)) for name in names if name.removeprefix(PREFIX).isdigit()]

    def _load(self, path: Path, step: int) -> Checkpoint:
        verify(path)
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
        except Exception as error:  # the digests were right, so this was written wrong: still, go further back
            raise Damaged(f"it can't be read ({error})") from error
        if state.get("version") != VERSION or state.get("step") != step:
            raise Damaged(f"{STATE} is of version {state.get('version')}, step {state.get('step')}")
        changed = differences(state["identity"], self.identity)
        if changed:
            raise LlmCoreError(
                "the checkpoint belongs to another run: " + "; ".join(changed) + ".",
                where=str(path),
                fix="Go back to the configuration that wrote it, or delete the folder to start anew.",
            )
        return Checkpoint(step, path, state)

    def _prune(self, newest: int) -> None:
        """Keep the last few. Later ones than ``newest`` were damaged and passed over: they go too."""
        kept = sorted(step for step in self.steps() if step <= newest)[-self.keep :]
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self.folder / f"{PREFIX}{step:08d}", ignore_errors=True)

    def _remove_leftovers(self) -> None:
        for path in self.folder.glob("*.tmp"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def verify(path: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        Damaged: names the file.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = {name: manifest["files"][name] for name in (*manifest["files"], WEIGHTS, OPTIMIZER, STATE)}
        sizes = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{MANIFEST} can't be read ({error})") from error
    for name, (size, digest) in sizes.items():
        file = path / name
        if not file.is_file():
            raise Damaged(f"{name} is missing")
        if file.stat().st_size != size:
            raise Damaged(f"{name} has {file.stat().st_size} bytes instead of {size}")
        if sha256_of(file) != digest:
            raise Damaged(f"the content of {name} has changed (sha256)")


def differences(theirs: Any, ours: Any, at: str = "") -> list[str]:
    """What differs between two trees of JSON values, each as ``a.b: 1 there, 2 here``."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found: list[str] = []
        for key in sorted(theirs.keys() | ours.keys()):
            here = f"{at}.{key}" if at else key
            found += differences(theirs.get(key, "absent"), ours.get(key, "absent"), here)
        return found
    return [] if theirs == ours else [f"{at}: {theirs} there, {ours} here"]


def random_state() -> dict[str, Any]:
    """All random number generators as JSON values: python, numpy, torch, and torch's on each GPU."""
    version, numbers, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": numpy_state | {"state": {k: _plain(v) for k, v in numpy_state["state"].items()}},
        "torch": _encode(torch.get_rng_state()),
    }
    if torch.cuda.is_available():
        state["cuda"] = [_encode(each) for each in torch.cuda.get_rng_state_all()]
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`random_state` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    numpy_state = dict(state["numpy"])
    numpy_state["state"] = {
        k: np.array(v, dtype=np.uint32) if isinstance(v, list) else v for k, v in numpy_state["state"].items()
    }
    np.random.set_state(numpy_state)
    torch.set_rng_state(_decode(state["torch"]))
    if torch.cuda.is_available() and len(state.get("cuda", [])) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_decode(each) for each in state["cuda"]])


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _encode(tensor: Tensor) -> str:
    return base64.b64encode(tensor.numpy().tobytes()).decode()


def _decode(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.uint8).copy())


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _flush(path: Path) -> None:
    """fsync a file or a folder. Systems that can't open a folder (Windows) are durable enough without."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
