"""What an index of kept documents consists of: its files, its parameters, and what a lookup finds.

``members.parquet`` has a row for each document (id, number of shingles, signature), ``shingles.parquet`` its shingles
in the same order, ``bands.parquet`` the band keys (see ``data_tools.dedup.minhash``), sorted, so that a lookup reads
only the row groups whose range of keys it asks for. A hash of the id stands there as one more band: equal texts are
found by it. That is about 150 bytes a document besides signature and shingles. ``index.json`` comes last, with the
parameters and the digests of the others; a folder without it is no index.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import xxhash

from data_tools.config import DeduplicateConfig
from data_tools.dedup.shingles import SHINGLE_VERSION
from data_tools.errors import DataError

#: Raised when the files mean something else.
FORMAT = 1
#: How signatures are made of shingles; another way gets another name.
SIGNATURES = "affine32-murmur3"
FILES = ("members.parquet", "shingles.parquet", "bands.parquet")


@dataclass(frozen=True)
class Match:
    """A document of the index that accounts for a new one; verified on exact shingles (or the id, for equal texts)."""

    representative: str
    estimated_similarity: float
    exact_similarity: float
    reason: Literal["index-exact", "index-near"]


@dataclass(frozen=True)
class Parameters:
    """What must be the same on both sides for signatures and shingles to be comparable."""

    bands: int
    rows: int
    shingle_words: int
    seed: int
    shingle_version: int = SHINGLE_VERSION
    signatures: str = SIGNATURES

    @classmethod
    def of(cls, config: DeduplicateConfig) -> Parameters:
        return cls(config.bands, config.rows, config.shingle_words, config.seed)

    def refuse_others(self, found: dict[str, object], where: str) -> None:
        """Raise a DataError that names every parameter in which ``found`` differs from these."""
        differing = [
            f"{field.name} is {found.get(field.name)!r} there and {getattr(self, field.name)!r} here"
            for field in fields(self)
            if found.get(field.name) != getattr(self, field.name)
        ]
        if differing:
            raise DataError(
                f"the index was made with other parameters: {'; '.join(differing)}",
                where=where,
                fix="Set the same under deduplicate, or deduplicate the earlier corpus again to make a new index.",
            )


def id_key(doc_id: str) -> int:
    """The 64-bit key under which a document's id is looked up."""
    return xxhash.xxh3_64_intdigest(doc_id.encode())


def sha256_of(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def index_folder(path: str | Path) -> Path:
    """The index at ``path``: the folder itself, or ``index`` in it (an artifact of deduplicate).

    Raises:
        DataError: there is none.
    """
    for folder in (Path(path), Path(path) / "index"):
        if (folder / "index.json").is_file():
            return folder
    raise DataError(
        "no index of earlier documents here (index.json is missing)",
        where=str(path),
        fix="Name the artifact folder of a deduplicate stage that ran with `index: true`.",
    )
