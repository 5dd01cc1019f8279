"""Near-duplicates of known similarity, planted among the corpus's own words: how many meet in a band, against theory;
how many are removed after verification; and whether everything removed was similar enough.

The similarities are computed here, on sets of Python strings, by nothing that the deduplication uses.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.contest import bar, ceiling
from benchmarks.corpus import SEED, Sample, corpus_path, sample, texts_of

PAIRS, WORDS, SHINGLE_WORDS = 6_000, 150, 5
SEEDS = (1, 2, 3, 4, 5)
"""Draws of the permutations; each meets every pair anew."""
BANDS, ROWS, SIMILARITY = 14, 8, 0.75
BINS = [0.5 + 0.05 * step for step in range(10)]
BAR_DEVIATION = 3.0
"""Standard errors that the largest of ten bins may lie from theory."""

_WORD = re.compile(r"\w+")


def run(scratch: Path) -> dict[str, Any]:
    corpus = corpus_path(scratch)
    chosen = sample(corpus, scratch / "sample", 40.0)
    pairs = _plant(chosen)
    met = _met_in_a_band(pairs)
    removed, precision, checked = _deduplicate(pairs, scratch)
    table: list[dict[str, Any]] = []
    print(f"{'similarity':>12} {'pairs':>6} {'in a band':>10} {'theory':>8} {'std.err.':>9} {'removed':>8}")
    by_bin: dict[float, list[int]] = defaultdict(list)
    for number, (_, _, similarity) in enumerate(pairs):
        by_bin[max((low for low in BINS if low <= similarity), default=0.0)].append(number)
    for low in BINS:
        numbers = by_bin[low]
        if not numbers:
            continue
        expected = [1 - (1 - pairs[i][2] ** ROWS) ** BANDS for i in numbers]
        theory = sum(expected) / len(numbers)
        error = (sum(p * (1 - p) for p in expected) / len(SEEDS)) ** 0.5 / len(numbers)
        row = {
            "from": round(low, 2),
            "pairs": len(numbers),
            "met": sum(met[i] for i in numbers) / len(numbers),
            "theory": theory,
            "standard_error": error,
            "removed": sum(removed[i] for i in numbers) / len(numbers),
        }
        table.append(row)
        print(
            f"{low:.2f}-{low + 0.05:.2f}".rjust(12)
            + f" {row['pairs']:6} {row['met']:10.3f} {theory:8.3f} {error:9.4f} {row['removed']:8.3f}"
        )
    deviations = [abs(row["met"] - row["theory"]) / max(row["standard_error"], 1 / row["pairs"]) for row in table]
    print(f"  {checked:,} removals checked against their representatives at {SIMILARITY}")
    bars = [
        ceiling("largest distance from theory", max(deviations), BAR_DEVIATION, " standard errors"),
        bar("precision after verification", 100 * precision, 100.0, "%"),
    ]
    return {"table": table, "bars": bars, "removals_checked": checked}


def _plant(chosen: Sample) -> list[tuple[str, str, float]]:
    """(text, edited copy, their exact similarity): some words of a piece of a document exchanged for others."""
    generator = random.Random(SEED)
    pieces: list[list[str]] = []
    seen: set[str] = set()
    for text in texts_of(chosen.files):
        words = _WORD.findall(text)
        for start in range(0, min(len(words) - WORDS, 20 * WORDS), WORDS):
            piece = words[start : start + WORDS]
            shingles = _shingles(" ".join(piece))
            # Pieces that repeat others would be copies of more than their own partner. Only ASCII: there a word is the
            # same for Python's \w+ and for us, who take Chinese and Japanese apart.
            if len(shingles) > 0.9 * WORDS and shingles.isdisjoint(seen) and all(map(str.isascii, piece)):
                seen |= shingles
                pieces.append(piece)
        if len(pieces) >= PAIRS:
            break
    pairs = []
    for number, piece in enumerate(pieces[:PAIRS]):
        # k scattered edits spoil about 5 k shingles of each side.
        edits = 1 + number % 12
        copy = list(piece)
        for position in generator.sample(range(len(copy)), edits):
            copy[position] = f"edit{generator.randrange(10**9)}"
        one, other = " ".join(piece), " ".join(copy)
        a, b = _shingles(one), _shingles(other)
        pairs.append((one, other, len(a & b) / len(a | b)))
    return pairs


def _shingles(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def _met_in_a_band(pairs: list[tuple[str, str, float]]) -> list[float]:
    """For each pair, the share of ``SEEDS`` under which it shares a band."""
    import numpy as np
    import pyarrow as pa

    from data_tools.dedup.minhash import MinHasher, band_keys

    texts = pa.array([text for one, other, _ in pairs for text in (one, other)], pa.large_string())
    met = np.zeros(len(pairs))
    for seed in SEEDS:
        signatures, _ = MinHasher(BANDS * ROWS, seed, SHINGLE_WORDS).signatures(texts)
        keys = band_keys(signatures, BANDS, ROWS)
        met += (keys[::2] == keys[1::2]).any(axis=1)
    return [float(share) for share in met / len(SEEDS)]


def _deduplicate(pairs: list[tuple[str, str, float]], scratch: Path) -> tuple[list[bool], float, int]:
    """Which pairs lost one of theirs to the other, the share of removals that was right, and how many there were."""
    import pyarrow.parquet as pq

    from data_tools.config import DataRuntime, DeduplicateConfig
    from data_tools.parquet import ShardWriter
    from data_tools.progress import no_progress
    from data_tools.schema import DOCUMENTS
    from data_tools.stages import deduplicate
    from data_tools.text import document_id

    texts = {document_id(text): text for one, other, _ in pairs for text in (one, other)}
    with ShardWriter(scratch / "planted" / "documents", DOCUMENTS) as writer:
        for number, (doc_id, text) in enumerate(sorted(texts.items())):
            row = {"doc_id": doc_id, "text": text, "source": "planted", "source_id": str(number)}
            writer.add({**row, "n_bytes": len(text.encode()), "metadata": []}, len(text))
    out = scratch / "deduplicated"
    out.mkdir()
    config = DeduplicateConfig(
        min_similarity=SIMILARITY, bands=BANDS, rows=ROWS, shingle_words=SHINGLE_WORDS, min_containment=None
    )
    deduplicate.run(config, {"documents": scratch / "planted"}, out, no_progress, DataRuntime(workers=1))
    representative = {
        row["doc_id"]: row["representative"]
        for path in sorted((out / "duplicates").glob("*.parquet"))
        for row in pq.read_table(path, columns=["doc_id", "representative"]).to_pylist()
    }
    right = 0
    for copy, original in representative.items():
        a, b = _shingles(texts[copy]), _shingles(texts[original])
        right += len(a & b) / len(a | b) >= SIMILARITY
    removed = []
    for one, other, _ in pairs:
        a_id, b_id = document_id(one), document_id(other)
        removed.append(representative.get(a_id) == b_id or representative.get(b_id) == a_id)
    return removed, right / max(1, len(representative)), len(representative)
