"""Parquet text to a file of token ids, each document closed by <|endoftext|>: first pass, nothing remembered.

Each gives a digest of the ids of the first documents, so that all can be seen to be the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]
COMPARED_DOCUMENTS = 500
BATCH = 1024


def texts_of(files: list[str]) -> Iterator[list[str]]:
    import pyarrow.parquet as pq

    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH, columns=["text"], use_threads=False):
            yield batch["text"].to_pylist()


def whole_stage(spec: dict[str, Any]) -> Contender:
    """All that the stage does, the trial of the encoder included."""
    return (yield from _stage(spec, None))


def gigatoken(spec: dict[str, Any]) -> Contender:
    return (yield from _stage(spec, "gigatoken"))


def fastokens(spec: dict[str, Any]) -> Contender:
    return (yield from _stage(spec, "fastokens"))


def tiktoken_inside(spec: dict[str, Any]) -> Contender:
    return (yield from _stage(spec, "tiktoken"))


def huggingface_inside(spec: dict[str, Any]) -> Contender:
    return (yield from _stage(spec, "huggingface"))


def _stage(spec: dict[str, Any], encoder: str | None) -> Contender:
    """Our stage; with a named ``encoder`` its trial, which takes the same time for any amount of text, is left out."""
    import tempfile

    import llm_core.shards.encode  # noqa: F401
    from llm_core.config import LlmRuntime, ShardsConfig
    from llm_core.progress import no_progress
    from llm_core.stages import write_shards
    from llm_core.tokenizer import parity

    if encoder:
        name = encoder
        parity.choose_encoder = lambda *_: parity.Choice(name)
    inputs = {"documents": Path(spec["folder"]), "tokenizer": Path(spec["tokenizer"])}
    out = Path(tempfile.mkdtemp(dir=spec["scratch"]))
    yield
    counters = write_shards.run(ShardsConfig(), inputs, out, no_progress, LlmRuntime(encode_workers=1))
    return {"encoder": counters["encoder"], "ids_sha256": _first_of_shards(inputs["documents"], out)}


def _first_of_shards(documents: Path, shards: Path) -> str:
    """The digest, from shards that hold the documents of each split by themselves."""
    import numpy as np

    from llm_core.shards.documents import SPLITS, document_pieces, read_piece
    from llm_core.shards.loader import TokenRows

    rows = {split: TokenRows.open(shards, split, 1) for split in ("train", "validation")}
    ids = {split: np.fromfile(shards / f"{split}-00000.bin", dtype=np.uint16) for split in rows}
    taken = dict.fromkeys(rows, 0)
    digest = _Digest()
    for piece in document_pieces(documents, 0):
        for batch in read_piece(piece):
            for code in batch.splits:
                split = SPLITS[code]
                number, offsets = taken[split], rows[split].offsets
                start, end = int(offsets[number]), int(offsets[number + 1])
                if digest.add(ids[split][start:end]):
                    return digest.hex()
                taken[split] += 1
    return digest.hex()


def tiktoken(spec: dict[str, Any]) -> Contender:
    """As a preparing script does it, by its fastest call."""
    import tiktoken

    encoding = tiktoken.Encoding(
        "ours",
        pat_str=spec["pattern"],
        mergeable_ranks={bytes.fromhex(token): rank for token, rank in spec["ranks"]},
        special_tokens={},
    )
    return (yield from _script(spec, lambda texts: [encoding.encode_to_numpy(t, disallowed_special=()) for t in texts]))


def tokenizers(spec: dict[str, Any]) -> Contender:
    """As a preparing script does it, by its fastest call."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(spec["tokenizer"]) / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    encode = tokenizer.encode_batch_fast
    return (yield from _script(spec, lambda texts: [e.ids for e in encode(texts, add_special_tokens=False)]))


def _script(spec: dict[str, Any], encode: Callable[[list[str]], list[Any]]) -> Contender:
    import numpy as np

    digest = _Digest()
    yield
    with (Path(spec["scratch"]) / "train.bin").open("wb") as file:
        for texts in texts_of(spec["files"]):
            for ids in encode(texts):
                closed = np.append(np.asarray(ids, dtype=np.uint16), np.uint16(spec["eot_id"]))
                file.write(closed.data)
                digest.add(closed)
    return {"ids_sha256": digest.hex()}


class _Digest:
    def __init__(self) -> None:
        self._hash, self._documents = hashlib.sha256(), 0

    def add(self, ids: Any) -> bool:
        """Add a document, <|endoftext|> included; True when it is enough."""
        import numpy as np

        if self._documents < COMPARED_DOCUMENTS:
            self._hash.update(np.asarray(ids, dtype=np.uint16).tobytes())
            self._documents += 1
        return self._documents == COMPARED_DOCUMENTS

    def hex(self) -> str:
        return self._hash.hexdigest()
