from __future__ import annotations

import re

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.kernels.buffers import text_buffers
from data_tools.kernels.personal_data import EMAIL, IBAN, IPV4, IPV6, NUMBER, candidates

_WORD = re.compile(rb"\w", re.ASCII)
_IPV4 = re.compile(rb"(?:\d{1,3}\.){3}\d{1,3}(?!\d)")
_IPV6 = re.compile(rb"(?=[23][0-9A-Fa-f]{3}:.)[0-9A-Fa-f:.]{1,46}", re.DOTALL)
_IBAN = re.compile(rb"(?=[A-Z]{2}\d\d.{11})[A-Z0-9](?:[A-Z0-9]|(?<! ) ){1,43}", re.DOTALL)


def plain(content: bytes) -> list[tuple[int, int, int]]:
    """(first, end, kind) of every candidate, written with regular expressions and slices."""
    found = []
    for i in range(len(content)):
        here = content[i : i + 1]
        begins_word = not _WORD.match(content[i - 1 : i]) if i else True
        if here == b"@":
            local = re.search(rb"[\w.%+\-]*\Z", content[:i], re.ASCII).group()  # type: ignore[union-attr]
            domain = re.match(rb"[A-Za-z0-9.\-]*", content[i + 1 :]).group()  # type: ignore[union-attr]
            if 1 <= len(local) <= 64 and 3 <= len(domain) <= 252:
                found.append((i - len(local), i + 1 + len(domain), EMAIL))
        elif here.isdigit() and begins_word:
            if match := _IPV4.match(content, i):
                found.append((*match.span(), IPV4))
            elif match := _IPV6.match(content, i):
                found.append((*match.span(), IPV6))
            elif span := _number(content, i):
                found.append((*span, NUMBER))
        elif here.isupper() and begins_word and (match := _IBAN.match(content, i)):
            found.append((*match.span(), IBAN))
    return found


def _number(content: bytes, i: int) -> tuple[int, int] | None:
    run = re.match(rb"(?:\d|[ \-.()/]{1,3}(?=\d))*", content[i : i + 40]).group()  # type: ignore[union-attr]
    digits = sum(byte in b"0123456789" for byte in run)
    before = re.search(rb"\+?\(?\Z", content[:i]).group()  # type: ignore[union-attr]
    national = digits >= 9 and (run[:1] != b"1" or before != b"" or run[1:2] in b" -.()/")
    if digits >= (8 if before[:1] == b"+" else 13) or (before[:1] != b"+" and national):
        return i - len(before), i + len(run)
    return None


ALPHABET = "0123456789" * 3 + "ABDEabde_" + ".:-+()/ @@" + "é漢\n%"


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(ALPHABET, max_size=70) | st.text("12:.2a", max_size=60) | st.text("DE12 ", max_size=60)))
def test_candidates_equal_plain_python(texts: list[str]) -> None:
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    found = [
        (number, first - int(offsets[number]), end - int(offsets[number]), kind)
        for number, first, end, kind in candidates(data, offsets).tolist()
    ]
    assert found == [(number, *one) for number, text in enumerate(texts) for one in plain(text.encode())]


def test_more_candidates_than_there_was_room_for() -> None:
    texts = ["a@b.de " * 1_500, "x", "c@d.de " * 100]
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    assert len(candidates(data, offsets)) == 1_600
