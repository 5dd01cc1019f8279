"""The compiled loop over UTF-8 bytes against the same definition in plain Python, in many scripts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_tools.dedup.shingles import read_only
from data_tools.kernels.buffers import text_buffers
from data_tools.kernels.characters import character_flags, lower_case
from data_tools.kernels.words import BLOCK, scan_words
from tests.data_tools.dedup.shingle_reference import hash_of_word, words

SCRIPTS = (
    "abcxyzABCXYZ0129__ \n\t.,;:!?'\"-()[]@`{}/~^\\\x00\x7f"
    "éÉßÀÿñ’—“”…\u00a0ſ"
    "абвЖЯёЁ"
    "αβΣςΩ"
    "אבגד\u05b8"
    "عرب\u064e٣"
    "नमस्ते\u0902ि"
    "ไทยก็่า๕"
    "漢字かなカナー々〇ㄅ한글"
    "ကာ့ខ្មែរ"
    "e\u0301\u0308\u200d\u200b"
    "İKÅ𝐀𝒷🙂𐐀𐐨𠀀"
)


def scan(text: str, before: str = "", after: str = "", room: int = 5_000) -> list[int]:
    """The hashes of a text's words where it stands between two others."""
    data, offsets = (read_only(buffer) for buffer in text_buffers(pa.array([before, text, after], pa.large_string())))
    hashes = np.empty(room, dtype=np.uint64)
    position, found = offsets[1], list[int]()
    while position < offsets[2]:
        position, count = scan_words(data, position, offsets[2], character_flags(), lower_case(), hashes, 0, room)
        found += hashes[:count].tolist()
    return found


@settings(deadline=None, max_examples=400)
@given(
    st.one_of(
        st.text(max_size=300),
        st.text(st.sampled_from(SCRIPTS), max_size=300),
        st.text(st.sampled_from("ab Z_9.é漢\u0301"), max_size=300),
        st.lists(st.text(st.sampled_from("abcdefgh"), min_size=1, max_size=70), max_size=20).map(" ".join),
    ),
    st.sampled_from(["", "x", "tail after it " * 10, "é"]),
)
@example("a" * 64, "")
@example("a" * 63 + "é", "after" * 30)
@example("b" * 200 + " " + "c" * 8, "after" * 30)
@example("word e\u0301 " * 20, "\u0301 and more" * 10)
@example(" " * 64 + "\u0301a", "after" * 30)
def test_words_are_those_of_the_reference(text: str, after: str) -> None:
    expected = [hash_of_word(word) for word in words(text)]
    assert scan(text, "before ", after) == expected
    assert scan(text, after, "") == expected


def test_the_definition_by_example() -> None:
    assert words("Don't_stop: the CAFÉ, naïve (e\u0301)!") == ["don", "t_stop", "the", "café", "naïve", "e\u0301"]
    assert words("東京tower ภาษา") == ["東", "京", "tower", "ภ", "า", "ษ", "า"]
    assert words("ΟΔΟΣ \u0301x Ⅷ ½") == ["οδοσ", "x", "ⅷ", "½"]


def test_little_room_gives_the_same_in_pieces() -> None:
    text = "a bc " * 300 + "漢字" * 100 + "x " * 200
    assert scan(text, room=BLOCK) == scan(text, room=BLOCK + 17) == [hash_of_word(word) for word in words(text)]


@pytest.mark.parametrize("text", ["", " ", "...", "\u0301", "🙂 — “”"])
def test_no_words(text: str) -> None:
    assert scan(text) == []


def test_words_of_up_to_eight_bytes_never_collide_and_longer_ones_did_not() -> None:
    short = {f"{a}{b}" for a in range(300) for b in "abcdefgh"}
    long = {f"{'x' * i}{a}" for i in range(8, 40) for a in range(100)}
    found = scan(" ".join(sorted(short | long)), room=20_000)
    assert len(set(found)) == len(short | long)
    # Every bit is as often set as not.
    bits = np.unpackbits(np.array(found, dtype=np.uint64).view(np.uint8)).reshape(-1, 64)
    assert abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / len(found) ** 0.5
