"""How `tokenizer.json` spells bytes."""

from __future__ import annotations


def byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in ``tokenizer.json`` (GPT-2's table): character -> byte.

    Printable Latin-1 bytes stand for themselves, the 68 others get the characters from U+0100 on.
    """
    itself = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in itself]
    return {chr(byte): byte for byte in itself} | {chr(256 + n): byte for n, byte in enumerate(others)}
