"""Gopher quality, Gopher repetition and FineWeb (then C4 too) against datatrove: speed, and the same decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, Entry, as_json, bar, contest, times_faster
from benchmarks.corpus import corpus_path, sample

RULES = ("quality", "repetition", "fineweb")
MEGABYTES, FOR_WHITESPACE, FOR_SPACY = 40.0, 16.0, 2.0
BAR_RATE, BAR_AGREEMENT = 50.0, 99.9


def run(scratch: Path) -> dict[str, Any]:
    corpus = corpus_path(scratch)
    whole = sample(corpus, scratch / "whole", MEGABYTES)
    part = sample(corpus, scratch / "part", FOR_WHITESPACE)
    little = sample(corpus, scratch / "little", FOR_SPACY)
    warm_up = sample(corpus, scratch / "warm-up", 0.2)
    print(f"{whole.documents:,} documents; datatrove on the first {part.documents:,} and {little.documents:,} of them")
    bars, results = [], {}
    for rules in (RULES, (*RULES, "c4")):
        print(f"\n{' + '.join(rules)}, all for every document:")
        common: dict[str, Any] = {"rules": rules, "warm_up": str(warm_up.folder)}

        def spec(chosen: Any, common: dict[str, Any] = common, **more: Any) -> tuple[dict[str, Any], float]:
            return {**common, "folder": str(chosen.folder), "files": chosen.files, **more}, chosen.n_bytes / 1e6

        ours = Contender("groundup", "groundup, Parquet to signals (whitespace words)", ("data_tools",), repeats=3)
        same = Contender("groundup", "groundup, on datatrove's part, with verdicts", ("data_tools",))
        whitespace = Contender("datatrove_whitespace", "datatrove, whitespace words", ("datatrove", "spacy"))
        spacy = Contender("datatrove_spacy", "datatrove, spaCy words", ("datatrove", "spacy"))
        entries = contest(
            "filters",
            [
                (ours, *spec(whole)),
                (whitespace, *spec(part)),
                (spacy, *spec(little)),
                (same, *spec(part, decide=True)),
            ],
        )
        rate = None if entries[0].failed else entries[0].rate
        bars.append(bar(f"{'+'.join(rules)}, MB of text per CPU second", rate, BAR_RATE, " MB/s"))
        agreement = _agreement(entries[3], entries[1], little.documents, rules, entries[2])
        if agreement:
            for rule in rules:
                share = agreement["whitespace"][rule]["agree"]
                bars.append(bar(f"decisions of {rule} as datatrove's, same words", share, BAR_AGREEMENT, "%"))
        results["+".join(rules)] = {
            "entries": as_json(entries),
            "times_faster_whitespace": times_faster(entries, "datatrove_whitespace"),
            "times_faster_spacy": times_faster(entries, "datatrove_spacy"),
            "agreement": agreement,
        }
    return {"bars": bars, "contests": results, "documents": whole.documents, "text_bytes": whole.n_bytes}


def _agreement(ours: Entry, peer: Entry, few: int, rules: tuple[str, ...], spacy: Entry) -> dict[str, Any] | None:
    """Share of documents on which keep or drop is the same, rule set by rule set; the first differences in full."""
    if ours.failed or peer.failed:
        return None
    found: dict[str, Any] = {"whitespace": {}, "spacy": {}}
    for rule in rules:
        mine, theirs = ours.result["kept"][rule], peer.result["kept"][rule]
        differing = [i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
        shown = [
            {"document": i, "ours": ours.result["reasons"][i], "datatrove": peer.result["reasons"][i]}
            for i in differing[:10]
        ]
        found["whitespace"][rule] = {
            "documents": len(mine),
            "agree": 100 * (1 - len(differing) / len(mine)),
            "kept_by_us": sum(mine),
            "kept_by_datatrove": sum(theirs),
            "differences": shown,
        }
        line = f"  {rule}: {len(differing)} of {len(mine):,} decided otherwise than datatrove with the same words"
        if not spacy.failed:
            stock = spacy.result["kept"][rule]
            same = sum(a == b for a, b in zip(mine[:few], stock, strict=True)) / few
            found["spacy"][rule] = {"documents": few, "agree": 100 * same}
            line += f"; {same:.1%} of {few:,} as with spaCy's words"
        print(line)
        for difference in shown[:3]:
            print(f"    document {difference['document']}: {difference['ours']} here, {difference['datatrove']} there")
    return found
