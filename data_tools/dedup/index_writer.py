"""Writing an index of kept documents (see ``data_tools.dedup.index_format``)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.atomic_file import atomic_writer, write_json
from data_tools.dedup.index_format import FILES, FORMAT, Parameters, id_key, sha256_of
from data_tools.dedup.minhash import band_keys
from data_tools.dedup.shingles import Shingles

_MEMBER_ROWS = 8_192
_SHINGLE_GROUP_BYTES = 8_000_000
_KEY_ROWS = 262_144


class IndexWriter:
    """Writes an index folder. A context manager, or call :meth:`close` at the end.

    Memory: what one :meth:`add` brings, and at the end 20 bytes a document (a band at a time is sorted).
    """

    def __init__(self, folder: Path, *, bands: int, rows: int, shingle_words: int, seed: int) -> None:
        self.folder, self.parameters = folder, Parameters(bands, rows, shingle_words, seed)
        self.documents = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").unlink(missing_ok=True)
        self._stack = ExitStack()
        width = pa.binary(4 * bands * rows)
        self._members = self._parquet(
            "members.parquet",
            pa.schema([("doc_id", pa.string()), ("shingles", pa.int64()), ("signature", width)]),
        )
        self._shingles = self._parquet("shingles.parquet", pa.schema([("shingles", pa.large_list(pa.uint64()))]))
        self._pending: list[Shingles] = []
        self._pending_values = 0
        # The keys of each band, of the ids, and the members that have shingles, each in a file of its own until close.
        self._unsorted = [
            self._stack.enter_context((folder / f"keys-{band:03d}.tmp").open("wb")) for band in range(bands + 2)
        ]

    def _parquet(self, name: str, schema: pa.Schema, **encodings: str) -> pq.ParquetWriter:
        handle = self._stack.enter_context(atomic_writer(self.folder / name))
        return self._stack.enter_context(
            pq.ParquetWriter(
                handle,
                schema,
                compression="zstd",
                compression_level=3,
                use_dictionary=False,
                column_encoding=encodings or None,
            )
        )

    def add(self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]) -> None:
        """Add documents: their ids, (n, bands * rows) signatures, and sorted distinct shingles."""
        if not len(doc_ids):
            return
        bands = self.parameters.bands
        counts = np.array([len(one) for one in shingles], dtype=np.int64)
        taking_part = counts > 0
        keys = band_keys(signatures[taking_part], bands, self.parameters.rows)
        for band in range(bands):
            self._unsorted[band].write(np.ascontiguousarray(keys[:, band]).tobytes())
        self._unsorted[bands].write(np.array([id_key(doc_id) for doc_id in doc_ids], dtype=np.uint64).tobytes())
        self._unsorted[bands + 1].write((self.documents + np.flatnonzero(taking_part)).astype(np.uint32).tobytes())
        packed = np.ascontiguousarray(signatures, dtype="<u4")
        column = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(4 * signatures.shape[1]), len(doc_ids), [None, pa.py_buffer(packed)]
        )
        self._members.write_table(
            pa.table([pa.array(doc_ids, pa.string()), pa.array(counts), column], schema=self._members.schema),
            row_group_size=_MEMBER_ROWS,
        )
        for one in shingles:
            self._pending.append(one)
            self._pending_values += len(one)
            if self._pending_values * 8 >= _SHINGLE_GROUP_BYTES:
                self._write_shingles()
        self.documents += len(doc_ids)

    def _write_shingles(self) -> None:
        if not self._pending:
            return
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in self._pending])]).astype(np.int64)
        values = np.concatenate(self._pending).astype(np.uint64, copy=False)
        column = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
        self._shingles.write_table(
            pa.table([column], schema=self._shingles.schema), row_group_size=max(1, len(self._pending))
        )
        self._pending, self._pending_values = [], 0

    def close(self) -> None:
        """Sort the keys and write ``index.json``: now it is an index."""
        self._write_shingles()
        self._stack.close()
        bands = self.parameters.bands
        temporary = [self.folder / f"keys-{band:03d}.tmp" for band in range(bands + 2)]
        schema = pa.schema([("band", pa.uint8()), ("key", pa.uint64()), ("member", pa.uint32())])
        with self._stack:
            writer = self._parquet("bands.parquet", schema, key="DELTA_BINARY_PACKED", band="PLAIN", member="PLAIN")
            with_shingles = np.fromfile(temporary[bands + 1], dtype=np.uint32)
            for band in range(bands + 1):
                keys = np.fromfile(temporary[band], dtype=np.uint64)
                if not len(keys):
                    continue
                order = np.argsort(keys, kind="stable")  # equal keys stay in the order of the members
                members = with_shingles[order] if band < bands else order.astype(np.uint32)
                table = pa.table([pa.array(np.full(len(keys), band, np.uint8)), keys[order], members], schema=schema)
                writer.write_table(table, row_group_size=_KEY_ROWS)
        for path in temporary:
            path.unlink()
        files = {
            name: {"bytes": (self.folder / name).stat().st_size, "sha256": sha256_of(self.folder / name)}
            for name in FILES
        }
        write_json(
            self.folder / "index.json",
            {"format": FORMAT, "parameters": asdict(self.parameters), "documents": self.documents, "files": files},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stack.__exit__(kind, error, trace)
