"""Is it really an e-mail address, an IP address, a phone, card or account number? Checks of short spans of bytes.

When in doubt, no: a version number that is replaced by an address does more harm than an unusual address that stays.
Every check looks at bounded lengths only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from data_tools.filters.registries import CALLING_CODES, COUNTRY_DOMAINS, GENERIC_DOMAINS, IBAN_LENGTHS

Span = tuple[int, int]
"""First byte and end, counted in the text."""

_RESERVED_DOMAINS = (b"example.com", b"example.org", b"example.net")
_FORGES = frozenset({b"github.com", b"gitlab.com", b"bitbucket.org", b"codeberg.org", b"ssh.dev.azure.com"})
_ASCII_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


def email(text: bytes, start: int, end: int) -> Span | None:
    """An address of a public domain. Not: ``user@1.2.3``, ``@scope/pkg@1.0``, ``icon@2x.png``, ``getty@tty1.service``,
    ``git@host:path``, ``scheme://user@host``, domains that are reserved for examples, and anything not ASCII."""
    at = text.index(b"@", start, end)
    local = text[start:at].lstrip(b"._%+-")
    if not local or local[-1:] == b"." or b".." in local:
        return None
    domain = _public_domain(text[at + 1 : end])
    if domain is None:
        return None
    start, end = at - len(local), at + 1 + len(domain)
    after = text[end : end + 2]
    if after[:1] in (b"@", b"_", b"(") or (after[:1] == b":" and after[1:] > b" " and after[1:] not in (b",", b";")):
        return None
    before = text[max(0, start - 80) : start]
    chunk = before.split()[-1] if before and before[-1:] > b" " else b""
    if chunk:
        if chunk[-1:] in (b"$", b"@", b"\\", b"%") or (chunk[-1:] == b"/" and b"@" in chunk):
            return None
        scheme = chunk.rfind(b"://")
        if scheme >= 0 and b"/" not in chunk[scheme + 3 :] and b"?" not in chunk[scheme + 3 :]:
            return None
    lowered = domain.lower()
    if lowered in _FORGES and local.lower() == b"git":
        return None
    if any(lowered == name or lowered.endswith(b"." + name) for name in _RESERVED_DOMAINS):
        return None
    return start, end


def _public_domain(domain: bytes) -> bytes | None:
    """The domain without what was run together with it (``a.com.Then``), or None."""
    labels = domain.split(b".")
    if b"" in labels:
        labels = labels[: labels.index(b"")]
    while len(labels) > 1:
        top = labels[-1].rstrip(b"-").lower()
        if top in COUNTRY_DOMAINS or top in GENERIC_DOMAINS or top.startswith(b"xn--"):
            break
        labels.pop()
    else:
        return None
    names = labels[:-1]
    if any(label[:1] == b"-" or label[-1:] == b"-" or len(label) > 63 for label in names):
        return None
    if all(label.isdigit() for label in names) and (len(names) > 1 or len(names[0]) < 3):
        return None
    return b".".join([*names, labels[-1].rstrip(b"-")])


_VERSION_BEFORE = re.compile(
    rb"(?:\b(?:version|versions|ver|v|rev|revision|release|rel|section|sec|chapter|kernel|oid|firmware|build|linux)|\xc2\xa7)"
    rb"[\s.:#=]{0,3}$",
    re.IGNORECASE,
)


def ipv4(text: bytes, start: int, end: int) -> Span | None:
    """A public address. Four numbers of which none reaches 100 are taken for a version, a section or a date."""
    octets = [int(part) for part in text[start:end].split(b".")]
    if max(octets) > 255 or max(octets) < 100 or octets[1:] == [0, 0, 0]:
        return None
    if any(len(part) > 1 and part[:1] == b"0" for part in text[start:end].split(b".")):
        return None
    after = text[end : end + 2]
    if after[:1] and (after[0] in _ASCII_WORD or (after[:1] in b".-~+" and after[1:] and after[1] in _ASCII_WORD)):
        return None
    before = text[max(0, start - 16) : start]
    if before[-1:] in (b".", b"-", b"~", b"+", b"$"):
        return None
    if before[-1:] == b"/" and before[-2:] != b"//":
        return None
    if before[-2:] == b"==" or before[-2:] == b">=" or before[-2:] == b"<=" or _VERSION_BEFORE.search(before):
        return None
    address = ipaddress.IPv4Address(bytes(octets))
    return (start, end) if address.is_global and not address.is_multicast else None


