"""Text to a tokenizer. Reading the Parquet file counts for all but gigabpe, which takes plain text only."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]
WARM_UP = ["a few words to warm up with, a few words to warm up with"]


def texts_of(files: list[str]) -> Iterator[str]:
    import pyarrow.parquet as pq

    for path in files:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns=["text"], use_threads=False)["text"].to_pylist()


def digest(tokenizer: Any) -> str:
    """Of the whole tokenizer: vocabulary, merges, how it cuts."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def groundup(spec: dict[str, Any]) -> Contender:
    from llm_core.config import TokenizerConfig
    from llm_core.shards.documents import document_pieces, read_piece
    from llm_core.tokenizer.pieces import PieceCounts
    from llm_core.tokenizer.train import tokenizer_from_pieces, train_tokenizer

    config = TokenizerConfig(vocab_size=spec["entries"])
    train_tokenizer(WARM_UP, config)
    yield
    counts = PieceCounts(config.max_distinct_pieces, config.split_digits)
    for group in document_pieces(Path(spec["folder"]), 0):
        for batch in read_piece(group):
            counts.add(batch.texts)
    tokenizer = tokenizer_from_pieces(counts, config)
    return {"merges": digest(tokenizer), "entries": tokenizer.get_vocab_size(), "distinct_pieces": len(counts)}


def tokenizers(spec: dict[str, Any]) -> Contender:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    from llm_core.tokenizer.train import SPECIAL_TOKENS, piece_pattern

    tokenizer = Tokenizer(models.BPE())
    pattern = pre_tokenizers.Split(Regex(piece_pattern(True)), behavior="isolated")
    spelled = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pattern, spelled])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec["entries"],
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    yield
    tokenizer.train_from_iterator(texts_of(spec["files"]), trainer)
    return {"merges": digest(tokenizer), "entries": tokenizer.get_vocab_size()}


def gigabpe(spec: dict[str, Any]) -> Contender:
    """It knows no other pieces than GPT-2's, so its merges are others."""
    import gigabpe as library

    path = Path(spec["scratch"]) / "text.txt"
    path.write_text("\n".join(texts_of(spec["files"])), encoding="utf-8")
    yield
    vocabulary, _ = library.train_bpe(
        [str(path)], spec["entries"], min_frequency=2, pretokenizer="bytelevel", threads=1
    )
    return {"entries": len(vocabulary)}


def sentencepiece_bpe(spec: dict[str, Any]) -> Contender:
    return (yield from _sentencepiece(spec, "bpe"))


def sentencepiece_unigram(spec: dict[str, Any]) -> Contender:
    return (yield from _sentencepiece(spec, "unigram"))


def _sentencepiece(spec: dict[str, Any], kind: str) -> Contender:
    import sentencepiece

    yield
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts_of(spec["files"]) for line in text.splitlines() if line.strip()),
        model_writer=io.BytesIO(),
        model_type=kind,
        vocab_size=spec["entries"],
        hard_vocab_limit=False,
        max_sentence_length=1_000_000,
        num_threads=1,
        minloglevel=2,
    )
    return {}


def memory(spec: dict[str, Any]) -> Contender:
    """The sample again and again, each time with other letters here and there, so that new words never end."""
    import numpy as np
    import pyarrow as pa

    from llm_core.config import TokenizerConfig
    from llm_core.shards.documents import document_pieces, read_piece
    from llm_core.tokenizer.pieces import PieceCounts
    from llm_core.tokenizer.train import tokenizer_from_pieces, train_tokenizer

    config = TokenizerConfig(vocab_size=spec["entries"])
    train_tokenizer(WARM_UP, config)
    draw = np.random.default_rng(11)
    groups = document_pieces(Path(spec["folder"]), 0)

    def changed(texts: pa.LargeStringArray) -> pa.LargeStringArray:
        """One small letter in forty, about, is replaced by one drawn at random."""
        _, offsets, content = texts.buffers()
        data = np.frombuffer(content, np.uint8).copy()
        at = draw.integers(0, len(data), len(data) // 40)
        at = at[(data[at] >= ord("a")) & (data[at] <= ord("z"))]
        data[at] = draw.integers(ord("a"), ord("z") + 1, len(at))
        return pa.LargeStringArray.from_buffers(len(texts), offsets, pa.py_buffer(data), None, 0, texts.offset)

    yield
    counts = PieceCounts(config.max_distinct_pieces, config.split_digits)
    read, counting = 0, 0.0
    while read < spec["text_bytes"]:
        for group in groups:
            for batch in read_piece(group):
                if read >= spec["text_bytes"] or not len(batch.texts):
                    break
                texts = changed(batch.texts)
                offsets = np.frombuffer(texts.buffers()[1], np.int64)
                read += int(offsets[texts.offset + len(texts)] - offsets[texts.offset])
                begin = time.process_time()
                counts.add(texts)
                counting += time.process_time() - begin
    begin = time.process_time()
    tokenizer = tokenizer_from_pieces(counts, config)
    return {
        "text_bytes": read,
        "distinct_pieces": len(counts),
        "most_distinct": counts.most_distinct,
        "let_go": counts.let_go,
        "most_missed": counts.most_missed,
        "counting_cpu_seconds": counting,
        "learning_cpu_seconds": time.process_time() - begin,
        "entries": tokenizer.get_vocab_size(),
    }
