"""Token shards on disk: flat arrays of ids, the places where documents begin, and an index that vouches for both.

train-00000.bin          ids one after another, little endian uint16 (uint32 for over 65,536 entries);
                         each document is closed by <|endoftext|>
train-00000.offsets.npy  int64, documents + 1: where each document begins in that file, and the file's end
train-00000.sources.npy  uint16, documents: where each document came from, a number in the index's `sources`
index.json               written last: tokenizer digest, dtype, sources, counts for each split, sha256 of each file and
                         of itself
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from llm_core.atomic import sha256_of, write_json
from llm_core.errors import LlmCoreError

INDEX = "index.json"
VERSION = 2
_AGAIN = "Run the shards stage again."


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardFile(_Record):
    """One .bin, its offsets and its sources."""

    name: str
    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the text (not of the file)."""
    sha256: str
    offsets: str
    offsets_sha256: str
    sources: str
    sources_sha256: str


class SplitIndex(_Record):
    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the text, so that losses can be told in bits per byte."""
    source_tokens: dict[str, int]
    """Tokens of each source."""
    files: list[ShardFile]


class ShardIndex(_Record):
    format: Literal["groundup-token-shards"] = "groundup-token-shards"
    version: Literal[2] = 2
    tokenizer_digest: str
    vocab_size: int
    eot_id: int
    dtype: Literal["uint16", "uint32"]
    sources: list[str]
    """Names of where documents came from; the sidecars hold their numbers."""
    splits: dict[str, SplitIndex]

    @property
    def digest(self) -> str:
        """sha256 of all of it, and with it of all files."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def token_type(self) -> np.dtype[Any]:
        return np.dtype(self.dtype).newbyteorder("<")


def token_dtype(vocab_size: int) -> Literal["uint16", "uint32"]:
    """The narrowest type that holds every id."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def write_index(folder: Path, index: ShardIndex) -> None:
    write_json(folder / INDEX, {**index.model_dump(mode="json"), "sha256": index.digest})


def read_index(folder: Path) -> ShardIndex:
    """Read ``index.json``.

    Raises:
        LlmCoreError: it is missing, damaged, or of another version.
    """
    path = Path(folder) / INDEX
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LlmCoreError(
            "there are no token shards here (index.json is missing).", where=str(folder), fix="Run the shards stage."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LlmCoreError(
            f"the index of the token shards is damaged ({error}).", where=str(path), fix=_AGAIN
        ) from error
    if isinstance(raw, dict) and raw.get("format") == "groundup-token-shards" and raw.get("version") != VERSION:
        raise LlmCoreError(
            f"the token shards are of version {raw.get('version')}, this program reads version {VERSION}.",
            where=str(path),
            fix=_AGAIN,
        )
    try:
        written = raw.pop("sha256", None) if isinstance(raw, dict) else None
        index = ShardIndex.model_validate(raw)
    except ValidationError as error:
        raise LlmCoreError(
            f"the index of the token shards can't be used ({error}).", where=str(path), fix=_AGAIN
        ) from error
    if written != index.digest:
        raise LlmCoreError("the content differs from what was written (sha256).", where=str(path), fix=_AGAIN)
    return index


def check_files(folder: Path, index: ShardIndex, split: str, *, hashes: bool = False) -> None:
    """Check a split's files: sizes always, contents (sha256) on request, several files at a time.

    Raises:
        LlmCoreError: names the first file that is missing, cut short or changed.
    """
    fix = "Restore the file, or delete the artifact and run the shards stage again."
    expected: dict[Path, str] = {}
    for file in index.splits[split].files:
        names = {file.name: file.sha256, file.offsets: file.offsets_sha256, file.sources: file.sources_sha256}
        for name, digest in names.items():
            path = Path(folder) / name
            if not path.is_file():
                raise LlmCoreError("a file of the token shards is missing.", where=str(path), fix=fix)
            expected[path] = digest
        path, size = Path(folder) / file.name, file.tokens * index.token_type.itemsize
        if path.stat().st_size != size:
            raise LlmCoreError(
                f"the file has {path.stat().st_size} bytes, {size} were written.", where=str(path), fix=fix
            )
    if hashes:
        with ThreadPoolExecutor() as threads:  # hashing lets other threads run
            for (path, digest), found in zip(expected.items(), threads.map(sha256_of, expected), strict=True):
                if found != digest:
                    raise LlmCoreError("the content differs from what was written (sha256).", where=str(path), fix=fix)
