"""Writing token shards so that a kill loses no more than the last seconds.

Ids are appended to the shard's own file. What else belongs to the shards that aren't finished waits in the subfolder
``unfinished``: a record for each document, and a journal that says how many pieces of the input are done and how long
each file was then. A run that finds a journal of the same work cuts the files back to it and goes on from there, so it
ends in the same bytes as one that was never stopped.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from llm_core.atomic import sha256_of, write_bytes, write_json
from llm_core.shards.documents import SPLITS
from llm_core.shards.format import ShardFile, SplitIndex

UNFINISHED = "unfinished"
JOURNAL = "journal.json"
#: What is kept of each document until its shard is finished.
RECORD = np.dtype([("tokens", "<i8"), ("source", "<u2")])
#: Sources beyond these share the last number.
MOST_SOURCES = 65_535
OTHER_SOURCES = "others"


@dataclass(frozen=True)
class EncodedSplit:
    """Documents of one split, in order."""

    ids: np.ndarray
    """(tokens,) each document closed by <|endoftext|>"""
    tokens: np.ndarray
    """(documents,) int64, the closing one included"""
    bytes: np.ndarray
    """(documents,) int64: UTF-8 bytes of the text"""
    sources: np.ndarray
    """(documents,) numbers of the sources"""


class _OpenFile(BaseModel):
    """How far the shard that is being written has come."""

    model_config = ConfigDict(extra="forbid")

    tokens: int = 0
    documents: int = 0
    bytes: int = 0


class _SplitState(BaseModel):
    model_config = ConfigDict(extra="forbid")

    finished: list[ShardFile] = []
    open: _OpenFile = _OpenFile()


class _Journal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    work: dict[str, Any]
    """All that decides the bytes. A journal of other work is of no use."""
    pieces: int = 0
    documents: int = 0
    sources: list[str] = []
    splits: dict[str, _SplitState]


class SplitWriter:
    """Appends the documents of one split and begins a new file whenever ``shard_tokens`` are reached.

    A document is never cut: a longer one than ``shard_tokens`` gets a file of its own.
    """

    def __init__(self, folder: Path, split: str, state: _SplitState, *, dtype: str, shard_tokens: int) -> None:
        self.folder, self.split, self.state = folder, split, state
        self.dtype, self.shard_tokens = np.dtype(dtype).newbyteorder("<"), shard_tokens
        self._open_files()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.split}-{len(self.state.finished):05d}.bin"

    @property
    def _records(self) -> Path:
        return self.folder / UNFINISHED / f"{self._path.stem}.documents"

    def _open_files(self) -> None:
        """Open the current shard, cut back to what the state says of it."""
        sizes = (self.state.open.tokens * self.dtype.itemsize, self.state.open.documents * RECORD.itemsize)
        opened = []
        for path, size in zip((self._path, self._records), sizes, strict=True):
            file = path.open("r+b" if path.exists() else "w+b")
            if file.seek(0, os.SEEK_END) < size:
                raise ValueError(f"{path} is shorter than the journal says")
            file.truncate(size)
            file.seek(size)
            opened.append(file)
        self._files = opened

    def add(self, encoded: EncodedSplit) -> None:
        ends = np.cumsum(encoded.tokens)
        document = token = 0
        while document < len(ends):
            room = max(0, self.shard_tokens - self.state.open.tokens)  # a long document may have filled it over
            upto = int(np.searchsorted(ends, token + room, side="right"))
            if upto == document and not self.state.open.documents:
                upto += 1
            if upto == document:
                self._finish_file()
                continue
            end = int(ends[upto - 1])
            records = np.empty(upto - document, dtype=RECORD)
            records["tokens"], records["source"] = encoded.tokens[document:upto], encoded.sources[document:upto]
            self._files[0].write(np.ascontiguousarray(encoded.ids[token:end], dtype=self.dtype).data)
            self._files[1].write(records.data)
            self.state.open.tokens += end - token
            self.state.open.documents += upto - document
            self.state.open.bytes += int(encoded.bytes[document:upto].sum())
            document, token = upto, end

    def flush(self) -> None:
        """Everything is on the disk when this returns."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _finish_file(self) -> None:
        self.flush()
        self.close()
        path, records = self._path, np.fromfile(self._records, dtype=RECORD)
        offsets, sources = path.with_suffix(".offsets.npy"), path.with_suffix(".sources.npy")
        _save(offsets, np.cumsum([0, *records["tokens"]], dtype=np.int64))
        _save(sources, records["source"])
        self.state.finished.append(
            ShardFile(
                name=path.name,
                **self.state.open.model_dump(),
                sha256=sha256_of(path),
                offsets=offsets.name,
                offsets_sha256=sha256_of(offsets),
                sources=sources.name,
                sources_sha256=sha256_of(sources),
            )
        )
        self.state.open = _OpenFile()
        self._open_files()

    def finish(self, sources: Sequence[str]) -> SplitIndex:
        """Write what is left and give this split's part of the index."""
        if self.state.open.documents:
            self._finish_file()
        self.close()
        self._path.unlink()
        counts = np.zeros(len(sources), dtype=np.int64)
        for file in self.state.finished:
            tokens = np.diff(np.load(self.folder / file.offsets, allow_pickle=False))
            numbers = np.load(self.folder / file.sources, allow_pickle=False)
            counts += np.bincount(numbers, weights=tokens, minlength=len(sources)).astype(np.int64)
        return SplitIndex(
            tokens=sum(file.tokens for file in self.state.finished),
            documents=sum(file.documents for file in self.state.finished),
            bytes=sum(file.bytes for file in self.state.finished),
            source_tokens={name: int(count) for name, count in zip(sources, counts, strict=True) if count},
            files=self.state.finished,
        )