def ipv6(text: bytes, start: int, end: int) -> Span | None:
    """A global unicast address (2000::/3) that isn't reserved for documentation."""
    raw = text[start:end]
    token = raw.rstrip(b".")
    if token.endswith(b":") and not token.endswith(b"::"):
        token = token[:-1]
    end = start + len(token)
    if text[end : end + 1] and text[end] in _ASCII_WORD:
        return None
    if start and text[start - 1 : start] in (b":", b".", b"-"):
        return None
    try:
        address = ipaddress.IPv6Address(token.decode())
    except ValueError:
        return None
    return (start, end) if address.is_global and not address.is_multicast else None


_CARD = re.compile(
    rb"(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5})(?!\w|[-./]\d| \d{4}(?!\d))"
)


def card(text: bytes, start: int, end: int) -> Span | None:
    """13 to 19 digits, run together or in a card's groups, of a known network, with a right Luhn checksum."""
    match = _CARD.match(text, start)
    if match is None:
        return None
    before = text[max(0, start - 5) : start]
    if before[-1:] in (b".", b"-", b"/", b"+", b"=", b"&", b"#", b"$", b"("):
        return None
    if match.group(1) and len(before) == 5 and before[:4].isdigit() and before[-1:] in (b" ", b"-"):
        return None  # a longer row of groups of four: a table
    digits = re.sub(rb"[ -]", b"", match.group())
    if not _known_network(digits) or not _luhn(digits):
        return None
    return match.span()


def _known_network(digits: bytes) -> bool:
    n, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    return (
        (digits[:1] == b"4" and n in (13, 16, 19))  # Visa
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and n == 16)  # Mastercard
        or (two in (34, 37) and n == 15)  # American Express
        or ((four == 6011 or 644 <= three <= 649 or two == 65) and 16 <= n <= 19)  # Discover
        or ((300 <= three <= 305 or two in (36, 38, 39)) and 14 <= n <= 19)  # Diners Club
        or (3528 <= four <= 3589 and 16 <= n <= 19)  # JCB
        or (two == 62 and 16 <= n <= 19)  # UnionPay
        or (2200 <= four <= 2204 and 16 <= n <= 19)  # Mir
        or (four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763) and 13 <= n <= 19)  # Maestro
    )


def _luhn(digits: bytes) -> bool:
    total = 0
    for position, byte in enumerate(reversed(digits)):
        value = byte - 48
        if position % 2:
            value = 2 * value - 9 * (value > 4)
        total += value
    return total % 10 == 0


_INTERNATIONAL = re.compile(rb"\+\(?[1-9]\d{0,14}\)?(?:(?: ?\(\d{1,5}\)[ -]?|[ .\-/])\d{1,12}){0,6}")
_NATIONAL = re.compile(
    rb"(?:(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[.-]\d{4}"  # (212) 555-0100, 212-555-0100
    rb"|0[1-9]([ .-])\d\d\1\d\d\1\d\d\1\d\d"  # 01 23 45 67 89
    rb"|\(0\d{2,5}\) ?\d{3,8}(?:[ -]\d{2,5}){0,2}"  # (030) 1234567, (01632) 960 123
    rb"|0\d{2,4}[/-] ?\d{5,8}"  # 030/1234567
    rb"|0\d\d \d{4} \d{4}|0\d{3} \d{3} \d{4}|0\d{4} \d{6}|0\d{4} \d{3} \d{3}"  # 020 7946 0958
    rb")(?!\w|[-./,]\d)"
)


