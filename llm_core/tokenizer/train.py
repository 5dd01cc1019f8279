"""Byte-level byte pair encoding (Sennrich et al. 2016; over bytes as in GPT-2), trained with Hugging Face's library.

Text is cut into pieces (words, digits, punctuation, spaces); each piece starts as its UTF-8 bytes; the pair of
neighbours that occurs most often becomes a new token, again and again. As all 256 bytes are tokens, no text is
unknown. :mod:`llm_core.tokenizer.bpe_reference` is the same algorithm in plain Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as LibraryTokenizer

from llm_core.atomic import write_bytes, write_json
from llm_core.config import TokenizerConfig

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
    """Learn the merges from ``texts``. The same texts give the same tokenizer, whatever their order and the threads.

    The vocabulary is smaller than asked for where the text has too few pairs that occur ``min_frequency`` times.
    """
    tokenizer = LibraryTokenizer(models.BPE())
    # No normalizer: text comes back exactly as it went in.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(piece_pattern(config.split_digits)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
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
    write_bytes(folder / CHAT_TEMPLATE_FILE, CHAT_TEMPLATE.encode())
    write_json(folder / TOKENIZER_CONFIG_FILE, settings)
    write_bytes(folder / TOKENIZER_FILE, tokenizer.to_str(pretty=True).encode())
