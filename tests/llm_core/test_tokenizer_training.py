"""Training: the same pieces as the library's pattern, the same merges as its trainer, and a bound on the memory."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as LibraryTokenizer

from llm_core.config import TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.tokenizer.bpe_reference import encode_piece, train_bpe
from llm_core.tokenizer.digests import DIGEST_FILE
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.pieces import PieceCounts, count_pieces, cut
from llm_core.tokenizer.train import SPECIAL_TOKENS, piece_pattern, save_tokenizer, train_tokenizer

#: Where the alternatives of the pattern meet.
TRICKY = [*"'sSſtTrReEvVmMlLdD", " ", " ", "\n", "\r", "\t", "\u00a0", "\u2028", *"12Ⅷ²٣éß東́.,!-_ab", "🙂", "<|pad|>"]
SOURCES = sorted((Path(__file__).parents[2] / "llm_core").rglob("*.py"))[:25]


def library_pieces(text: str, split_digits: bool) -> list[str]:
    splitter = pre_tokenizers.Split(Regex(piece_pattern(split_digits)), behavior="isolated")
    return [piece for piece, _ in splitter.pre_tokenize_str(text)]


def library_trained(texts: list[str], config: TokenizerConfig) -> LibraryTokenizer:
    """What Hugging Face's own trainer makes of ``texts``."""
    tokenizer = LibraryTokenizer(models.BPE())
    pattern = pre_tokenizers.Split(Regex(piece_pattern(config.split_digits)), behavior="isolated")
    spelled = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pattern, spelled])
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


@given(st.lists(st.sampled_from(TRICKY), max_size=30).map("".join), st.booleans())
def test_pieces_are_those_of_the_pattern(text: str, split_digits: bool) -> None:
    assert cut(text, split_digits) == library_pieces(text, split_digits)


@given(st.text(), st.booleans())
def test_pieces_of_any_text(text: str, split_digits: bool) -> None:
    assert cut(text, split_digits) == library_pieces(text, split_digits)


def test_every_character_is_what_the_library_takes_it_for() -> None:
    codes = [*range(0xD800), *range(0xE000, 0x33000), *range(0x33000, sys.maxunicode, 97)]  # few letters ever above
    text = "".join(chr(code) + "\n" if code % 2 else chr(code) for code in codes)
    assert cut(text, True) == library_pieces(text, True)


@settings(max_examples=150)
@given(
    st.lists(
        st.lists(st.sampled_from([*"aaabbc 1'", "é", "東", "\n", "<|pad|>"]), max_size=60).map("".join), max_size=4
    ),
    st.integers(1, 3),
    st.booleans(),
)
def test_the_tokenizer_is_the_librarys_to_the_last_byte(texts: list[str], min_frequency: int, digits: bool) -> None:
    config = TokenizerConfig(vocab_size=340, min_frequency=min_frequency, split_digits=digits)
    assert train_tokenizer(texts, config).to_str() == library_trained(texts, config).to_str()


@pytest.mark.parametrize("split_digits", [True, False])
def test_on_real_text_too(split_digits: bool) -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    config = TokenizerConfig(vocab_size=5000, split_digits=split_digits)
    ours = train_tokenizer(texts, config)
    assert ours.to_str() == library_trained(texts, config).to_str()
    assert ours.get_vocab_size() > 2000  # else it stopped early, and little was compared


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["low", "lower", " newest", " aaaa", "aaa", " ababab", "7", "東京"]), max_size=40))
def test_merges_are_the_textbooks_on_any_words(words: list[str]) -> None:
    text = "".join(words)
    tokenizer = Tokenizer(train_tokenizer([text], TokenizerConfig(vocab_size=310, min_frequency=1)), "")
    pieces = cut(text, True)
    reference = train_bpe(pieces, merges=310 - 256 - len(SPECIAL_TOKENS), min_frequency=1)
    assert tokenizer.bytes_of[256 + len(SPECIAL_TOKENS) :] == [left + right for left, right in reference]
    for piece in set(pieces):
        assert [tokenizer.bytes_of[i] for i in tokenizer.encode(piece)] == encode_piece(piece, reference)


