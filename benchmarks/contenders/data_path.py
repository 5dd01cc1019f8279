"""Raw Parquet to clean Parquet: read, Gopher quality, Gopher repetition, FineWeb, deduplicate by MinHash, write.

Language identification is in neither: datatrove downloads its model.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]


def groundup(spec: dict[str, Any]) -> Contender:
    """Four doors: ingest, annotate, select, deduplicate. Every step writes Parquet and every removal is verified."""
    from data_tools.config import AnnotateConfig, DataRuntime, DeduplicateConfig, IngestConfig, SelectConfig
    from data_tools.progress import no_progress
    from data_tools.stages import annotate, deduplicate, ingest, select

    runtime = DataRuntime(workers=1)
    scratch = Path(spec["scratch"])

    def work(raw: str, name: str) -> dict[str, Any]:
        def folder(stage: str) -> Path:
            path = scratch / name / stage
            path.mkdir(parents=True, exist_ok=True)
            return path

        counters: dict[str, Any] = {}
        seconds: dict[str, float] = {}

        def step(stage: str, door: Any, config: Any, inputs: dict[str, Path]) -> None:
            import time

            start = time.process_time()
            counters[stage] = door.run(config, inputs, folder(stage), no_progress, runtime)
            seconds[stage] = time.process_time() - start

        source = {"kind": "parquet", "name": "raw", "path": raw, "text_field": "text", "id_field": "source_id"}
        step("ingest", ingest, IngestConfig.model_validate({"sources": [source]}), {})
        signals = AnnotateConfig(language=False, gopher_repetition=True, fineweb=True, definitions="datatrove")
        step("annotate", annotate, signals, {"documents": folder("ingest")})
        rules = SelectConfig.model_validate({"presets": ["datatrove-0.10"], "language": None})
        inputs = {"documents": folder("ingest"), "signals": folder("annotate")}
        step("select", select, rules, inputs)
        step("deduplicate", deduplicate, DeduplicateConfig(), {"documents": folder("select")})
        return {
            "selected": counters["select"]["documents_out"],
            "documents_out": counters["deduplicate"]["documents_out"],
            "stage_cpu_seconds": seconds,
        }

    work(spec["warm_up"], "warm-up")
    yield
    return work(spec["raw"], f"run-{len(list(scratch.iterdir()))}")


def datatrove_spacy(spec: dict[str, Any]) -> Contender:
    return (yield from _datatrove(spec))


def datatrove_whitespace(spec: dict[str, Any]) -> Contender:
    """The same with ``str.split`` for words, in the filters and in the shingles."""
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.filters import fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter

    for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
        module.split_into_words = lambda text, language="": text.split()

    class Whitespace:
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

    minhash.load_word_tokenizer = lambda language: Whitespace()
    return (yield from _datatrove(spec))


def _datatrove(spec: dict[str, Any]) -> Contender:
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    scratch = Path(spec["scratch"])
    raw = Path(spec["raw"])
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    signatures = MinhashDedupSignature(str(scratch / "signatures"), config=config)
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), FineWebQualityFilter()]
    warm_up = "A text to warm up with. It has two sentences, and\na second line."
    for rule in filters:
        rule.filter(Document(text=warm_up, id=""))
    signatures.get_signature(signatures.get_shingles(warm_up))
    yield

    def through(data: Any, *steps: Any) -> int:
        for step in steps:
            data = step.run(data, 0, 1)
        return sum(1 for _ in data)

    # The first that drops a document spares it the rest, as in datatrove's own pipelines.
    reader = ParquetReader(str(raw.parent), glob_pattern=raw.name, id_key="source_id")
    with ParquetWriter(str(scratch / "filtered")) as writer:
        selected = through(reader.run(None, 0, 1), *filters, writer)
    signatures.run(ParquetReader(str(scratch / "filtered")).run(None, 0, 1), 0, 1)
    buckets = MinhashDedupBuckets(str(scratch / "signatures"), str(scratch / "buckets"), config=config)
    for rank in range(config.num_buckets):
        buckets.run(None, rank, config.num_buckets)
    MinhashDedupCluster(str(scratch / "buckets"), str(scratch / "remove"), config=config).run(None, 0, 1)
    with ParquetWriter(str(scratch / "clean")) as writer:
        reader = ParquetReader(str(scratch / "filtered"))
        kept = through(reader.run(None, 0, 1), MinhashDedupFilter(str(scratch / "remove")), writer)
    return {"selected": selected, "documents_out": kept}
