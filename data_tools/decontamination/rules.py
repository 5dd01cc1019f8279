"""What follows from shared n-grams: which documents go, and what is cut out of those that stay.

`gpt3` is the rule of Brown et al. 2020, appendix C: n-grams that stand in more than 10 documents say nothing (they are
licences, verses, idioms); around every other one 200 characters on both sides are cut out; pieces under 200 characters
go, and so does a document that falls into more than 10 pieces. GPT-3 made a document of each piece; here they stay
together, with a blank line between them, so that a document still has one successor.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_tools.config import DecontaminateConfig
from data_tools.decontamination.ngrams import Ints, SoughtNgrams

WINDOW_CHARS = 200
MIN_PIECE_CHARS = 200
MAX_PIECES = 10


@dataclass(frozen=True)
class Meeting:
    """A document and an example that have n-grams in common."""

    example: int
    ngrams: int
    coverage: float
    """Of the example's n-grams."""
    first: tuple[int, int]
    """Where the first of them stands in the document, in bytes."""
    counts: bool
    """Whether it is a reason to touch the document."""


def meetings(found: Ints, sought: SoughtNgrams, too_common: Ints, config: DecontaminateConfig) -> list[Meeting]:
    """The examples that a document met, in order.

    Args:
        found: (found, 3) of one document: n-gram, first byte, byte behind it, by place.
        too_common: n-grams that don't count (sorted).
    """
    ngrams, index = np.unique(found[:, 0], return_index=True)
    order = np.argsort(index, kind="stable")  # by place, so that an example's first n-gram is the first that it meets
    by_example: dict[int, list[int]] = {}
    for position in order.tolist():
        for example in sought.examples_of(int(ngrams[position])).tolist():
            by_example.setdefault(example, []).append(position)
    common = np.isin(ngrams, too_common)
    met = []
    for example, positions in sorted(by_example.items()):
        coverage = len(positions) / int(sought.per_example[example])
        counts = config.rule != "coverage" or coverage >= config.min_coverage
        if config.rule == "gpt3":
            counts = not common[positions].all()
        first = found[index[positions[0]]]
        met.append(Meeting(example, len(positions), coverage, (int(first[1]), int(first[2])), counts))
    return met


def cut_out(text: str, found: Ints, too_common: Ints) -> tuple[str, int]:
    """``(what is left, cuts)`` by the rule `gpt3`; nothing is left of a document that falls into too many pieces."""
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    # How many characters begin before each byte.
    characters = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
    counting = found[~np.isin(found[:, 0], too_common)]
    cuts: list[list[int]] = []
    for start, end in sorted(
        zip(characters[counting[:, 1]].tolist(), characters[counting[:, 2]].tolist(), strict=True)
    ):
        start, end = max(0, start - WINDOW_CHARS), min(len(text), end + WINDOW_CHARS)
        if cuts and start <= cuts[-1][1]:
            cuts[-1][1] = max(cuts[-1][1], end)
        else:
            cuts.append([start, end])
    borders = [0, *(border for cut in cuts for border in cut), len(text)]
    pieces = [text[start:end].strip() for start, end in list(pairwise(borders))[::2] if start < end]
    if len(pieces) > MAX_PIECES:
        return "", len(cuts)
    return "\n\n".join(piece for piece in pieces if len(piece) >= MIN_PIECE_CHARS), len(cuts)
