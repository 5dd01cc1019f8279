"""Exact similarities of candidate pairs, from texts to a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, bar, contest
from benchmarks.corpus import corpus_path, sample

MEGABYTES, FOR_PYTHON = 20.0, 4.0
BAR_PAIRS = 5_000.0


def run(scratch: Path) -> dict[str, Any]:
    corpus = corpus_path(scratch)
    whole = sample(corpus, scratch / "whole", MEGABYTES, longest=200_000)
    little = sample(corpus, scratch / "little", FOR_PYTHON, longest=200_000)
    print(f"documents of {whole.n_bytes / whole.documents:,.0f} bytes on average, each beside an edited copy")
    entries = contest(
        "verification",
        [
            (Contender("groundup", "groundup, from texts", ("data_tools",), repeats=3), *_spec(whole)),
            (Contender("groundup_shingles", "groundup, from shingles", ("data_tools",), repeats=3), *_spec(whole)),
            (Contender("python_sets", "sets of Python strings", ("pyarrow",)), *_spec(little)),
        ],
        unit="pairs",
    )
    bars = [bar("pairs per CPU second, from texts", None if entries[0].failed else entries[0].rate, BAR_PAIRS, "")]
    return {"entries": as_json(entries, "pairs"), "bars": bars, "mean_bytes": whole.n_bytes / whole.documents}


def _spec(chosen: Any) -> tuple[dict[str, Any], float]:
    return {"files": chosen.files}, float(chosen.documents)
