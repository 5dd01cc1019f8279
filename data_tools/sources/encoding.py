"""Bytes to text where nobody says for sure how they are encoded.

The order is what experience with web pages and old files taught: a byte order mark never lies, bytes that are valid
UTF-8 almost always are UTF-8 whatever their label says, a label comes next, and only then a guess. A wrong guess is
mojibake that nobody notices, so what decodes to control characters is refused instead.
"""

from __future__ import annotations

import codecs
import re

#: Labels that mean something else in practice (WHATWG Encoding Standard): the larger set that includes what they name.
_LABELS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
_UNKNOWN_TO_PYTHON = {
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "windows-949": "cp949",
    "ks_c_5601-1987": "cp949",
    "windows-874": "cp874",
    "x-gbk": "gb18030",
    "x-x-big5": "big5hkscs",
    "x-mac-cyrillic": "mac_cyrillic",
    "macintosh": "mac_roman",
}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_SAMPLE_BYTES = 131_072
#: Above this share of control characters it is no text in the encoding that was tried.
_MAX_CONTROLS = 0.002


def decode(raw: bytes, declared: str | None = None) -> tuple[str, str]:
    """Decode ``raw`` by what it says of itself, and tell in which encoding that was.

    In this order: a byte order mark (UTF-8, UTF-16, UTF-32; it is taken off); UTF-8 if all of it is valid; the
    ``declared`` one; UTF-16 without a mark; the guess of a detector (uchardet of Resiliparse, the extra ``web``; else
    charset-normalizer); Windows-1252. Each is tried strictly, and left if the text would be full of control
    characters. Guesses on a few words are often wrong: declare what you know.

    Args:
        declared: a label from a header or a page ("ISO-8859-1" is read as Windows-1252, as browsers do). None or an
            unknown one: nothing was said.

    Returns:
        The text, and Python's name of the encoding.

    Raises:
        UnicodeDecodeError: none fits, so it isn't text.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            text = _try(raw[len(mark) :], name)
            if text is not None:
                return text, name
    declared_name = python_name(declared)
    # ISO-2022-JP is all ASCII bytes, so that it would pass for UTF-8.
    if b"\x1b$" in raw[:_SAMPLE_BYTES] and declared_name in (None, "iso2022_jp"):
        text = _try(raw, "iso2022_jp")
        if text is not None:
            return text, "iso2022_jp"
    try:
        utf8 = raw.decode()
    except UnicodeDecodeError as error:
        failure = error
    else:
        # ASCII in UTF-16 is valid UTF-8 too, with a NUL beside every letter.
        if "\x00" not in utf8 or _utf16(raw) is None:
            return utf8, "utf-8"
        failure = UnicodeDecodeError("utf-8", raw, 0, 1, "NUL characters")
    for candidate in (declared_name, _utf16(raw), *_guesses(raw)):
        text = _try(raw, candidate) if candidate is not None else None
        if candidate is not None and text is not None:
            return text, candidate
    raise failure


def python_name(label: str | None) -> str | None:
    """Python's name of the encoding that a label means in practice, or None if it is unknown."""
    if label is None:
        return None
    label = label.strip().strip("\"'").lower()
    name = codec_name(_UNKNOWN_TO_PYTHON.get(label, label))
    return None if name is None else _LABELS.get(name, name)


def codec_name(name: str) -> str | None:
    """Python's own name of exactly this encoding, or None if it has none for text."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    # Codecs such as base64 or rot13 are no encodings of text; UTF-7 is one that nobody should follow.
    if codec.name in {"utf-7", "idna", "punycode"} or not codec._is_text_encoding:
        return None
    return codec.name


def _try(raw: bytes, name: str) -> str | None:
    try:
        text = raw.decode(name)
    except (UnicodeError, ValueError):
        return None
    return None if len(_CONTROLS.findall(text)) > _MAX_CONTROLS * len(text) else text


def _utf16(raw: bytes) -> str | None:
    """Text of a Latin script in UTF-16 has a NUL in every other place."""
    sample = raw[:4096]
    half = len(sample) // 2
    if half < 2:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.3 * half and even < 0.05 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.3 * half and odd < 0.05 * half else None


def _guesses(raw: bytes) -> list[str | None]:
    try:
        from resiliparse.parse.encoding import detect_encoding
    except ImportError:
        from charset_normalizer import from_bytes

        best = from_bytes(raw[:_SAMPLE_BYTES]).best()
        return [python_name(best.encoding) if best is not None else None, "cp1252"]
    return [python_name(detect_encoding(raw, max_len=_SAMPLE_BYTES, html5_compatible=False)), "cp1252"]