def made_up_words(n: int, seed: int = 3) -> list[str]:
    """Texts with many rare words and few frequent ones."""
    draw = random.Random(seed)
    return [" ".join(f"w{''.join('abcdefghij'[int(d)] for d in str(int(draw.paretovariate(0.25))))}" for _ in range(40))
            for _ in range(n)]  # fmt: skip


def test_counts_are_exact_however_the_texts_are_handed_over() -> None:
    texts = [*made_up_words(200), "", "x" * 100_000, "end "]
    expected = Counter(piece.encode() for text in texts for piece in cut(text, True))
    at_once = count_pieces(texts, 1_000_000, True)
    assert dict(at_once) == expected
    assert (at_once.total, at_once.let_go, at_once.most_missed) == (expected.total(), 0, 0)
    one_by_one = PieceCounts(1_000_000, True)
    column = pa.array(["not read", *texts], pa.large_string())
    for at in range(0, len(texts), 7):
        one_by_one.add(column.slice(1 + at, 7))
    assert list(one_by_one) == list(at_once)


def test_a_full_table_lets_the_rarest_go() -> None:
    texts = made_up_words(1500)
    expected = Counter(piece.encode() for text in texts for piece in cut(text, True))
    counts = count_pieces(texts, 1000, True)
    assert len(expected) > 5000 and len(counts) <= 1000 and counts.let_go > 4000
    assert counts.total == expected.total()
    found = dict(counts)
    for piece, count in found.items():
        assert expected[piece] - counts.most_missed <= count <= expected[piece]
    assert {piece for piece, count in expected.items() if count > counts.most_missed} <= set(found)
    # The most frequent, which most of the merges come from, are counted from their first occurrence on.
    assert all(found[piece] == count for piece, count in expected.most_common(20))
    assert list(count_pieces(texts, 1000, True)) == list(counts)
    half, rest = PieceCounts(1000, True), texts[700:]
    half.add(texts[:700])
    half.add(rest)
    assert list(half) == list(counts)


def test_half_characters_are_refused() -> None:
    with pytest.raises(LlmCoreError, match="surrogate"):
        train_tokenizer(["fine", "a\ud800b"], TokenizerConfig(vocab_size=300))


def test_no_text_gives_the_bytes() -> None:
    tokenizer = Tokenizer(train_tokenizer([], TokenizerConfig(vocab_size=300)), "")
    assert tokenizer.vocab_size == 256 + len(SPECIAL_TOKENS)
    assert tokenizer.decode(tokenizer.encode("né")) == "né"


def test_a_flipped_bit_is_found_and_named(tmp_path: Path) -> None:
    save_tokenizer(train_tokenizer(["some text, some more text"], TokenizerConfig(vocab_size=300)), tmp_path)
    Tokenizer.load(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert DIGEST_FILE in names and len(names) == 4
    for name in names:
        content = (tmp_path / name).read_bytes()
        for at in range(0, len(content), max(1, len(content) // 60)):
            damaged = bytearray(content)
            damaged[at] ^= 1 << at % 8
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(LlmCoreError) as caught:
                Tokenizer.load(tmp_path)
            assert name in str(caught.value), (at, str(caught.value))
        (tmp_path / name).write_bytes(content)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(LlmCoreError, match=r"chat_template\.jinja.*missing"):
        Tokenizer.load(tmp_path)
    (tmp_path / DIGEST_FILE).unlink()  # a tokenizer of other origin
    assert Tokenizer.load(tmp_path).vocab_size > 262


def test_compiled_loops_need_no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's file system may be read-only."""
    from numba.core.caching import CacheImpl

    from llm_core.compiled import compiled

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])

    def twice(number):  # type: ignore[no-untyped-def]
        return 2 * number

    assert compiled(twice)(21) == 42
