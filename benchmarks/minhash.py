"""Parquet text to MinHash signatures: 5-word shingles, 112 permutations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, bar, contest, times_faster
from benchmarks.corpus import corpus_path, sample

MEGABYTES = 60.0
BAR_RATE, BAR_DATASKETCH, BAR_FASTEST = 200.0, 30.0, 4.0

CONTENDERS = (
    Contender("groundup", "groundup, from Parquet", ("data_tools",), repeats=5),
    Contender("groundup_kernel", "groundup, from Arrow in memory", ("data_tools",), repeats=5),
    Contender("gaoya", "gaoya (with its index)", ("gaoya",), 20.0),
    Contender("rensa_r", "rensa R-MinHash, shingles by re", ("rensa", "pyarrow"), 20.0),
    Contender("datasketch_bulk_xxh32", "datasketch bulk, affine32, xxh32", ("datasketch", "xxhash", "pyarrow"), 10.0),
    Contender("datasketch_bulk", "datasketch bulk, affine32 (sha1)", ("datasketch", "pyarrow"), 10.0),
    Contender("datatrove", "datatrove, spaCy words", ("datatrove", "spacy"), 1.0),
)


def run(scratch: Path) -> dict[str, Any]:
    corpus = corpus_path(scratch)
    warm_up = sample(corpus, scratch / "warm-up", 0.2)
    samples = {
        megabytes: sample(corpus, scratch / f"sample-{megabytes:g}", megabytes)
        for megabytes in {contender.megabytes or MEGABYTES for contender in CONTENDERS}
    }
    tasks = []
    for contender in CONTENDERS:
        chosen = samples[contender.megabytes or MEGABYTES]
        spec = {"folder": str(chosen.folder), "files": chosen.files, "warm_up": warm_up.files}
        tasks.append((contender, spec, chosen.n_bytes / 1e6))
    entries = contest("minhash", tasks)
    bars = [
        bar(
            "MB of text per CPU second, from Parquet", None if entries[0].failed else entries[0].rate, BAR_RATE, " MB/s"
        ),
        bar("against datasketch bulk", times_faster(entries, "datasketch_bulk"), BAR_DATASKETCH),
        bar("against the fastest peer", times_faster(entries, *(c.function for c in CONTENDERS[2:])), BAR_FASTEST),
    ]
    return {"entries": as_json(entries), "bars": bars, "text_bytes": samples[MEGABYTES].n_bytes}
