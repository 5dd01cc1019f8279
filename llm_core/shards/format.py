"""Token shards on disk: flat arrays of ids, the places where documents begin, and an index that vouches for both.

train-00000.bin          ids one after another, little endian uint16 (uint32 for over 65,536 entries);
                         each document is closed by <|endoftext|>
train-00000.offsets.npy  int64, documents + 1: where each document begins in that file, and the file's end
index.json               written last: tokenizer digest, dtype, counts for each split, sha256 of each file
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from llm_core.atomic import atomic_path, sha256_of, write_bytes, write_json
from llm_core.errors import LlmCoreError

INDEX = "index.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardFile(_Record):
    """One .bin and its offsets."""

    name: str
    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the text (not of the file)."""
    sha256: str
    offsets: str
    offsets_sha256: str


class SplitIndex(_Record):
    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the text, so that losses can be told in bits per byte."""
    files: list[ShardFile]


class ShardIndex(_Record):
    format: Literal["groundup-token-shards"] = "groundup-token-shards"
    version: Literal[1] = 1
    tokenizer_digest: str
    vocab_size: int
    eot_id: int
    dtype: Literal["uint16", "uint32"]
    splits: dict[str, SplitIndex]


def token_dtype(vocab_size: int) -> Literal["uint16", "uint32"]:
    """The narrowest type that holds every id."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


class SplitWriter:
    """Gathers the encoded documents of one split and writes a file whenever ``shard_tokens`` are reached.

    A document is never cut: a longer one than ``shard_tokens`` gets a file of its own.
    """

    def __init__(self, folder: Path, split: str, *, eot_id: int, dtype: str, shard_tokens: int) -> None:
        self.folder, self.split, self.eot_id = folder, split, eot_id
        self.dtype, self.shard_tokens = np.dtype(dtype).newbyteorder("<"), shard_tokens
        self.files: list[ShardFile] = []
        self._start_file()

    def _start_file(self) -> None:
        self._documents: list[np.ndarray] = []
        self._tokens = self._bytes = 0

    def add(self, ids: Sequence[int], text_bytes: int) -> None:
        """Add one document; its closing ``<|endoftext|>`` is put here."""
        if self._documents and self._tokens + len(ids) + 1 > self.shard_tokens:
            self._write_file()
        self._documents.append(np.array([*ids, self.eot_id], dtype=self.dtype))
        self._tokens += len(ids) + 1
        self._bytes += text_bytes

    def _write_file(self) -> None:
        path = self.folder / f"{self.split}-{len(self.files):05d}.bin"
        offsets_path = path.with_suffix(".offsets.npy")
        # Not by ndarray.tofile, nor by np.save into a file: on a full disk they raise an error that doesn't say so.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(np.concatenate(self._documents).data)
        offsets = np.cumsum([0, *map(len, self._documents)], dtype=np.int64)
        written = io.BytesIO()
        np.save(written, offsets, allow_pickle=False)
        write_bytes(offsets_path, written.getvalue())
        self.files.append(
            ShardFile(
                name=path.name,
                tokens=self._tokens,
                documents=len(self._documents),
                bytes=self._bytes,
                sha256=sha256_of(path),
                offsets=offsets_path.name,
                offsets_sha256=sha256_of(offsets_path),
            )
        )
        self._start_file()

    def finish(self) -> SplitIndex:
        """Write what is left and give this split's part of the index."""
        if self._documents:
            self._write_file()
        return SplitIndex(
            tokens=sum(file.tokens for file in self.files),
            documents=sum(file.documents for file in self.files),
            bytes=sum(file.bytes for file in self.files),
            files=self.files,
        )


def write_index(folder: Path, index: ShardIndex) -> None:
    write_json(folder / INDEX, index.model_dump(mode="json"))


def read_index(folder: Path) -> ShardIndex:
    """Read ``index.json``.

    Raises:
        LlmCoreError: it is missing, damaged, or of another version.
    """
    path = Path(folder) / INDEX
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        return ShardIndex.model_validate(raw)
    except FileNotFoundError:
        raise LlmCoreError(
            "there are no token shards here (index.json is missing).", where=str(folder), fix="Run the shards stage."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise LlmCoreError(
            f"the index of the token shards can't be used ({error}).",
            where=str(path),
            fix="Run the shards stage again.",
        ) from error


def check_files(folder: Path, index: ShardIndex, split: str, *, hashes: bool = False) -> None:
    """Check a split's files: sizes always, contents (sha256) on request.

    Raises:
        LlmCoreError: names the file that is missing, cut short or changed.
    """
    fix = "Restore the file, or delete the artifact and run the shards stage again."
    for file in index.splits[split].files:
        path = Path(folder) / file.name
        expected = file.tokens * np.dtype(index.dtype).itemsize
        if not path.is_file() or not (path.parent / file.offsets).is_file():
            lost = path if not path.is_file() else path.parent / file.offsets
            raise LlmCoreError("a file of the token shards is missing.", where=str(lost), fix=fix)
        if path.stat().st_size != expected:
            raise LlmCoreError(
                f"the file has {path.stat().st_size} bytes, {expected} were written.", where=str(path), fix=fix
            )
        if hashes:
            for name, digest in ((file.name, file.sha256), (file.offsets, file.offsets_sha256)):
                if sha256_of(path.parent / name) != digest:
                    raise LlmCoreError(
                        "the content differs from what was written (sha256).", where=str(path.parent / name), fix=fix
                    )
