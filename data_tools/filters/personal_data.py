"""Personal data: how much of it stands in a text, and texts with placeholders in its place.

Found are e-mail addresses, public IP addresses (version 4 and 6), phone numbers (with ``+`` and a calling code, or in a
common national layout), card numbers (with a known beginning and a right Luhn checksum) and account numbers (IBAN, with
the country's length and a right checksum). Not found: names, postal addresses, what is disguised (``name at host``) or
written in digits of another script. It is patterns and checksums, no more, and no promise that nothing is left.

Placeholders look like what they replace, so that a model still learns that an address stands here; they are reserved
by standards for examples, so that they are nobody's. None is ever found again: doing it twice changes nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from data_tools.config import ReplacePersonalData
from data_tools.filters.personal_data_checks import CHECKS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

#: Raised when something else is found or put in its place.
VERSION = "personal-data-1"

KINDS = ("emails", "ip_addresses", "phone_numbers", "card_numbers", "ibans")

#: RFC 2606; RFC 5737; RFC 3849; the North American numbers kept for fiction; a card no network issues; an IBAN of no
#: country (ISO 3166 leaves XX to users).
PLACEHOLDERS = {
    "emails": "email@example.com",
    "ip_addresses": "192.0.2.1",
    "phone_numbers": "+1 212 555 0100",
    "card_numbers": "0000 0000 0000 0000",
    "ibans": "XX00 0000 0000 0000 0000 00",
}
IPV6_PLACEHOLDER = "2001:db8::1"


class Found(NamedTuple):
    text: int
    """Which of the texts."""
    start: int
    """First byte in the text's UTF-8."""
    end: int
    kind: str


def find_personal_data(texts: Sequence[str] | pa.ChunkedArray | pa.Array) -> list[Found]:
    """Everything that is found, text by text, from first to last; no two overlap.

    Args:
        texts: as strings, or as a string column without nulls.
    """
    import pyarrow as pa

    from data_tools.kernels.buffers import text_buffers
    from data_tools.kernels.personal_data import candidates

    column = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(texts, pa.large_string())
    data, offsets = text_buffers(column)
    found: list[Found] = []
    in_text: list[Found] = []
    current, begin, content = -1, 0, b""
    for text, start, end, kind in candidates(data, offsets).tolist():
        if text != current:
            found += _apart(in_text)
            current, begin, in_text = text, int(offsets[text]), []
            content = data[begin : offsets[text + 1]].tobytes()
        for name, check in CHECKS[kind]:
            span = check(content, start - begin, end - begin)
            if span is not None:
                in_text.append(Found(text, span[0], span[1], name))
                break
    found += _apart(in_text)
    return found


def _apart(found: list[Found]) -> list[Found]:
    """Of those that overlap, the one that begins first (the longest of these)."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def personal_data_signals(texts: Sequence[str] | pa.ChunkedArray | pa.Array) -> dict[str, npt.NDArray[np.int64]]:
    """How many of each kind stand in each text: the columns of ``schema.PERSONAL_DATA_SIGNALS``, (texts,) each."""
    import numpy as np

    counts = {kind: np.zeros(len(texts), dtype=np.int64) for kind in KINDS}
    for one in find_personal_data(texts):
        counts[one.kind][one.text] += 1
    return counts


def replace_found(text: str, found: Sequence[Found], config: ReplacePersonalData) -> tuple[str, dict[str, int]]:
    """The text with placeholders in place of what was found in it, for the kinds that ``config`` names, and how many
    of each kind these are."""
    content = text.encode()
    pieces: list[bytes] = []
    counts: dict[str, int] = {}
    position = 0
    for one in found:
        if not getattr(config, one.kind):
            continue
        old = content[one.start : one.end]
        new = IPV6_PLACEHOLDER if one.kind == "ip_addresses" and b":" in old else PLACEHOLDERS[one.kind]
        pieces += [content[position : one.start], new.encode()]
        position = one.end
        counts[one.kind] = counts.get(one.kind, 0) + 1
    return b"".join([*pieces, content[position:]]).decode(), counts


def replace_personal_data(text: str, config: ReplacePersonalData) -> tuple[str, dict[str, int]]:
    """:func:`replace_found` for one text by itself."""
    return replace_found(text, find_personal_data([text]), config)