_PAIR_BEFORE = re.compile(rb"[0-9A-Fa-f]{2}[ .\-:]$")
_PAIR_AFTER = re.compile(rb"[ .\-][0-9A-Fa-f]{2}(?!\w)")


def phone(text: bytes, start: int, end: int) -> Span | None:
    """``+`` and a calling code with 8 to 15 digits, or a common national layout: North America, or a leading zero in
    the groups that France, Germany and Britain write. Numbers reserved for fiction (555-01xx) stay."""
    before = text[max(0, start - 2) : start]
    if before[-1:] and (before[-1] in _ASCII_WORD or before[-1:] in b".-/+=$#,)&%*^"):
        return None
    if text[start : start + 1] == b"+":
        return _international(text, start, end)
    if before[-1:] == b":" and before[:1].isdigit():
        return None
    match = _NATIONAL.match(text, start)
    if match is None:
        return None
    if match.group(1) and (
        _PAIR_BEFORE.search(text[max(0, start - 3) : start]) or _PAIR_AFTER.match(text, match.end())
    ):
        return None  # a longer row of pairs: a dump of bytes
    if _fictional(re.sub(rb"\D", b"", match.group())):
        return None
    return match.span()


def _international(text: bytes, start: int, end: int) -> Span | None:
    match = _INTERNATIONAL.match(text, start, end)
    if match is None:
        return None
    found = match.group()
    digits = re.sub(rb"\D", b"", found)
    longest = 11 if digits[:1] == b"1" else 15
    while len(digits) > longest:  # what follows after a blank is another number
        shorter = re.match(rb"(.*?)[ .\-/(]+\d+\)?$", found, re.DOTALL)
        if shorter is None:
            return None
        found = shorter.group(1)
        digits = re.sub(rb"\D", b"", found)
    if not any(digits[:n] in CALLING_CODES for n in (1, 2, 3)):
        return None
    if len(digits) < (10 if found[1:].isdigit() else 8) or b"000000" in digits:
        return None
    if digits[:1] == b"1" and (len(digits) != 11 or digits[1:2] in b"01" or digits[4:5] in b"01"):
        return None
    stop = start + len(found)
    if text[stop : stop + 1] and (
        text[stop] in _ASCII_WORD or (text[stop : stop + 1] in b".," and text[stop + 1 : stop + 2].isdigit())
    ):
        return None
    return None if _fictional(digits) else (start, stop)


def _fictional(digits: bytes) -> bool:
    national = digits[-10:] if len(digits) in (10, 11) and digits[:1] != b"0" else b""
    return national[3:8] == b"55501"


def iban(text: bytes, start: int, end: int) -> Span | None:
    """An account number of a country's length, run together or in groups of four, with a right checksum (ISO 7064)."""
    raw = text[start:end]
    length = IBAN_LENGTHS.get(raw[:2].decode("ascii", "replace"))
    if length is None:
        return None
    spaced = raw[4:5] == b" "
    span = length + (length - 1) // 4 if spaced else length
    if len(raw) < span:
        return None
    token = raw[:span]
    if spaced:
        if any((byte == 32) != (position % 5 == 4) for position, byte in enumerate(token)):
            return None
        token = token.replace(b" ", b"")
    elif b" " in token:
        return None
    if text[start + span : start + span + 1] and text[start + span] in _ASCII_WORD:
        return None
    number = int("".join(str(int(chr(byte), 36)) for byte in token[4:] + token[:4]))
    return (start, start + span) if number % 97 == 1 else None


#: By the candidate's kind (data_tools.kernels.personal_data): what it may be, in the order in which it is asked.
CHECKS: tuple[tuple[tuple[str, Callable[[bytes, int, int], Span | None]], ...], ...] = (
    (("emails", email),),
    (("card_numbers", card), ("phone_numbers", phone)),
    (("ip_addresses", ipv4),),
    (("ip_addresses", ipv6),),
    (("ibans", iban),),
)
