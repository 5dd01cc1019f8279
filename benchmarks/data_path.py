"""The whole data path, raw Parquet to clean Parquet, against datatrove's same steps on fewer of the same documents.

Ours computes all signals of every document and verifies every removal; datatrove's filters stop at the first that drops
a document, and its MinHash doesn't verify.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, bar, contest, times_faster
from benchmarks.corpus import corpus_path, sample

MEGABYTES, FOR_WHITESPACE, FOR_SPACY = 60.0, 10.0, 2.0
BAR = 50.0


def run(scratch: Path) -> dict[str, Any]:
    corpus = corpus_path(scratch)
    chosen = {
        megabytes: sample(corpus, scratch / f"sample-{megabytes:g}", megabytes)
        for megabytes in (0.2, FOR_SPACY, FOR_WHITESPACE, MEGABYTES)
    }

    def spec(megabytes: float) -> tuple[dict[str, Any], float]:
        (raw,) = chosen[megabytes].files
        (warm_up,) = chosen[0.2].files
        return {"raw": raw, "warm_up": warm_up}, chosen[megabytes].n_bytes / 1e6

    ours = ("data_tools",)
    theirs = ("datatrove", "spacy", "pyarrow")
    entries = contest(
        "data_path",
        [
            (Contender("groundup", "groundup", ours, repeats=3), *spec(MEGABYTES)),
            (Contender("datatrove_spacy", "datatrove, spaCy words", theirs), *spec(FOR_SPACY)),
            (Contender("datatrove_whitespace", "datatrove, whitespace words", theirs), *spec(FOR_WHITESPACE)),
            (Contender("groundup", f"groundup on {FOR_WHITESPACE:g} MB", ours), *spec(FOR_WHITESPACE)),
        ],
    )
    for entry in entries:
        if not entry.failed:
            selected, kept = entry.result["selected"], entry.result["documents_out"]
            print(f"  {entry.contender.title}: {selected:,} selected, {kept:,} after deduplication")
    if not entries[0].failed:
        parts = entries[0].result["stage_cpu_seconds"]
        print("  ours by stage: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in parts.items()))
    bars = [
        bar("against datatrove", times_faster(entries, "datatrove_spacy"), BAR),
        bar("against datatrove with whitespace words", times_faster(entries, "datatrove_whitespace"), 1.0),
    ]
    return {"entries": as_json(entries), "bars": bars}