class ShardWriter:
    """All splits of an artifact, and how far they are."""

    def __init__(self, folder: Path, work: dict[str, Any], *, dtype: str, shard_tokens: int) -> None:
        """Go on with unfinished ``work`` in ``folder``, or begin anew where there is none or other work."""
        self.folder, self.dtype, self.shard_tokens = folder, dtype, shard_tokens
        self._journal_path = folder / UNFINISHED / JOURNAL
        found = self._read_journal(work)
        if found is not None:
            try:
                self._begin(found)
                return
            except ValueError:  # files are shorter than the journal says: something else touched them
                pass
        self.discard()
        self._begin(_Journal(work=work, splits={split: _SplitState() for split in SPLITS}))

    def _begin(self, journal: _Journal) -> None:
        self._journal_path.parent.mkdir(parents=True, exist_ok=True)
        for path in self.folder.rglob("*.tmp"):  # a kill in the middle of an atomic write
            path.unlink()
        self.journal = journal
        self._numbers = {name: number for number, name in enumerate(journal.sources)}
        self._splits = {
            split: SplitWriter(self.folder, split, state, dtype=self.dtype, shard_tokens=self.shard_tokens)
            for split, state in journal.splits.items()
        }

    def _read_journal(self, work: dict[str, Any]) -> _Journal | None:
        try:
            journal = _Journal.model_validate_json(self._journal_path.read_bytes())
        except (OSError, ValidationError):
            return None
        return journal if journal.work == work and set(journal.splits) == set(SPLITS) else None

    def discard(self) -> None:
        """Delete all that an earlier attempt wrote."""
        shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)
        for split in SPLITS:
            for pattern in (f"{split}-?????*.bin", f"{split}-?????*.npy"):
                for path in self.folder.glob(pattern):
                    path.unlink()

    def add_piece(self, splits: dict[str, EncodedSplit], sources: Sequence[str]) -> None:
        """Add the documents of the next piece of the input; their sources are numbers in ``sources``."""
        mapping = np.array([self._number(name) for name in sources], dtype=np.int64)
        for split, encoded in splits.items():
            numbered = EncodedSplit(encoded.ids, encoded.tokens, encoded.bytes, mapping[encoded.sources])
            self._splits[split].add(numbered)
            self.journal.documents += len(encoded.tokens)
        self.journal.pieces += 1

    def _number(self, name: str) -> int:
        if name not in self._numbers and len(self._numbers) >= MOST_SOURCES:
            name = OTHER_SOURCES
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers)
            self.journal.sources.append(name)
        return self._numbers[name]

    def save(self) -> None:
        """Make sure that what was added so far needn't be done again."""
        for writer in self._splits.values():
            writer.flush()
        write_json(self._journal_path, self.journal.model_dump(mode="json"))

    def close(self) -> None:
        for writer in self._splits.values():
            writer.close()

    def finish(self) -> dict[str, SplitIndex]:
        """Finish all files."""
        return {split: writer.finish(self.journal.sources) for split, writer in self._splits.items()}

    def forget(self) -> None:
        """Delete the journal, once the index is written."""
        shutil.rmtree(self.folder / UNFINISHED)


def _save(path: Path, array: np.ndarray) -> None:
    # Not by np.save into a file: on a full disk it raises an error that doesn't say so.
    written = io.BytesIO()
    np.save(written, array, allow_pickle=False)
    write_bytes(path, written.getvalue())
