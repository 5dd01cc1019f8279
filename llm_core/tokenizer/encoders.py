"""Several libraries that turn text into the ids of one tokenizer, far apart in speed.

Hugging Face's `tokenizers` is the reference: a tokenizer means what it says. The others are young or made for other
vocabularies, so each must show that it gives the same ids before it is used (:mod:`llm_core.tokenizer.parity`). None of
them is needed: what isn't installed is left out.

All take Arrow's arrays of texts and give flat arrays of ids, so that no Python object is made for a token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llm_core.errors import LlmCoreError
from llm_core.tokenizer.train import TOKENIZER_FILE

if TYPE_CHECKING:
    import pyarrow as pa

REFERENCE = "huggingface"
#: Text after which an encoder that remembers words forgets them.
REMEMBERED_BYTES = 256_000_000


@dataclass(frozen=True)
class Encoded:
    """Texts as ids, one after another, without any special token."""

    ids: np.ndarray
    """(tokens,) uint32"""
    lengths: np.ndarray
    """(texts,) int64: tokens of each; they add up to the number of ``ids``."""


class Encoder(Protocol):
    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """Ids of each text (valid UTF-8, no nulls), on the calling thread."""


class HuggingFaceEncoder:
    """The reference."""

    def __init__(self, folder: Path) -> None:
        from llm_core.tokenizer.encode import Tokenizer

        self._tokenizer = Tokenizer.load(folder)

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        return _joined(self._tokenizer.encode_batch(texts.to_pylist()))


class GigatokenEncoder:
    """https://pypi.org/project/gigatoken: reads Arrow's buffers as they are, remembers the ids of all words.

    That memory has no bound (measured: 6 bytes for each byte of random words), so now and then it begins anew.
    """

    def __init__(self, folder: Path) -> None:
        import awkward
        import gigatoken

        self._from_arrow = awkward.from_arrow
        settings = _without_special_tokens(folder)
        self._new = lambda: gigatoken.Tokenizer.from_json(settings)
        self._tokenizer = self._new()
        self._remembered = 0

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        if not len(texts):
            return _joined([])
        self._remembered += texts.nbytes
        if self._remembered > REMEMBERED_BYTES:
            self._tokenizer, self._remembered = self._new(), texts.nbytes
        rows = self._tokenizer.encode_batch(self._from_arrow(texts), parallel=False).layout.to_ListOffsetArray64(True)
        offsets = np.asarray(rows.offsets.data)
        ids = np.asarray(rows.content.to_contiguous().data, dtype=np.uint32)
        return Encoded(ids[offsets[0] : offsets[-1]], np.diff(offsets).astype(np.int64))


class FastokensEncoder:
    """https://pypi.org/project/fastokens"""

    def __init__(self, folder: Path) -> None:
        import fastokens

        self._tokenizer = fastokens.Tokenizer.from_json_str(_without_special_tokens(folder))

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        ids, offsets = self._tokenizer.encode_batch_flat(texts.to_pylist())
        return Encoded(
            np.frombuffer(ids, dtype="<u4"), np.diff(np.frombuffer(offsets, dtype="<u8").astype(np.int64)).ravel()
        )


class TiktokenEncoder:
    """https://pypi.org/project/tiktoken: takes the bytes of each token in the order of the merges."""

    def __init__(self, folder: Path) -> None:
        import tiktoken

        from llm_core.tokenizer.encode import Tokenizer

        bytes_of = Tokenizer.load(folder).bytes_of
        ranks = {content: number for number, content in enumerate(bytes_of) if content}
        self._encoding = tiktoken.Encoding(
            "groundup", pat_str=split_pattern(folder), mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        return _joined([self._encoding.encode_to_numpy(text, disallowed_special=()) for text in texts.to_pylist()])


#: By name, the fastest first.
ENCODERS: dict[str, Callable[[Path], Encoder]] = {
    "gigatoken": GigatokenEncoder,
    "fastokens": FastokensEncoder,
    "tiktoken": TiktokenEncoder,
    REFERENCE: HuggingFaceEncoder,
}


def _joined(rows: list[Any]) -> Encoded:
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    if not lengths.sum():
        return Encoded(np.zeros(0, dtype=np.uint32), lengths)
    return Encoded(np.concatenate([np.asarray(row, dtype=np.uint32) for row in rows]), lengths)


def _settings(folder: Path) -> dict[str, Any]:
    path = Path(folder) / TOKENIZER_FILE
    try:
        settings: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise LlmCoreError(f"the tokenizer can't be read ({error.strerror}).", where=str(path)) from error
    return settings


def _without_special_tokens(folder: Path) -> str:
    """The tokenizer without its special tokens, so that their spelling is text like any other."""
    return json.dumps({**_settings(folder), "added_tokens": []})


def split_pattern(folder: Path) -> str:
    """The regular expression that cuts text into pieces.

    Raises:
        ValueError: the tokenizer cuts text in another way than by one expression.
    """
    cut = _settings(folder).get("pre_tokenizer") or {}
    steps = cut.get("pretokenizers", []) if cut.get("type") == "Sequence" else []
    kinds = [step.get("type") for step in steps]
    if kinds != ["Split", "ByteLevel"] or "Regex" not in steps[0]["pattern"]:
        raise ValueError("the tokenizer doesn't cut text by one regular expression")
    return str(steps[0]["pattern"]["Regex"])
