"""Other tokenizers that the report puts beside ours: trained on the same sample, or known from elsewhere.

What isn't installed, or isn't on this machine, is left out and named. Nothing is ever downloaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_core.config import TokenizerConfig
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.train import train_tokenizer

#: (tokens, unknown tokens) of each text.
Count = Callable[[Sequence[str]], list[tuple[int, int]]]


class Absent(Exception):
    """Why a tokenizer can't be compared here."""


@dataclass(frozen=True)
class Contender:
    """A tokenizer that takes part in the comparison."""

    name: str
    vocab_size: int
    count: Count


def ours(name: str, tokenizer: Tokenizer) -> Contender:
    """Byte-level BPE: no text is unknown to it."""
    return Contender(
        name, tokenizer.vocab_size, lambda texts: [(len(ids), 0) for ids in tokenizer.encode_batch(list(texts))]
    )


def byte_level_bpe(sample: Sequence[str], config: TokenizerConfig) -> Contender:
    """Ours, but trained on no more than what the peers get."""
    return ours("byte-level BPE, from the sample", Tokenizer(train_tokenizer(sample, config), ""))


def sentencepiece(sample: Sequence[str], config: TokenizerConfig, kind: str) -> Contender:
    """SentencePiece (Kudo and Richardson 2018) over characters; ``kind`` is `bpe` or `unigram` (Kudo 2018).

    It keeps the text as it is (no normalization, all spaces), and a line end is a token, so that all count the same.
    """
    try:
        import sentencepiece as library
    except ImportError:
        raise Absent("`sentencepiece` is not installed") from None
    import io

    model = io.BytesIO()
    try:
        library.SentencePieceTrainer.train(
            sentence_iterator=(line for text in sample for line in text.splitlines() if line.strip()),
            model_writer=model,
            model_type=kind,
            vocab_size=config.vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            user_defined_symbols=["\n"],
            max_sentence_length=1_000_000,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise Absent(f"SentencePiece can't be trained on this sample ({error})") from None
    processor = library.SentencePieceProcessor(model_proto=model.getvalue())
    unknown = processor.unk_id()

    def count(texts: Sequence[str]) -> list[tuple[int, int]]:
        return [(len(ids), ids.count(unknown)) for ids in processor.encode(list(texts))]

    return Contender(f"SentencePiece {kind}, from the sample", processor.get_piece_size(), count)


def words(sample: Sequence[str], config: TokenizerConfig) -> Contender:
    """The most frequent words of the sample, as whitespace separates them; every other word is the unknown one."""
    frequent = Counter(word for text in sample for word in text.split()).most_common(config.vocab_size - 1)
    known = {word for word, _ in frequent}

    def count(texts: Sequence[str]) -> list[tuple[int, int]]:
        found = []
        for text in texts:
            split = text.split()
            found.append((len(split), sum(word not in known for word in split)))
        return found

    return Contender("whole words, from the sample", len(known) + 1, count)


def gpt2() -> Contender:
    """GPT-2's tokenizer in `tiktoken`, where its file is in tiktoken's cache already."""
    try:
        import tiktoken
        import tiktoken.load
    except ImportError:
        raise Absent("`tiktoken` is not installed") from None

    def refuse(blobpath: str) -> bytes:
        raise Absent(
            f"GPT-2's ranks are not available offline ({blobpath.rsplit('/', 1)[-1]} is not in tiktoken's cache)"
        )

    download, tiktoken.load.read_file = tiktoken.load.read_file, refuse
    try:
        encoding = tiktoken.get_encoding("r50k_base")  # the same ranks as `gpt2`, in one file
    finally:
        tiktoken.load.read_file = download

    def count(texts: Sequence[str]) -> list[tuple[int, int]]:
        return [(len(ids), 0) for ids in encoding.encode_ordinary_batch(list(texts), num_threads=1)]

    return Contender("GPT-2 (tiktoken)", encoding.n_vocab, count)
