"""Stage `shards`: documents and a tokenizer in, token shards for training out."""

from __future__ import annotations

from pathlib import Path

from llm_core.config import LlmRuntime, ShardsConfig
from llm_core.progress import Progress


def run(
    config: ShardsConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Encode every document of ``inputs["documents"]`` with ``inputs["tokenizer"]``, each split into its own files.

    Documents keep their order; the shuffling is the loader's. The same inputs give the same bytes.

    Raises:
        LlmCoreError: the train split is empty.
    """
    import pyarrow.parquet as pq

    from llm_core.errors import LlmCoreError
    from llm_core.shards.documents import SPLITS, document_files, read_documents
    from llm_core.shards.format import ShardIndex, SplitWriter, token_dtype, write_index
    from llm_core.tokenizer.encode import Tokenizer

    tokenizer = Tokenizer.load(inputs["tokenizer"])
    dtype = token_dtype(tokenizer.vocab_size)
    writers = {
        split: SplitWriter(out, split, eot_id=tokenizer.eot_id, dtype=dtype, shard_tokens=config.shard_tokens)
        for split in SPLITS
    }
    documents = 0
    total: int | None = None
    for batch in read_documents(inputs["documents"]):
        if total is None:  # after the first batch, so that a damaged file is reported by the reader
            total = sum(pq.read_metadata(path).num_rows for path in document_files(inputs["documents"]))
        for text, split, ids in zip(batch.texts, batch.splits, tokenizer.encode_batch(batch.texts), strict=True):
            writers[split].add(ids, len(text.encode()))
        documents += len(batch.texts)
        progress(documents, total, "encoding documents")
    splits = {split: writer.finish() for split, writer in writers.items()}
    if not splits["train"].tokens:
        raise LlmCoreError(
            "the train split is empty: there is nothing to train on.",
            where=str(inputs["documents"]),
            fix="Loosen the filters, add sources, or lower mix.validation_fraction and mix.test_fraction.",
        )
    index = ShardIndex(
        tokenizer_digest=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        eot_id=tokenizer.eot_id,
        dtype=dtype,
        splits=splits,
    )
    write_index(out, index)
    counters: dict[str, int | float | str] = {"dtype": dtype, "tokenizer_digest": tokenizer.digest}
    for split, part in splits.items():
        counters |= {f"{split}_tokens": part.tokens, f"{split}_documents": part.documents, f"{split}_bytes": part.bytes}
    return counters
