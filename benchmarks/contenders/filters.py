"""Gopher's quality and repetition rules and FineWeb's, then C4's too: Parquet text to decisions.

datatrove's filters are called one after the other on every document, as many as there are, so that both sides do the
same work (its pipeline would stop at the first that drops one). Their words come from spaCy, or, to compare decisions
under the same definition, from ``str.split``.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]

#: Rule set to the prefix of its reasons.
PREFIXES = {"quality": "gopher/", "repetition": "repetition/", "fineweb": "fineweb/", "c4": "c4/"}


def groundup(spec: dict[str, Any]) -> Contender:
    """The door of annotate: Parquet to signals in Parquet, all of them for every document."""
    from data_tools.config import AnnotateConfig, DataRuntime, SelectConfig
    from data_tools.progress import no_progress
    from data_tools.stages import annotate, select

    config = AnnotateConfig(
        language=False,
        gopher_quality=True,
        gopher_repetition=True,
        fineweb=True,
        c4="c4" in spec["rules"],
        definitions="datatrove",
        c4_variant="datatrove",
    )
    runtime = DataRuntime(workers=1)
    scratch = Path(spec["scratch"])

    def measure(documents: str, name: str) -> Path:
        out = scratch / name
        out.mkdir(parents=True, exist_ok=True)
        annotate.run(config, {"documents": Path(documents)}, out, no_progress, runtime)
        return out

    measure(spec["warm_up"], "warm-up")
    yield
    signals = measure(spec["folder"], f"signals-{len(list(scratch.iterdir()))}")
    if not spec.get("decide"):
        return {}
    rules: dict[str, Any] = {"presets": ["datatrove-0.10"], "language": None}
    if "c4" in spec["rules"]:
        rules["c4"] = {"min_sentences": 5}
    out = scratch / "select"
    out.mkdir(exist_ok=True)
    inputs = {"documents": Path(spec["folder"]), "signals": signals}
    select.run(SelectConfig.model_validate(rules), inputs, out, no_progress, runtime)
    import pyarrow.parquet as pq

    reasons = [
        row
        for path in sorted((out / "verdicts").glob("*.parquet"))
        for row in pq.read_table(path)["reasons"].to_pylist()
    ]
    kept = {
        rule: [not any(reason.startswith(PREFIXES[rule]) for reason in found) for found in reasons]
        for rule in spec["rules"]
    }
    return {"kept": kept, "reasons": reasons}


def datatrove_spacy(spec: dict[str, Any]) -> Contender:
    return (yield from _datatrove(spec))


def datatrove_whitespace(spec: dict[str, Any]) -> Contender:
    """The same with ``str.split`` for words, and sentences cut after ``.``, ``!`` and ``?``."""
    from datatrove.pipeline.filters import (
        c4_filters,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
        module.split_into_words = lambda text, language="": text.split()
    ends = re.compile(r"(?<=[.!?])\s+")
    c4_filters.split_into_sentences = lambda text, language="": [part for part in ends.split(text) if part.strip()]
    return (yield from _datatrove(spec))


def _datatrove(spec: dict[str, Any]) -> Contender:
    import pyarrow.parquet as pq
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    makers = {
        "quality": GopherQualityFilter,
        "repetition": GopherRepetitionFilter,
        "fineweb": FineWebQualityFilter,
        "c4": C4QualityFilter,
    }
    filters = {rule: makers[rule]() for rule in spec["rules"]}
    warm_up = "A text to warm up with. It has two sentences, and\na second line."
    for rule in filters.values():
        rule.filter(Document(text=warm_up, id=""))
    yield
    kept: dict[str, list[bool]] = {rule: [] for rule in filters}
    reasons: list[list[str]] = []
    for path in spec["files"]:
        for text in pq.read_table(path, columns=["text"], use_threads=False)["text"].to_pylist():
            found = []
            for name, rule in filters.items():
                try:
                    verdict = rule.filter(Document(text=text, id=""))
                except ZeroDivisionError:  # a text without words
                    verdict = (False, "error")
                keep, reason = verdict if isinstance(verdict, tuple) else (verdict, None)
                kept[name].append(bool(keep))
                if not keep:
                    found.append(f"{name}/{reason}")
            reasons.append(found)
    return {"kept": kept, "reasons": reasons}
