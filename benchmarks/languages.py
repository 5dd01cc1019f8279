"""Language identification on labelled texts: accuracy per language, and its speed.

Documentation that was translated in part holds English pages under other labels. So beside the share that was
identified as labelled stands the same share without the texts that were taken for English.

The corpus needs a ``lang`` column (ISO 639-1) beside ``text``; name it by GROUNDUP_BENCH_MULTILINGUAL. Without one, the
quickstart's English, French and Spanish.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from benchmarks.corpus import corpus_path

VARIABLE = "GROUNDUP_BENCH_MULTILINGUAL"
MAX_CHARS = 1_000
MIN_CONFIDENCE = 0.65


def run(scratch: Path) -> dict[str, Any]:
    from data_tools.filters.language import identify_language

    texts, labels = _labelled(corpus_path(scratch, VARIABLE))
    identify_language("a text to warm up with", MAX_CHARS)
    start = time.process_time()
    found = [identify_language(text, MAX_CHARS) for text in texts]
    seconds = time.process_time() - start
    right: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    taken_for: dict[str, Counter[str]] = defaultdict(Counter)
    total = Counter(labels)
    for label, (language, confidence) in zip(labels, found, strict=True):
        right[label] += language == label
        kept[label] += language == label and confidence >= MIN_CONFIDENCE
        if language != label:
            taken_for[label][language] += 1
    table: list[dict[str, Any]] = []
    print(f"{'language':>8} {'texts':>6} {'right':>7} {f'>= {MIN_CONFIDENCE}':>8} {'but English':>11}  most taken for")
    for label, count in sorted(total.items()):
        others = ", ".join(f"{other} {n}" for other, n in taken_for[label].most_common(3))
        row: dict[str, Any] = {"language": label, "texts": count}
        row |= {"right": right[label] / count, "kept": kept[label] / count}
        row["right_but_english"] = right[label] / max(1, count - taken_for[label]["en"])
        table.append(row)
        print(f"{label:>8} {count:6} {row['right']:7.1%} {row['kept']:8.1%} {row['right_but_english']:11.1%}  {others}")
    accuracy = sum(right.values()) / len(texts)
    mean = sum(row["right"] for row in table) / len(table)
    but_english = sum(right.values()) / (len(texts) - sum(found["en"] for found in taken_for.values()))
    print(
        f"  all: {accuracy:.2%} of {len(texts):,} texts ({but_english:.2%} without those taken for English), ", end=""
    )
    print(f"{mean:.2%} mean of the languages; ", end="")
    print(f"{len(texts) / seconds:,.0f} texts per CPU second")
    return {
        "table": table,
        "accuracy": accuracy,
        "accuracy_but_english": but_english,
        "mean_of_languages": mean,
        "texts": len(texts),
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
