"""Pieces of the documents to ids, ready to be written: what each process does while shards are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.shards.documents import SPLITS, DocumentBatch, Piece, read_piece
from llm_core.shards.writer import EncodedSplit
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.encoders import ENCODERS, REFERENCE, Encoded
from llm_core.tokenizer.parity import difference

#: Of every batch, the first document that is no longer than this is encoded by the reference too.
CHECKED_BYTES = 4096


class EncoderDiffers(Exception):
    """The encoder gave other ids than the reference, though it passed the probe."""


@dataclass(frozen=True)
class EncodedPiece:
    splits: dict[str, EncodedSplit]
    sources: list[str]
    """Names that the splits' numbers stand for."""


def start_encoding(name: str, tokenizer_folder: Path, dtype: str) -> Callable[[Piece], EncodedPiece]:
    """Load encoder ``name``; give the function that encodes a piece."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    encoder = ENCODERS[name](tokenizer_folder)
    narrow_lengths = tokenizer.byte_lengths.astype(np.uint32)

    def encode(piece: Piece) -> EncodedPiece:
        parts: dict[int, list[EncodedSplit]] = {}
        sources: dict[str, int] = {}
        for batch in read_piece(piece):
            if not len(batch.texts):
                continue
            texts, names, starts = _by_split(batch)
            try:
                encoded = encoder.encode(texts)
            except BaseException as error:  # a panic of a library written in Rust is no Exception
                if name == REFERENCE or isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                    raise
                raise EncoderDiffers(f"{type(error).__name__}: {error}") from None
            sizes = pc.binary_length(texts).to_numpy()
            if name != REFERENCE:
                _check(encoded, texts, sizes, tokenizer, narrow_lengths)
            ids, tokens = _closed(encoded, tokenizer.eot_id, dtype)
            ends = np.cumsum(tokens)
            numbers = _source_numbers(names, sources)
            for split, (first, last) in starts.items():
                begin, end = int(ends[first] - tokens[first]), int(ends[last - 1])
                here = slice(first, last)
                part = EncodedSplit(ids[begin:end], tokens[here], sizes[here], numbers[here])
                parts.setdefault(split, []).append(part)
        joined = {SPLITS[split]: _joined(each) for split, each in sorted(parts.items())}
        return EncodedPiece(joined, list(sources))

    return encode


def _by_split(batch: DocumentBatch) -> tuple[pa.LargeStringArray, pa.StringArray, dict[int, tuple[int, int]]]:
    """Texts and sources with the documents of each split together, else in their order; where each split's are."""
    counts = np.bincount(batch.splits, minlength=len(SPLITS))
    ends = np.cumsum(counts)
    starts = {split: (int(ends[split] - n), int(ends[split])) for split, n in enumerate(counts) if n}
    if not (np.diff(batch.splits.astype(np.int8)) < 0).any():
        return batch.texts, batch.sources, starts
    order = pa.array(np.argsort(batch.splits, kind="stable"))
    return batch.texts.take(order), batch.sources.take(order), starts


def _check(
    encoded: Encoded, texts: pa.LargeStringArray, sizes: np.ndarray, tokenizer: Tokenizer, narrow_lengths: np.ndarray
) -> None:
    """Do the ids stand for as many bytes as the texts have, and does the reference agree on one document?"""
    if len(encoded.ids) and int(encoded.ids.max()) >= tokenizer.vocab_size:
        raise EncoderDiffers("gives ids that aren't in the vocabulary")
    if int(narrow_lengths[encoded.ids].sum(dtype=np.int64)) != int(sizes.sum()):
        raise EncoderDiffers("its ids stand for more or fewer bytes than the text has")
    short = np.flatnonzero(sizes <= CHECKED_BYTES)
    if len(short):
        number = int(short[0])
        start = int(encoded.lengths[:number].sum())
        expected = np.array(tokenizer.encode(texts[number].as_py()), dtype=np.uint32)
        found = encoded.ids[start : start + int(encoded.lengths[number])]
        lengths = [np.array([len(each)]) for each in (found, expected)]
        reason = difference(Encoded(found, lengths[0]), Encoded(expected, lengths[1]), texts.slice(number, 1))
        if reason:
            raise EncoderDiffers(reason)


def _closed(encoded: Encoded, eot_id: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Each text closed by <|endoftext|>: (all ids, tokens of each)."""
    tokens = encoded.lengths + 1
    ends = np.cumsum(tokens) - 1
    ids = np.empty(len(encoded.ids) + len(tokens), dtype=np.dtype(dtype).newbyteorder("<"))
    text = np.ones(len(ids), dtype=bool)
    text[ends] = False
    ids[text] = encoded.ids
    ids[ends] = eot_id
    return ids, tokens


def _source_numbers(names: pa.StringArray, known: dict[str, int]) -> np.ndarray:
    """Numbers of the sources; new ones are added to ``known``."""
    coded = names.dictionary_encode()
    numbers = [known.setdefault(name, len(known)) for name in coded.dictionary.to_pylist()]
    return np.array(numbers, dtype=np.int64)[coded.indices.to_numpy()]


def _joined(parts: list[EncodedSplit]) -> EncodedSplit:
    return EncodedSplit(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.bytes for part in parts]),
        np.concatenate([part.sources for part in parts]),
    )
