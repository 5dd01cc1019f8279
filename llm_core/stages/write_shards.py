"""Stage `shards`: documents and a tokenizer in, token shards for training out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llm_core.config import LlmRuntime, ShardsConfig
from llm_core.progress import Progress

if TYPE_CHECKING:
    from llm_core.shards.documents import Piece
    from llm_core.shards.writer import ShardWriter

#: Text that is encoded as one piece (at least a row group): what a kill may cost, and what a process is given.
PIECE_BYTES = 8_000_000
#: With less text than this for each, starting more processes costs more than it saves.
WORKER_BYTES = 16_000_000
#: With less text than this the reference is done before another encoder has proved itself.
PROBE_BYTES = 4_000_000
#: Seconds between notes of how far it is.
JOURNAL_SECONDS = 2.0
#: The sample that encoders are tried with: pieces, documents of each, characters of each.
SAMPLED_PIECES, SAMPLED_DOCUMENTS, SAMPLED_CHARACTERS = 10, 20, 5_000


def run(
    config: ShardsConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Encode every document of ``inputs["documents"]`` with ``inputs["tokenizer"]``, each split into its own files.

    Documents keep their order; the shuffling is the loader's. The same inputs give the same bytes, whatever the encoder
    and the number of processes, and also after a kill: a second run goes on where the first was.

    Raises:
        LlmCoreError: the train split is empty.
    """
    from llm_core.errors import LlmCoreError
    from llm_core.shards.documents import document_pieces
    from llm_core.shards.encode import EncoderDiffers
    from llm_core.shards.format import ShardIndex, token_dtype, write_index
    from llm_core.shards.workers import WorkerDied
    from llm_core.shards.writer import ShardWriter
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.tokenizer.encoders import REFERENCE
    from llm_core.tokenizer.parity import choose_encoder

    tokenizer = Tokenizer.load(inputs["tokenizer"])
    dtype = token_dtype(tokenizer.vocab_size)
    pieces = document_pieces(inputs["documents"], PIECE_BYTES)
    small = sum(piece.text_bytes for piece in pieces) < PROBE_BYTES
    wanted = REFERENCE if small and runtime.encoder == "auto" else runtime.encoder
    work = {
        "files": [[piece.path.name, piece.path.stat().st_size, list(piece.groups)] for piece in pieces],
        "tokenizer": tokenizer.digest,
        "shard_tokens": config.shard_tokens,
    }
    left_out: dict[str, str] = {}
    while True:
        sample = [] if wanted == REFERENCE else _sample(pieces)
        choice = choose_encoder(wanted, inputs["tokenizer"], sample, left_out)
        writer = ShardWriter(out, work, dtype=dtype, shard_tokens=config.shard_tokens)
        try:
            _write(writer, pieces, choice.name, inputs["tokenizer"], dtype, progress, runtime.encode_workers)
            break
        except EncoderDiffers as error:
            writer.discard()  # what it gave before may be wrong too
            left_out = {**choice.left_out, choice.name: str(error)}
        except WorkerDied as error:
            if choice.name == REFERENCE:
                raise LlmCoreError(
                    f"{error}.", fix="Often that is the system running out of memory. Run again to go on."
                ) from error
            left_out = {**choice.left_out, choice.name: str(error)}
    splits = writer.finish()
    if not splits["train"].tokens:
        writer.discard()
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
        sources=writer.journal.sources,
        splits=splits,
    )
    write_index(out, index)
    writer.forget()
    counters: dict[str, int | float | str] = {"dtype": dtype, "tokenizer_digest": tokenizer.digest}
    for split, part in splits.items():
        counters |= {f"{split}_tokens": part.tokens, f"{split}_documents": part.documents, f"{split}_bytes": part.bytes}
    counters |= {"sources": len(index.sources), "encoder": choice.name}
    if choice.left_out:
        counters["encoders_left_out"] = "; ".join(f"{name}: {reason}" for name, reason in choice.left_out.items())
    return counters


def _write(
    writer: ShardWriter,
    pieces: Sequence[Piece],
    encoder: str,
    tokenizer: Path,
    dtype: str,
    progress: Progress,
    workers: int,
) -> None:
    """Encode and add the pieces that aren't yet there."""
    from llm_core.shards.encode import start_encoding
    from llm_core.shards.workers import map_in_order

    left = pieces[writer.journal.pieces :]
    saved = time.monotonic()
    total = sum(piece.rows for piece in pieces)
    processes = workers or _processes(left)
    try:
        for piece in map_in_order(start_encoding, (encoder, tokenizer, dtype), left, min(processes, max(1, len(left)))):
            writer.add_piece(piece.splits, piece.sources)
            if time.monotonic() - saved > JOURNAL_SECONDS:
                writer.save()
                saved = time.monotonic()
            progress(writer.journal.documents, total, "encoding documents")
    except BaseException:
        writer.close()
        raise


def _processes(pieces: Sequence[Piece]) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, sum(piece.text_bytes for piece in pieces) // WORKER_BYTES))


def _sample(pieces: Sequence[Piece]) -> list[str]:
    """Beginnings of documents from all over the input, to try encoders with."""
    from llm_core.shards.documents import read_piece

    texts: list[str] = []
    for piece in pieces[:: max(1, len(pieces) // SAMPLED_PIECES)]:
        first = next(read_piece(piece), None)
        if first is not None:
            texts += [text[:SAMPLED_CHARACTERS] for text in first.texts.slice(0, SAMPLED_DOCUMENTS).to_pylist()]
    return texts
