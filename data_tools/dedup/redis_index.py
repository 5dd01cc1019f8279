"""The index of kept documents in Redis, for several machines that share one.

The band tables are ``datasketch.MinHashLSH`` with its Redis storage. Beside them each member's signature and shingles
are kept as bytes, so that every match is verified exactly. Keys are bytes and ``prepickle`` is off: what stands in a
server that others can write to is never unpickled.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.config import DeduplicateConfig
from data_tools.dedup.index_format import Match, Parameters
from data_tools.dedup.index_templates import alike_without_templates
from data_tools.dedup.minhash import estimated_jaccard
from data_tools.dedup.shingles import Shingles, jaccard, standing_in
from data_tools.errors import DataError

ADDRESS = "GROUNDUP_REDIS_URL"

#: Documents asked for in one round trip.
_AT_A_TIME = 512
_MAX_SHINGLES = 2**28


class RedisIndex:
    """See :class:`data_tools.dedup.index.EarlierDocuments`.

    A document is written before its bands, so whatever a band leads to can be verified. Two runs that add the same text
    at the same time both keep it: Redis has no lock over a whole run.

    Args:
        batch: name of this run. Members that carry it are its own from before a crash, and are passed over.

    Raises:
        DataError: no address, no answer, other parameters, or the redis package isn't installed.
    """

    def __init__(self, config: DeduplicateConfig, batch: str) -> None:
        assert config.redis is not None
        self._config, self._batch = config, batch.encode()
        self._prefix = f"groundup:{config.redis.name}"
        url = os.environ.get(ADDRESS)
        if not url:
            raise DataError(
                f"the shared index needs the address of a Redis in the environment variable {ADDRESS}",
                where="deduplicate.redis",
                fix=f"For example {ADDRESS}=redis://localhost:6379/0",
            )
        if config.bands < 2:
            raise DataError("an index in Redis needs at least two bands", where="deduplicate.bands")
        try:
            import redis
        except ImportError as error:
            raise DataError(
                "the redis package isn't installed", where="deduplicate.redis", fix="pip install 'groundup[redis]'"
            ) from error
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        try:
            options = _connection_options(url)
        except ValueError as error:
            raise DataError(f"{ADDRESS} isn't an address of a Redis ({error})", where="deduplicate.redis") from error
        self._where = f"Redis at {options.get('host', options.get('path', 'localhost'))}:{options.get('port', 6379)}"
        self._redis = redis.Redis(**options)
        with self._reached():
            self._check_parameters()
            from datasketch import MinHashLSH

            self._lsh = MinHashLSH(
                num_perm=config.bands * config.rows,
                params=(config.bands, config.rows),
                storage_config={"type": "redis", "basename": f"{self._prefix}:lsh".encode(), "redis": options},
                prepickle=False,
            )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise DataError(
                f"the shared index can't be used ({error})",
                where=self._where,
                fix=f"Check {ADDRESS} and that the server runs; then run the same again.",
            ) from error

    def _check_parameters(self) -> None:
        ours = Parameters.of(self._config)
        key = f"{self._prefix}:parameters"
        self._redis.setnx(key, json.dumps(asdict(ours), sort_keys=True))
        stored: Any = self._redis.get(key)
        try:
            theirs = json.loads(stored or b"{}")
        except ValueError as error:
            raise DataError(f"{key} isn't JSON ({error})", where=self._where, fix="Choose another name.") from error
        ours.refuse_others(theirs, f"{self._where}, index {self._config.redis.name!r}")  # type: ignore[union-attr]

    def close(self) -> None:
        self._redis.close()

    def match(
        self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]
    ) -> list[Match | None]:
        """For each document the one of the index that accounts for it, or None."""
        found: list[Match | None] = []
        with self._reached():
            for start in range(0, len(doc_ids), _AT_A_TIME):
                part = slice(start, start + _AT_A_TIME)
                found += self._match(doc_ids[part], signatures[part], shingles[part])
        return found

    def _match(
        self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]
    ) -> list[Match | None]:
        found: list[Match | None] = [None] * len(doc_ids)
        if self._config.exact:
            for query, batch in enumerate(self._field(doc_ids, "batch")):
                if batch is not None and batch != self._batch:
                    found[query] = Match(doc_ids[query], 1.0, 1.0, "index-exact")
        waiting = [query for query, match in enumerate(found) if match is None and len(shingles[query])]
        candidates = self.candidates(signatures[waiting])
        names = sorted({name for some in candidates for name in some})
        known = dict(zip(names, self._records(names), strict=True))
        for query, some in zip(waiting, candidates, strict=True):
            found[query] = self._verified(signatures[query], shingles[query], {name: known[name] for name in some})
        return found

    def candidates(self, signatures: npt.NDArray[np.uint32]) -> list[list[str]]:
        """What ``MinHashLSH.query`` answers to each signature, in one round trip a band, sorted."""
        found: list[set[bytes]] = [set() for _ in signatures]
        if not len(signatures):
            return []
        for (start, end), table in zip(self._lsh.hashranges, self._lsh.hashtables, strict=True):
            keys = [self._lsh._H(np.ascontiguousarray(row[start:end])) for row in signatures]
            for members, bucket in zip(found, table.getmany(*keys), strict=True):
                members.update(bucket)
        return [sorted(name.decode(errors="replace") for name in members) for members in found]

    def _verified(
        self, signature: npt.NDArray[np.uint32], shingles: Shingles, members: dict[str, _Record | None]
    ) -> Match | None:
        usable = {name: record for name, record in members.items() if record and record.batch != self._batch}
        if not usable:
            return None
        names = sorted(usable)
        estimates = estimated_jaccard(signature, np.stack([usable[name].signature for name in names]))
        best = np.argsort(-estimates, kind="stable")[: self._config.max_comparisons].tolist()
        least = self._config.template_documents
        holders: npt.NDArray[np.int64] | None = None
        for position in best:
            theirs = usable[names[position]].shingles()
            exact = jaccard(shingles, theirs)
            if exact < self._config.min_similarity:
                continue
            if least and len(best) >= least:
                if holders is None:
                    holders = np.zeros(len(shingles), dtype=np.int64)
                    for met in best:
                        holders += standing_in(shingles, usable[names[met]].shingles())
                shared = standing_in(shingles, theirs)
                if not alike_without_templates(shared, len(theirs), holders, least, self._config.min_similarity):
                    continue
            return Match(names[position], float(estimates[position]), exact, "index-near")
        return None

    def _field(self, doc_ids: Sequence[str], name: str) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for doc_id in doc_ids:
            pipeline.hget(self._member(doc_id), name)
        return pipeline.execute()

    def _records(self, doc_ids: Sequence[str]) -> list[_Record | None]:
        """What is stored of members; None where it is incomplete."""
        pipeline = self._redis.pipeline(transaction=False)
        for doc_id in doc_ids:
            pipeline.hmget(self._member(doc_id), ["batch", "signature", "count", "shingles"])
        width = self._config.bands * self._config.rows
        return [
            _Record.read(fields, width, f"{self._where}, {doc_id}")
            for doc_id, fields in zip(doc_ids, pipeline.execute(), strict=True)
        ]

    def _member(self, doc_id: str) -> str:
        return f"{self._prefix}:member:{doc_id}"

    def add(self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]) -> None:
        """Add kept documents. One that stands there stays as it is."""
        with self._reached():
            for start in range(0, len(doc_ids), _AT_A_TIME):
                part = slice(start, start + _AT_A_TIME)
                self._add(doc_ids[part], signatures[part], shingles[part])

    def _add(self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]) -> None:
        from datasketch import LeanMinHash

        pipeline = self._redis.pipeline(transaction=False)
        for doc_id, signature, one in zip(doc_ids, signatures, shingles, strict=True):
            fields = {"batch": self._batch, "signature": signature.astype("<u4").tobytes(), "count": len(one)}
            for name, value in {**fields, "shingles": _packed(one)}.items():
                pipeline.hsetnx(self._member(doc_id), name, value)
        pipeline.execute()
        # Ours, with shingles: new, or added before a crash that may have come between a document and its bands.
        ours = [
            row
            for row, batch in enumerate(self._field(doc_ids, "batch"))
            if batch == self._batch and len(shingles[row])
        ]
        keys = [doc_ids[row].encode() for row in ours]
        if keys:
            self._lsh.keys.remove(*keys)  # a list in Redis: added to twice, it would have its bands twice
        with self._lsh.insertion_session() as session:
            for row, key in zip(ours, keys, strict=True):
                minhash = LeanMinHash(seed=self._config.seed, hashvalues=signatures[row], scheme="affine32")
                session.insert(key, minhash, check_duplication=False)


class _Record:
    """What Redis holds of one member."""

    def __init__(self, batch: bytes, signature: npt.NDArray[np.uint32], count: int, packed: bytes, where: str) -> None:
        self.batch, self.signature, self._count, self._packed, self._where = batch, signature, count, packed, where

    @classmethod
    def read(cls, fields: Sequence[bytes | None], width: int, where: str) -> _Record | None:
        batch, signature, count, packed = fields
        if batch is None or signature is None or count is None or packed is None:
            return None
        if len(signature) != 4 * width or not count.isdigit() or int(count) > _MAX_SHINGLES:
            raise _damaged(where)
        return cls(batch, np.frombuffer(signature, dtype="<u4"), int(count), packed, where)

    def shingles(self) -> Shingles:
        unpacker = zlib.decompressobj()
        try:
            # No more than it says it is: a server that others write to isn't trusted with our memory.
            raw = unpacker.decompress(self._packed, 8 * self._count + 1)
        except zlib.error as error:
            raise _damaged(self._where) from error
        if len(raw) != 8 * self._count:
            raise _damaged(self._where)
        return np.cumsum(np.frombuffer(raw, dtype="<u8"), dtype=np.uint64)


def _packed(shingles: Shingles) -> bytes:
    """Sorted values as their differences, which have fewer bits, compressed."""
    return zlib.compress(np.diff(shingles, prepend=np.uint64(0)).astype("<u8").tobytes(), 1)


def _damaged(where: str) -> DataError:
    return DataError("an entry of the shared index is damaged", where=where, fix="Delete it, or start a new index.")


def _connection_options(url: str) -> dict[str, Any]:
    """A Redis URL as the arguments of ``redis.Redis``."""
    from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

    options: dict[str, Any] = dict(parse_url(url))
    kind = options.pop("connection_class", None)
    if kind is SSLConnection:
        options["ssl"] = True
    elif kind is UnixDomainSocketConnection:
        options["unix_socket_path"] = options.pop("path")
    return {"socket_connect_timeout": 10, "socket_timeout": 120, **options}
