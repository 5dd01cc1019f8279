"""Stage `tokenizer`: documents in, a tokenizer's folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llm_core.config import LlmRuntime, TokenizerConfig
from llm_core.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

#: Held-out text that the report is measured on.
REPORT_BYTES = 1_000_000
#: Text that the tokenizers beside ours are trained on: a second or two in all.
PEER_BYTES = 500_000
#: Characters of a document that the report and the others look at, so that no single book decides how long it takes.
LONGEST = 50_000


def run(
    config: TokenizerConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Train on the train split of ``inputs["documents"]``, report on the validation split.

    Writes tokenizer.json, tokenizer_config.json, chat_template.jinja, their digests, report.json, report.md and, where
    matplotlib is installed, report.png.

    Raises:
        LlmCoreError: the train split, or the sample of it, has no text.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from llm_core.atomic import write_bytes, write_json
    from llm_core.errors import LlmCoreError
    from llm_core.shards.documents import SPLITS, document_pieces, read_piece
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.tokenizer.pieces import PieceCounts
    from llm_core.tokenizer.report import HeldOut, comparison, tokenizer_report
    from llm_core.tokenizer.report_page import draw, markdown
    from llm_core.tokenizer.train import save_tokenizer, tokenizer_from_pieces

    train, validation = SPLITS.index("train"), SPLITS.index("validation")
    groups = document_pieces(inputs["documents"], 0)
    sizes, looked_at = np.zeros(len(SPLITS)), np.zeros(len(SPLITS))
    for group in groups:
        for batch in read_piece(group):
            lengths = pc.binary_length(batch.texts).to_numpy()
            sizes += np.bincount(batch.splits, lengths, minlength=len(SPLITS))
            looked_at += np.bincount(batch.splits, np.minimum(lengths, LONGEST), minlength=len(SPLITS))
    total = int(sizes[train])
    if not total:
        raise LlmCoreError(
            "the train split has no text.",
            where=str(inputs["documents"]),
            fix="Loosen the filters or add sources; `groundup plan` shows what each stage kept.",
        )

    counts = PieceCounts(config.max_distinct_pieces, config.split_digits)
    read = 0
    held_out: list[str] = []
    languages_held_out: list[str | None] = []
    peer_sample: list[str] = []
    for group in groups:
        for batch in read_piece(group):
            of_train = batch.texts.filter(pa.array(batch.splits == train))
            sample = of_train.filter(_even(of_train, config.sample_bytes / total))
            counts.add(sample)
            read += pc.sum(pc.binary_length(sample)).as_py() or 0
            sample = of_train.filter(_even(of_train, PEER_BYTES / looked_at[train]))
            peer_sample += pc.utf8_slice_codeunits(sample, 0, LONGEST).to_pylist()
            here = pa.array(batch.splits == validation)
            texts, languages = batch.texts.filter(here), batch.languages.filter(here)
            chosen = _even(texts, REPORT_BYTES / max(1.0, looked_at[validation]))
            held_out += pc.utf8_slice_codeunits(texts.filter(chosen), 0, LONGEST).to_pylist()
            languages_held_out += languages.filter(chosen).to_pylist()
            progress(read, min(total, config.sample_bytes), "reading text")
    if not read:
        raise LlmCoreError(
            f"none of the documents is in a sample of {config.sample_bytes:,} bytes of {total:,}.",
            where=str(inputs["documents"]),
            fix="Raise `tokenizer.sample_bytes`, or cut the documents into smaller ones.",
        )
    progress(read, read, "learning merges")
    save_tokenizer(tokenizer_from_pieces(counts, config), out)

    progress(read, read, "writing the report")
    tokenizer = Tokenizer.load(out)
    report = tokenizer_report(tokenizer, held_out) | {
        "measured_on": "validation",
        "trained_on_bytes": read,
        "distinct_pieces": len(counts),
        "distinct_pieces_let_go": counts.let_go,
        "most_missed": counts.most_missed,
        "comparison": comparison(tokenizer, config, peer_sample, HeldOut(held_out, languages_held_out)),
    }
    write_json(out / "report.json", report)
    write_bytes(out / "report.md", markdown(report).encode())
    draw(report, out / "report.png")
    return {
        "vocab_size": tokenizer.vocab_size,
        "trained_on_bytes": read,
        "distinct_pieces": len(counts),
        "distinct_pieces_let_go": counts.let_go,
        "bytes_per_token": report["bytes_per_token"],
        "vocabulary_used": report["vocabulary_used"],
        "digest": tokenizer.digest,
    }


def _even(texts: pa.LargeStringArray, share: float) -> pa.BooleanArray:
    """Which texts belong to a sample of ``share``: each text's hash decides, so it is even however they are sorted.

    What is in a sample is in every larger one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import xxhash

    if share >= 1:
        return pa.repeat(True, len(texts))
    contents = pc.cast(texts, pa.large_binary()).to_pylist()
    return pa.array([xxhash.xxh3_64_intdigest(content) < share * 2**64 for content in contents], pa.bool_())
