"""The tokenizer: loses nothing, can't be fooled, is the textbook's algorithm, and loads elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from llm_core.chat import render
from llm_core.config import TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.tokenizer.bpe_reference import encode_piece, train_bpe
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.report import segmentation, tokenizer_report
from llm_core.tokenizer.train import SPECIAL_TOKENS, piece_pattern, save_tokenizer, train_tokenizer

TEXTS = [
    "The city of Lyon lies on two rivers, and it's older than most of them say.",
    "In 1984 the river rose 12.5 metres; the old town was under water for days.",
    "Übermäßig schöne Straßen, ein café, 東京 and 日本, and an emoji 🙂.",
    "  Spaces   and\n\nlines\tand tabs, they're kept.  ",
] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_tokenizer(TEXTS, TokenizerConfig(vocab_size=400)), path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


SHARED: dict[str, Tokenizer] = {}


@pytest.fixture(autouse=True, scope="module")
def _share(tokenizer: Tokenizer) -> None:
    SHARED["tokenizer"] = tokenizer  # hypothesis runs many examples in one call and wants no fixtures there


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    tokenizer = SHARED["tokenizer"]
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "a", " ", "\n", "é"]), max_size=8).map("".join))
def test_text_never_becomes_a_special_token(text: str) -> None:
    tokenizer = SHARED["tokenizer"]
    ids = tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.special_ids.values())
    assert tokenizer.decode(ids) == text


@given(st.binary())
def test_any_bytes_can_be_spelled(content: bytes) -> None:
    """Every byte is a token of its own, so that any bytes have a spelling, and it gives them back."""
    tokenizer = SHARED["tokenizer"]
    of_byte = {piece[0]: number for number, piece in enumerate(tokenizer.bytes_of) if len(piece) == 1}
    assert len(of_byte) == 256
    assert tokenizer.decode_bytes(of_byte[byte] for byte in content) == content


def test_our_decoding_is_the_librarys(tokenizer: Tokenizer) -> None:
    for ids in ([65, 200, 300, 301], tokenizer.encode(TEXTS[2])[3:-2], list(range(6, 400))):
        ids = [number for number in ids if number < tokenizer.vocab_size]
        assert tokenizer.decode(ids) == tokenizer._library.decode(ids)


def test_special_tokens_have_their_ids(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(6))
    assert (tokenizer.eot_id, tokenizer.pad_id, tokenizer.end_id) == (0, 1, 5)
    assert tokenizer.decode([tokenizer.eot_id, *tokenizer.encode("hi"), tokenizer.end_id]) == "hi"
    assert tokenizer.byte_lengths[tokenizer.eot_id] == 0
    assert tokenizer.byte_lengths[tokenizer.encode(TEXTS[0])].sum() == len(TEXTS[0].encode())


def test_training_is_deterministic_and_ignores_the_order() -> None:
    config = TokenizerConfig(vocab_size=400)
    assert train_tokenizer(TEXTS, config).to_str() == train_tokenizer(TEXTS[::-1], config).to_str()


def test_digits_are_single_where_asked(tokenizer: Tokenizer) -> None:
    assert segmentation(tokenizer, "in 1984")[-4:] == ["1", "9", "8", "4"]
    together = train_tokenizer(["1984 " * 50], TokenizerConfig(vocab_size=400, split_digits=False))
    assert "198" in together.get_vocab()


def test_merges_are_the_textbooks() -> None:
    """On text of single bytes both learn the same merges, ties included (older pairs first there as here)."""
    text = " ".join(TEXTS[:2]) + " low lower lowest newer wider newest slow slower"
    library = train_tokenizer([text], TokenizerConfig(vocab_size=300))
    splitter = pre_tokenizers.Split(Regex(piece_pattern(True)), behavior="isolated")
    pieces = [piece for piece, _ in splitter.pre_tokenize_str(text)]
    reference = train_bpe(pieces, merges=300 - 256 - len(SPECIAL_TOKENS))
    tokenizer = Tokenizer(library, "")
    learned = tokenizer.bytes_of[256 + len(SPECIAL_TOKENS) :]
    assert learned == [left + right for left, right in reference]
    for piece in pieces:
        assert [tokenizer.bytes_of[i] for i in tokenizer.encode(piece)] == encode_piece(piece, reference)


def test_reference_on_the_textbooks_example() -> None:
    # Sennrich et al. 2016: low, lower, newest, widest
    words = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
    assert train_bpe(words, 3) == [(b"e", b"s"), (b"es", b"t"), (b"l", b"o")]


def test_transformers_loads_the_folder(folder: Path, tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text
    assert theirs.eos_token_id == tokenizer.eot_id and theirs.pad_token_id == tokenizer.pad_id
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " What is  Lyon?\n"},
        {"role": "assistant", "content": "A city."},
    ]
    ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert ids == render(messages, tokenizer)[0]
    ids = theirs.apply_chat_template(messages[:2], add_generation_prompt=True, return_dict=False)
    assert ids == render(messages[:2], tokenizer, add_generation_prompt=True)[0]


def test_report(tokenizer: Tokenizer) -> None:
    report = tokenizer_report(tokenizer, TEXTS[:3])
    assert report["bytes"] == sum(len(text.encode()) for text in TEXTS[:3])
    assert 1.0 < report["bytes_per_token"] < 6.0
    assert report["bytes_per_token"] == pytest.approx(report["bytes"] / report["tokens"], abs=1e-3)
    assert "".join(report["examples"][0]) == TEXTS[0]
    assert len(report["longest_tokens"][0].encode()) == max(map(len, tokenizer.bytes_of))


def test_unreadable_tokenizers_are_named(tmp_path: Path) -> None:
    with pytest.raises(LlmCoreError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(LlmCoreError, match=re.escape(str(tmp_path / "tokenizer.json"))):
        Tokenizer.load(tmp_path)


def test_half_characters_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(LlmCoreError, match="surrogate"):
        tokenizer.encode("a\ud800b")
