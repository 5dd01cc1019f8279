"""Parquet text to token shards on one core: the same 32,768-entry tokenizer in several libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, bar, contest, times_faster
from benchmarks.corpus import corpus_path, sample, texts_of

MEGABYTES, TRAINING_MEGABYTES, VOCABULARY = 200.0, 20.0, 32_768
BAR_RATE, BAR_TIKTOKEN, BAR_TOKENIZERS = 60.0, 3.0, 15.0

OURS = ("llm_core",)
CONTENDERS = (
    Contender("gigatoken", "groundup, gigatoken", (*OURS, "gigatoken"), repeats=3),
    Contender("whole_stage", "groundup, its trial included", OURS),
    Contender("fastokens", "groundup, fastokens", (*OURS, "fastokens"), 100.0),
    Contender("tiktoken_inside", "groundup, tiktoken", (*OURS, "tiktoken"), 40.0),
    Contender("huggingface_inside", "groundup, tokenizers", OURS, 10.0),
    Contender("tiktoken", "tiktoken, plain script", ("tiktoken", "pyarrow"), 40.0),
    Contender("tokenizers", "tokenizers, plain script", ("tokenizers", "pyarrow"), 10.0),
)


def run(scratch: Path) -> dict[str, Any]:
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.tokenizer.encoders import split_pattern

    corpus = corpus_path(scratch)
    tokenizer = _tokenizer(corpus, scratch)
    loaded = Tokenizer.load(tokenizer)
    spec: dict[str, Any] = {
        "tokenizer": str(tokenizer),
        "pattern": split_pattern(tokenizer),
        "ranks": [[content.hex(), number] for number, content in enumerate(loaded.bytes_of) if content],
        "eot_id": loaded.eot_id,
    }
    tasks = []
    for contender in CONTENDERS:
        megabytes = contender.megabytes or MEGABYTES
        chosen = sample(corpus, scratch / f"sample-{megabytes:g}", megabytes)
        here = {**spec, "folder": str(chosen.folder), "files": chosen.files}
        tasks.append((contender, here, chosen.n_bytes / 1e6))
    entries = contest("tokenizing", tasks)
    digests = {entry.result["ids_sha256"] for entry in entries if not entry.failed}
    print(f"  ids of the first documents: {'the same for all' if len(digests) == 1 else 'THEY DIFFER'}")
    first = entries[0]
    bars = [
        bar("MB of text per CPU second, Parquet to shard", None if first.failed else first.rate, BAR_RATE, " MB/s"),
        bar("against tiktoken", times_faster(entries, "tiktoken"), BAR_TIKTOKEN),
        bar("against tokenizers", times_faster(entries, "tokenizers"), BAR_TOKENIZERS),
        bar("ids identical", float(len(digests) == 1), 1, ""),
    ]
    return {"entries": as_json(entries), "bars": bars, "vocabulary": loaded.vocab_size}


def _tokenizer(corpus: Path, scratch: Path) -> Path:
    from llm_core.config import TokenizerConfig
    from llm_core.tokenizer.train import save_tokenizer, train_tokenizer

    chosen = sample(corpus, scratch / "training", TRAINING_MEGABYTES)
    folder = scratch / "tokenizer"
    folder.mkdir(exist_ok=True)
    save_tokenizer(train_tokenizer(texts_of(chosen.files), TokenizerConfig(vocab_size=VOCABULARY)), folder)
    return folder
