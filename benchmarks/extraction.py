"""HTML to text: ours (Resiliparse in a killable worker) against trafilatura; how far the texts agree.

Pages come from the folder, .tar.gz or .zip that GROUNDUP_BENCH_HTML names; without it, from packages of this Python
environment that carry pages (few, and no web pages).
"""

from __future__ import annotations

import os
import re
import statistics
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, bar, contest, times_faster

VARIABLE = "GROUNDUP_BENCH_HTML"
_WORD = re.compile(r"\w+")
PAGES, LEAST_BYTES, NGRAM_WORDS = 240, 1_500, 5
BAR = 10.0


def run(scratch: Path) -> dict[str, Any]:
    pages = _find_pages(scratch)
    if not pages:
        print(f"no pages found; name some by {VARIABLE}")
        return {"bars": [bar("against trafilatura", None, BAR)]}
    megabytes = sum(path.stat().st_size for path in pages) / 1e6
    spec = {"pages": [str(path) for path in pages]}
    ours, theirs = ("data_tools", "resiliparse"), ("trafilatura",)
    entries = contest(
        "extraction",
        [
            (Contender("groundup", "groundup, in its killable worker", ours, repeats=3), spec, megabytes),
            (Contender("groundup_in_process", "groundup, without the worker", ours, repeats=3), spec, megabytes),
            (Contender("trafilatura", "trafilatura", theirs), spec, megabytes),
        ],
    )
    agreement = None
    if not entries[0].failed and not entries[2].failed:
        agreement = _agreement(entries[0].result["texts"], entries[2].result["texts"])
        print(
            f"  {len(pages)} pages; median of 5-grams: {agreement['theirs_in_ours']:.1%} of trafilatura's are in ours, "
            f"{agreement['ours_in_theirs']:.1%} of ours in trafilatura's; "
            f"nearly empty: ours {agreement['empty_ours']}, trafilatura {agreement['empty_theirs']}"
        )
    for entry in entries:
        entry.result.pop("texts", None)
    bars = [bar("against trafilatura", times_faster(entries, "trafilatura"), BAR)]
    return {"entries": as_json(entries), "bars": bars, "agreement": agreement, "pages": len(pages)}


def _find_pages(scratch: Path) -> list[Path]:
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else Path(sysconfig.get_paths()["purelib"])
    if folder.is_file():
        unpacked = scratch / "pages"
        if zipfile.is_zipfile(folder):
            with zipfile.ZipFile(folder) as archive:
                archive.extractall(unpacked)
        else:
            with tarfile.open(folder) as archive:
                archive.extractall(unpacked, filter="data")
        folder = unpacked
    found = [path for path in sorted(folder.rglob("*.htm*")) if path.is_file() and path.stat().st_size >= LEAST_BYTES]
    step = max(1, len(found) // PAGES)
    return found[::step][:PAGES]


def _agreement(ours: list[str], theirs: list[str]) -> dict[str, Any]:
    forth, back = [], []
    for one, other in zip(ours, theirs, strict=True):
        a, b = _ngrams(one), _ngrams(other)
        if a and b:
            forth.append(len(a & b) / len(b))
            back.append(len(a & b) / len(a))
    return {
        "theirs_in_ours": statistics.median(forth) if forth else 0.0,
        "ours_in_theirs": statistics.median(back) if back else 0.0,
        "empty_ours": sum(len(text.strip()) < 50 for text in ours),
        "empty_theirs": sum(len(text.strip()) < 50 for text in theirs),
    }


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return set(zip(*(words[i:] for i in range(NGRAM_WORDS)), strict=False))
