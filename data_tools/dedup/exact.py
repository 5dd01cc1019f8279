"""Exact copies: documents with the same id, which is the hash of their normalized text."""

from __future__ import annotations

from collections.abc import Sequence


def exact_copies(doc_ids: Sequence[str]) -> dict[int, int]:
    """Position of every copy to the position of the document that it is a copy of: the first in corpus order."""
    first: dict[str, int] = {}
    copies: dict[int, int] = {}
    for position, doc_id in enumerate(doc_ids):
        original = first.setdefault(doc_id, position)
        if original != position:
            copies[position] = original
    return copies
