"""Text to token ids and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as LibraryTokenizer

from llm_core.errors import LlmCoreError
from llm_core.tokenizer.alphabet import byte_alphabet
from llm_core.tokenizer.digests import verify_digests
from llm_core.tokenizer.train import ASSISTANT, END, END_OF_TEXT, PAD, SPECIAL_TOKENS, SYSTEM, TOKENIZER_FILE, USER


class Tokenizer:
    """A trained byte-level BPE tokenizer.

    Encoding never produces a special token: a document that contains the characters ``<|endoftext|>`` is encoded as
    those characters. Special tokens are put in by id (:attr:`eot_id` and so on), so that no user can forge one.
    """

    def __init__(self, library: LibraryTokenizer, digest: str) -> None:
        self._library = library
        self._library.encode_special_tokens = True  # the library's name for: treat their spelling as plain text
        self.digest = digest
        """sha256 of ``tokenizer.json``."""
        numbers = {token: library.token_to_id(token) for token in SPECIAL_TOKENS}
        missing = [token for token, number in numbers.items() if number is None]
        if missing:
            raise LlmCoreError(f"the tokenizer lacks the special tokens {', '.join(missing)}.", where=TOKENIZER_FILE)
        self.special_ids = {token: number for token, number in numbers.items() if number is not None}
        self.eot_id = self.special_ids[END_OF_TEXT]
        self.pad_id = self.special_ids[PAD]
        self.user_id = self.special_ids[USER]
        self.assistant_id = self.special_ids[ASSISTANT]
        self.system_id = self.special_ids[SYSTEM]
        self.end_id = self.special_ids[END]
        self.vocab_size: int = library.get_vocab_size(with_added_tokens=True)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json`` from ``folder``.

        Raises:
            LlmCoreError: it is missing, isn't a tokenizer, or (as any file beside it) isn't what was written.
        """
        path = Path(folder) / TOKENIZER_FILE
        try:
            content = path.read_bytes()
        except OSError as error:
            raise LlmCoreError(f"the tokenizer can't be read ({error.strerror}).", where=str(path)) from error
        verify_digests(path.parent)
        try:
            library = LibraryTokenizer.from_buffer(content)
        except Exception as error:  # the library raises plain Exception
            raise LlmCoreError(
                f"this is not a tokenizer ({error}).", where=str(path), fix="Run the tokenizer stage again."
            ) from error
        return cls(library, hashlib.sha256(content).hexdigest())

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, without any special token."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; the library spreads a batch over all cores."""
        try:
            return [encoding.ids for encoding in self._library.encode_batch_fast(texts, add_special_tokens=False)]
        except TypeError as error:
            raise LlmCoreError(
                "a text holds half of a character (a lone UTF-16 surrogate) and can't be encoded.",
                fix="Read the input as UTF-8.",
            ) from error

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``. Special tokens are left out; bytes that aren't UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes of ``ids``; a token may end in the middle of a character."""
        return b"".join([self.bytes_of[token] for token in ids])

    def token_to_id(self, token: str) -> int | None:
        """Id of a token as it is spelled in ``tokenizer.json``."""
        return self._library.token_to_id(token)

    @cached_property
    def bytes_of(self) -> list[bytes]:
        """The bytes of every token by id; of special tokens none."""
        alphabet = byte_alphabet()
        special = set(self.special_ids.values())
        table = [b""] * self.vocab_size
        for token, number in self._library.get_vocab(with_added_tokens=True).items():
            if number not in special:
                table[number] = bytes(alphabet[character] for character in token)
        return table

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """(vocab,) int64: bytes of text that each token stands for, 0 for special ones. For bits per byte."""
        return np.array([len(content) for content in self.bytes_of], dtype=np.int64)
