"""Language identification on labelled texts: accuracy per language, and its speed.

Documentation that was translated in part holds English pages under other labels. They are told by their words, not by
the model that is measured, and stand in a column of their own (:func:`data_tools.filters.language.language_accuracy`).

The corpus needs a ``lang`` column (ISO 639-1) beside ``text``; name it by GROUNDUP_BENCH_MULTILINGUAL. Without one, the
quickstart's English, French and Spanish.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.corpus import corpus_path

VARIABLE = "GROUNDUP_BENCH_MULTILINGUAL"
MAX_CHARS = 1_000
MIN_CONFIDENCE = 0.65


def run(scratch: Path) -> dict[str, Any]:
    from data_tools.filters.language import identify_language, language_accuracy

    texts, labels = _labelled(corpus_path(scratch, VARIABLE))
    identify_language("a text to warm up with", MAX_CHARS)
    start = time.process_time()
    for text in texts:
        identify_language(text, MAX_CHARS)
    seconds = time.process_time() - start
    table: list[dict[str, Any]] = []
    print(f"{'language':>8} {'texts':>6} {'right':>7} {f'>= {MIN_CONFIDENCE}':>8} {'English':>8}  most taken for")
    found = language_accuracy(texts, labels, MAX_CHARS, MIN_CONFIDENCE)
    for label, counts in found.items():
        row: dict[str, Any] = {"language": label, "texts": counts.documents, "untranslated": counts.untranslated}
        row |= {
            name: value / max(1, counts.documents) for name, value in (("right", counts.right), ("kept", counts.kept))
        }
        table.append(row)
        print(
            f"{label:>8} {counts.documents:6} {row['right']:7.1%} {row['kept']:8.1%} {counts.untranslated:8}  "
            f"{counts.mistaken_for}"
        )
    counted = sum(counts.documents for counts in found.values())
    accuracy = sum(counts.right for counts in found.values()) / max(1, counted)
    mean = sum(row["right"] for row in table) / len(table)
    print(f"  all: {accuracy:.2%} of {counted:,} texts, {mean:.2%} mean of the languages; ", end="")
    print(f"{len(texts) / seconds:,.0f} texts per CPU second")
    return {
        "table": table,
        "accuracy": accuracy,
        "mean_of_languages": mean,
        "texts": counted,
        "texts_per_cpu_second": len(texts) / seconds,
    }


def _labelled(corpus: Path) -> tuple[list[str], list[str]]:
    import pyarrow.dataset as ds

    dataset = ds.dataset(str(corpus), format="parquet")
    if "lang" in dataset.schema.names:
        table = dataset.to_table(columns=["text", "lang"])
        return table["text"].to_pylist(), table["lang"].to_pylist()
    table = dataset.to_table(columns=["text", "source"])  # of the quickstart: wikipedia-en ...
    return table["text"].to_pylist(), [source.rpartition("-")[2] for source in table["source"].to_pylist()]
