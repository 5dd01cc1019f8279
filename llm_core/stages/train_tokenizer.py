"""Stage `tokenizer`: documents in, a tokenizer's folder out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llm_core.config import LlmRuntime, TokenizerConfig
from llm_core.progress import Progress

#: Held-out text that the report is measured on.
REPORT_BYTES = 2_000_000


def run(
    config: TokenizerConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Train on the train split of ``inputs["documents"]``, report on the validation split.

    Writes tokenizer.json, tokenizer_config.json, chat_template.jinja, report.json.

    Raises:
        LlmCoreError: the train split has no text.
    """
    import xxhash

    from llm_core.atomic import write_json
    from llm_core.errors import LlmCoreError
    from llm_core.shards.documents import read_documents
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.tokenizer.report import tokenizer_report
    from llm_core.tokenizer.train import save_tokenizer, train_tokenizer

    total = 0
    held_out: list[str] = []
    held_out_bytes = 0
    for batch in read_documents(inputs["documents"]):
        for text, split in zip(batch.texts, batch.splits, strict=True):
            if split == "train":
                total += len(text.encode())
            elif split == "validation" and held_out_bytes < REPORT_BYTES:
                held_out.append(text)
                held_out_bytes += len(text.encode())
    if not total:
        raise LlmCoreError(
            "the train split has no text.",
            where=str(inputs["documents"]),
            fix="Loosen the filters or add sources; `groundup plan` shows what each stage kept.",
        )
    share = min(1.0, config.sample_bytes / total)
    read = 0

    def sample() -> Iterator[str]:
        # Where not all is read, the text's hash decides: an even sample, however the documents are sorted.
        nonlocal read
        for batch in read_documents(inputs["documents"]):
            for text, split in zip(batch.texts, batch.splits, strict=True):
                if split == "train" and (share == 1.0 or xxhash.xxh3_64_intdigest(text.encode()) < share * 2**64):
                    read += len(text.encode())
                    yield text
            progress(read, total * share, "reading text")

    library = train_tokenizer(sample(), config)
    progress(total * share, total * share, "writing the report")
    save_tokenizer(library, out)
    tokenizer = Tokenizer.load(out)
    report = tokenizer_report(tokenizer, held_out) | {"measured_on": "validation", "trained_on_bytes": read}
    write_json(out / "report.json", report)
    return {
        "vocab_size": tokenizer.vocab_size,
        "trained_on_bytes": read,
        "bytes_per_token": report["bytes_per_token"],
        "vocabulary_used": report["vocabulary_used"],
        "digest": tokenizer.digest,
    }
