"""What a hostile input is, and how they are all collected.

A case writes files into a folder and says what has to come out of them all the same. The bytes are made on the fly and
are the same each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Of every case's ingest: small, so that limits are met by small files.
MAX_DOCUMENT_BYTES = 1_000_000

Maker = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    make: Maker
    good: tuple[str, ...] = ()
    """Texts that have to come out."""
    bad: int = 0
    """So many records have to be quarantined at least."""
    path: str = ""
    """Of the source, within the folder."""
    options: dict[str, Any] = field(default_factory=dict)
    slow: bool = False

    @property
    def twice(self) -> bool:
        """Whether it is read twice to compare. What takes long isn't (extraction starts a process for each reading)."""
        return (
            not self.slow and "bomb" not in self.name and (self.kind not in ("html", "warc") or "flipped" in self.name)
        )


def file(name: str, content: bytes) -> Maker:
    """A case of one file."""

    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return make


def prose(seed: int, words: int = 60) -> str:
    """Words that no dictionary has, so that they pack like text and not like zeros."""
    generator = random.Random(seed)
    return " ".join("".join(generator.choices("etaoinshrdlu", k=generator.randint(2, 9))) for _ in range(words)) + "."


def flipped(content: bytes, seed: int, bits: int = 8) -> bytes:
    """``content`` with a few bits turned over."""
    generator = random.Random(seed)
    damaged = bytearray(content)
    for _ in range(bits):
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def all_cases() -> list[Case]:
    from tests.data_tools.sources import hostile_packed, hostile_places, hostile_tables, hostile_texts, hostile_web

    modules = (hostile_packed, hostile_places, hostile_tables, hostile_texts, hostile_web)
    cases = [case for module in modules for case in module.cases()]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases of one name"
    return cases
