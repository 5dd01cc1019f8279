"""An encoder is used only if it gives exactly the reference's ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.tokenizer import encoders
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.encoders import ENCODERS, REFERENCE, Encoder
from llm_core.tokenizer.parity import choose_encoder, probe_texts
from llm_core.tokenizer.train import SPECIAL_TOKENS, TOKENIZER_FILE

FAST = [name for name in ENCODERS if name != REFERENCE]


@pytest.fixture(scope="module", params=FAST)
def encoder(request: pytest.FixtureRequest, toy: Any) -> Encoder:
    pytest.importorskip(request.param)
    return ENCODERS[request.param](toy.tokenizer)


@pytest.fixture(scope="module")
def tokenizer(toy: Any) -> Tokenizer:
    return Tokenizer.load(toy.tokenizer)


words = st.sampled_from(
    [*SPECIAL_TOKENS, "the cat", "'s", "'LL", " ", "\n", "\r\n", "\u00a0", "12", "é", "\u0301", "🙂"]
)


@settings(max_examples=60)
@given(st.lists(st.lists(st.one_of(words, st.text(max_size=8)), max_size=8).map("".join), max_size=5))
def test_ids_are_those_of_the_reference(encoder: Encoder, tokenizer: Tokenizer, texts: list[str]) -> None:
    encoded = encoder.encode(pa.array(texts, pa.large_string()))
    expected = tokenizer.encode_batch(texts)
    assert encoded.lengths.tolist() == [len(ids) for ids in expected]
    assert encoded.ids.tolist() == [number for ids in expected for number in ids]


def test_a_part_of_an_array_is_encoded_by_itself(encoder: Encoder, tokenizer: Tokenizer) -> None:
    texts = pa.array(["one", "two two", "", "three"], pa.large_string()).slice(1, 2)
    encoded = encoder.encode(texts)
    assert encoded.ids.tolist() == tokenizer.encode("two two") and encoded.lengths[1] == 0


def test_forgetting_changes_nothing(encoder: Encoder, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "REMEMBERED_BYTES", 20)
    for text in ("the cat sat", "the cat", "the cat sat on the mat"):
        assert encoder.encode(pa.array([text], pa.large_string())).ids.tolist() == tokenizer.encode(text)


def test_the_probe_covers_what_is_hard(tokenizer: Tokenizer) -> None:
    texts = probe_texts()
    assert "" in texts and max(map(len, texts)) > 10_000
    never = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that UTF-8 doesn't have
    assert set("".join(texts).encode()) == set(range(256)) - never
    assert all(token in texts for token in SPECIAL_TOKENS)
    assert texts == probe_texts()


def test_one_that_differs_is_left_out_with_the_reason(toy: Any, tmp_path: Path) -> None:
    pytest.importorskip("tiktoken")
    assert choose_encoder("tiktoken", toy.tokenizer, ["a document"]).name == "tiktoken"
    changed = json.loads((toy.tokenizer / TOKENIZER_FILE).read_bytes())
    changed["normalizer"] = {"type": "Lowercase"}  # which tiktoken knows nothing of
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps(changed))
    choice = choose_encoder("tiktoken", tmp_path, [])
    assert choice.name == REFERENCE and choice.left_out["tiktoken"].startswith("gives other ids for")
    changed["pre_tokenizer"] = changed["pre_tokenizer"]["pretokenizers"][1]
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps(changed))
    choice = choose_encoder("tiktoken", tmp_path, [])
    assert choice.name == REFERENCE and "one regular expression" in choice.left_out["tiktoken"]


def test_one_that_crashes_takes_nothing_down(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fastokens.py").write_text("import os; os.abort()")
    (tmp_path / "tiktoken.py").write_text("raise BaseException('panicked')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(ENCODERS, "gigatoken")
    choice = choose_encoder("auto", toy.tokenizer, [])
    assert choice.name == REFERENCE
    assert choice.left_out == {"fastokens": "crashed (exit code -6)", "tiktoken": "BaseException: panicked"}


def test_one_that_is_not_installed_is_left_out(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    choice = choose_encoder("auto", toy.tokenizer, [])
    assert choice.name == REFERENCE and set(choice.left_out.values()) == {"not installed"}
    assert choose_encoder(REFERENCE, toy.tokenizer, []).left_out == {}
