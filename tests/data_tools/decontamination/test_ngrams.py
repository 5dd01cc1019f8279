"""Finding n-grams in texts, against a plain search for lists of words."""

from __future__ import annotations

import unicodedata
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import BenchmarkConfig, DecontaminateConfig
from data_tools.decontamination.ngrams import SHORTEST_EXAMPLE, Finder, ngrams_of
from data_tools.kernels.characters import UNSEGMENTED, WORD, character_flags, lower_case

FLAGS, LOWER = character_flags(), lower_case()


def words(text: str) -> list[tuple[str, int, int]]:
    """(lower-cased word, first character, character behind it)."""
    found: list[tuple[str, int, int]] = []
    open_word = alone = False
    for position, character in enumerate(text):
        flag = int(FLAGS[ord(character)])
        lowered = chr(LOWER[ord(character)])
        mark = unicodedata.category(character)[0] == "M"
        if open_word and (mark or (not alone and flag & WORD and not flag & UNSEGMENTED)):
            word, start, _ = found.pop()
            found.append((word + lowered, start, position + 1))
        elif flag & WORD:
            open_word, alone = True, bool(flag & UNSEGMENTED)
            found.append((lowered, position, position + 1))
        else:
            open_word = False
    return found


def searched(texts: list[str], examples: list[str], n: int, short: bool) -> set[tuple[int, tuple[str, ...], str]]:
    """(text, n-gram, how it stands there)."""
    sought = set()
    for example in examples:
        tokens = tuple(word for word, _, _ in words(example))
        if len(tokens) >= n:
            sought |= {tokens[i : i + n] for i in range(len(tokens) - n + 1)}
        elif short and len(tokens) >= SHORTEST_EXAMPLE:
            sought.add(tokens)
    found = set()
    for number, text in enumerate(texts):
        located = words(text)
        for ngram in sought:
            for i in range(len(located) - len(ngram) + 1):
                part = located[i : i + len(ngram)]
                if tuple(word for word, _, _ in part) == ngram:
                    found.add((number, ngram, text[part[0][1] : part[-1][2]]))
    return found


def found_by(texts: list[str], examples: list[str], config: DecontaminateConfig) -> set[tuple[int, Any, str]]:
    sought = ngrams_of(examples, config)
    column = pa.chunked_array([pa.array(["in front", *texts], pa.large_string()).slice(1)])
    result = set()
    for text, ngram, start, end in Finder(sought).find(column).tolist():
        first, length = int(sought.firsts[ngram]), int(sought.lengths[ngram])
        data = sought.text.tobytes()
        spans = [data[sought.starts[w] : sought.ends[w]].decode() for w in range(first, first + length)]
        name = tuple("".join(chr(LOWER[ord(c)]) for c in span) for span in spans)
        result.add((text, name, texts[text].encode()[start:end].decode()))
    return result


def configured(n: int, **settings: Any) -> DecontaminateConfig:
    return DecontaminateConfig(benchmarks=(BenchmarkConfig(name="b", path="-"),), ngram_words=n, **settings)


WORDS = st.sampled_from(
    ["a", "The", "THE", "naïve", "nai\u0308ve", "x_1", "日本", "ไทย", "Σ", "ß", "I\u0307", "𐐀", "७"]
)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", ", ", "\n", "—", "'"])), max_size=30).map(
    lambda parts: "".join(word + between for word, between in parts)
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(TEXTS, min_size=1, max_size=5), st.lists(TEXTS, min_size=1, max_size=5), st.integers(3, 12), st.booleans()
)
def test_it_finds_what_a_plain_search_finds(texts: list[str], examples: list[str], n: int, short: bool) -> None:
    # Parts of the examples, so that something is there to find.
    texts = [*texts, *(example[len(example) // 4 :] + text for example, text in zip(examples, texts, strict=False))]
    config = configured(n, short_examples="whole" if short else "skip")
    assert found_by(texts, examples, config) == searched(texts, examples, n, short)


def test_an_ngram_across_the_kernels_blocks_is_found() -> None:
    ngram = [f"sought{i}" for i in range(13)]
    for before in (8_100, 8_180, 8_190, 8_192, 16_380):
        text = " ".join([*(f"w{i}" for i in range(before)), *ngram, "and", *ngram[:12]])
        short = "four score and seven years ago our fathers"
        examples = [" ".join(ngram).upper(), short]
        found = found_by([text, f"{text} {short}"], examples, configured(13))
        assert found == searched([text, f"{text} {short}"], examples, 13, True)
        assert len(found) == 3


def test_which_example_an_ngram_is_from() -> None:
    shared = "one two three four five six seven eight nine"
    whole = "one two three four five six seven eight"
    sought = ngrams_of([f"{shared} ten", f"zero {shared}", "too short, for it has seven words", whole], configured(9))
    assert sought.per_example.tolist() == [2, 2, 0, 1]
    owners = sorted(sought.examples_of(ngram).tolist() for ngram in range(len(sought.keys)))
    assert owners == [[0], [0, 1], [1], [3]]


@pytest.mark.parametrize("places", [1, 3000])
def test_any_number_of_hits_in_one_text(places: int) -> None:
    config = configured(3)
    sought = ngrams_of(["a b c"], config)
    found = Finder(sought).find(pa.chunked_array([pa.array(["a b c " * places], pa.large_string())]))
    assert len(found) == places and (found[:, 3] - found[:, 2] == 5).all()
