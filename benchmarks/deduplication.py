"""Whole deduplication, every removal verified, against datasketch's MinHashLSH and gaoya on the same documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, bar, contest, times_faster
from benchmarks.corpus import corpus_path, sample

MEGABYTES = 100.0
BAR_DATASKETCH, BAR_GAOYA = 50.0, 8.0
#: All at 14 bands of 8 rows over 5-word shingles. The peers get less text, which is in their favour: their indexes
#: grow with it.
CONTENDERS = (
    Contender("groundup", "groundup, Parquet to clean Parquet", ("data_tools",), repeats=3),
    Contender("gaoya", "gaoya (verifies on signatures)", ("gaoya", "pyarrow"), 40.0),
    Contender("datasketch_lsh", "datasketch bulk + MinHashLSH (unverified)", ("datasketch", "pyarrow"), 20.0),
)


def run(scratch: Path) -> dict[str, Any]:
    corpus = corpus_path(scratch)
    warm_up = sample(corpus, scratch / "warm-up", 0.2)
    sizes = sorted({contender.megabytes or MEGABYTES for contender in CONTENDERS})
    samples = {megabytes: sample(corpus, scratch / f"sample-{megabytes:g}", megabytes) for megabytes in sizes}
    tasks = []
    for contender in CONTENDERS:
        chosen = samples[contender.megabytes or MEGABYTES]
        spec = {"folder": str(chosen.folder), "files": chosen.files, "warm_up": str(warm_up.folder)}
        tasks.append((contender, spec, chosen.n_bytes / 1e6))
    # What ours removes from the peers' smaller samples, so that the counts can be compared.
    for megabytes in sizes[:-1]:
        chosen = samples[megabytes]
        spec = {"folder": str(chosen.folder), "files": chosen.files, "warm_up": str(warm_up.folder)}
        tasks.append(
            (Contender("groundup", f"groundup on {megabytes:g} MB", ("data_tools",)), spec, chosen.n_bytes / 1e6)
        )
    entries = contest("deduplication", tasks)
    for entry in entries:
        if not entry.failed:
            print(f"  {entry.contender.title}: {entry.result['removed']:,} removed")
    bars = []
    if not entries[0].failed:
        decided = entries[0].amount / entries[0].result["decided_cpu_seconds"]
        print(f"  groundup until it writes (the peers write nothing): {decided:,.1f} MB/s")
        for entry, least in ((entries[2], BAR_DATASKETCH), (entries[1], BAR_GAOYA)):
            ratio = None if entry.failed else decided / entry.rate
            bars.append(bar(f"decision against {entry.contender.title}", ratio, least))
    print("  with writing what stays:")
    bars += [
        bar("against datasketch MinHashLSH", times_faster(entries, "datasketch_lsh"), BAR_DATASKETCH),
        bar("against gaoya", times_faster(entries, "gaoya"), BAR_GAOYA),
    ]
    return {"entries": as_json(entries), "bars": bars}
