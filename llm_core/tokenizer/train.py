"""Byte-level byte pair encoding (Sennrich et al. 2016; over bytes as in GPT-2).

Text is cut into pieces (words, digits, punctuation, spaces) that are counted (:mod:`llm_core.tokenizer.pieces`); each
piece starts as its UTF-8 bytes; the pair of neighbours that occurs most often becomes a new token, again and again
(:mod:`llm_core.tokenizer.merges`). As all 256 bytes are tokens, no text is unknown. What comes out is a tokenizer of
Hugging Face's library. :mod:`llm_core.tokenizer.bpe_reference` is the same algorithm in plain Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as LibraryTokenizer

from llm_core.atomic import write_bytes, write_json
from llm_core.config import TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.tokenizer.alphabet import byte_alphabet
from llm_core.tokenizer.digests import DIGEST_FILE, write_digests

if TYPE_CHECKING:
    from llm_core.tokenizer.pieces import PieceCounts

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
SYSTEM = "<|system|>"
END = "<|end|>"
#: They get the first ids, in this order.
SPECIAL_TOKENS = (END_OF_TEXT, PAD, USER, ASSISTANT, SYSTEM, END)

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"

#: One line, so that no stray newline becomes a token. :func:`llm_core.chat.render` gives the same ids.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def piece_pattern(split_digits: bool) -> str:
    """The regular expression that cuts text into pieces; merges never cross a cut. As in Qwen and GPT-4."""
    digits = r"\p{N}" if split_digits else r"\p{N}{1,3}"
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # English contractions
        r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word, with the space or sign before it
        rf"|{digits}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # punctuation
        r"|\s*[\r\n]+"  # line ends
        r"|\s+(?!\S)|\s+"  # spaces; the last one goes with the word that follows
    )


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> LibraryTokenizer:
    """Learn the merges from ``texts``. The same texts give the same tokenizer.

    So do the same texts in another order, as long as they have at most ``max_distinct_pieces`` distinct pieces. The
    vocabulary is smaller than asked for where the text has too few pairs that occur ``min_frequency`` times.
    """
    from llm_core.tokenizer.pieces import count_pieces

    return tokenizer_from_pieces(count_pieces(texts, config.max_distinct_pieces, config.split_digits), config)


def tokenizer_from_pieces(pieces: PieceCounts, config: TokenizerConfig) -> LibraryTokenizer:
    """Learn the merges from counted pieces, and make the tokenizer that encodes by them.

    It is the one that the library's own ``BpeTrainer`` makes of the same text, to the last byte of its file.

    Raises:
        LlmCoreError: the pieces have more than 2^30 bytes.
    """
    from llm_core.tokenizer.merges import learn

    alphabet = sorted(byte_alphabet().items())  # among equally frequent pairs, that of the first characters goes first
    first_token = np.empty(256, np.int32)
    first_token[[byte for _, byte in alphabet]] = np.arange(256)
    content, starts, counts = pieces.arrays()
    if len(content) >= 2**30:
        raise LlmCoreError(
            f"the {len(counts):,} distinct pieces of the text have {len(content):,} bytes, more than can be counted.",
            fix="Lower `tokenizer.max_distinct_pieces`.",
        )
    most = max(0, config.vocab_size - len(SPECIAL_TOKENS) - len(alphabet))
    learned = learn(first_token[content], starts, counts, most, config.min_frequency)

    tokens = [character for character, _ in alphabet]
    merges: list[tuple[str, str]] = []
    for left, right in learned.tolist():
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *tokens])}
    tokenizer = LibraryTokenizer(models.BPE(vocabulary, merges))
    # No normalizer: text comes back exactly as it went in.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(piece_pattern(config.split_digits)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def save_tokenizer(tokenizer: LibraryTokenizer, folder: Path) -> None:
    """Write the folder in Hugging Face's form: `transformers` and other runtimes load it without our code."""
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "additional_special_tokens": [USER, ASSISTANT, SYSTEM, END],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**9,  # the model knows its window, the tokenizer has none
    }
    (folder / DIGEST_FILE).unlink(missing_ok=True)  # that of a tokenizer that was here before
    write_bytes(folder / CHAT_TEMPLATE_FILE, CHAT_TEMPLATE.encode())
    write_json(folder / TOKENIZER_CONFIG_FILE, settings)
    write_bytes(folder / TOKENIZER_FILE, tokenizer.to_str(pretty=True).encode())
    write_digests(folder, (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, CHAT_TEMPLATE_FILE))
