"""Text to a byte-level BPE tokenizer of 32,000 entries; and the memory that a gigabyte with many new words takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, bar, ceiling, contend, contest, times_faster
from benchmarks.corpus import corpus_path, sample

MEGABYTES = 50.0
ENTRIES = 32_000
BAR_TOKENIZERS, BAR_SENTENCEPIECE = 5.0, 3.0
#: The text of the memory's measurement, and what the process may take for it, this program itself included.
MEMORY_TEXT_BYTES, MOST_MEMORY = 1_000_000_000, 2.0

CONTENDERS = (
    Contender("groundup", "groundup, from Parquet", ("llm_core",), repeats=3),
    Contender("tokenizers", "tokenizers BpeTrainer, the same pieces", ("tokenizers",)),
    Contender("gigabpe", "gigabpe, GPT-2's pieces, plain text", ("gigabpe",), repeats=3),
    Contender("sentencepiece_bpe", "SentencePiece BPE, by line", ("sentencepiece",)),
    Contender("sentencepiece_unigram", "SentencePiece unigram, by line", ("sentencepiece",), 10.0),
)
MEMORY = Contender("memory", "groundup, a gigabyte", ("llm_core",))


def run(scratch: Path) -> dict[str, Any]:
    corpus = corpus_path(scratch)
    samples = {
        megabytes: sample(corpus, scratch / f"sample-{megabytes:g}", megabytes)
        for megabytes in {contender.megabytes or MEGABYTES for contender in CONTENDERS}
    }
    tasks = []
    for contender in CONTENDERS:
        chosen = samples[contender.megabytes or MEGABYTES]
        spec = {"folder": str(chosen.folder), "files": chosen.files, "entries": ENTRIES}
        tasks.append((contender, spec, chosen.n_bytes / 1e6))
    entries = contest("tokenizer_training", tasks)
    theirs = {entry.contender.function: entry.result for entry in entries if not entry.failed}
    same = theirs.get("groundup", {}).get("merges") == theirs.get("tokenizers", {}).get("merges")
    if {"groundup", "tokenizers"} <= set(theirs):
        print(f"  the tokenizer is {'the same as' if same else 'NOT THAT OF'} the one of tokenizers' BpeTrainer")

    everything = samples[MEGABYTES]
    spec = {"folder": str(everything.folder), "entries": ENTRIES, "text_bytes": MEMORY_TEXT_BYTES}
    memory = contend("tokenizer_training", MEMORY, spec)
    peak = None
    if "failed" in memory:
        print(f"  a gigabyte: {memory['failed']}")
    else:
        peak = memory["peak_memory_bytes"] / 1e9
        print(
            f"  {memory['text_bytes'] / 1e9:.2f} GB with changes: {memory['distinct_pieces'] + memory['let_go']:,} "
            f"distinct pieces were met, at most {memory['most_distinct']:,} held; no count is short by more than "
            f"{memory['most_missed']:,}. {memory['counting_cpu_seconds']:.0f} s to count, "
            f"{memory['learning_cpu_seconds']:.0f} s to learn."
        )
    bars = [
        bar("against tokenizers' BpeTrainer", times_faster(entries, "tokenizers"), BAR_TOKENIZERS),
        bar("against SentencePiece BPE", times_faster(entries, "sentencepiece_bpe"), BAR_SENTENCEPIECE),
        ceiling("peak memory for a gigabyte", peak, MOST_MEMORY, " GB"),
    ]
    return {
        "entries": as_json(entries),
        "same_as_tokenizers": same,
        "memory": memory,
        "bars": bars,
        "text_bytes": everything.n_bytes,
    }
