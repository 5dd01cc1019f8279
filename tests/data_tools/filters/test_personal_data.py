from __future__ import annotations

import random
import string

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import ReplacePersonalData
from data_tools.filters.personal_data import (
    IPV6_PLACEHOLDER,
    KINDS,
    PLACEHOLDERS,
    find_personal_data,
    personal_data_signals,
    replace_personal_data,
)
from data_tools.filters.registries import IBAN_LENGTHS
from data_tools.schema import PERSONAL_DATA_SIGNALS

ALL = ReplacePersonalData(phone_numbers=True)

FOUND = [
    ("emails", "mail john.doe+x@mail.example.co.uk now", "john.doe+x@mail.example.co.uk"),
    ("emails", "<foo@bar.com>", "foo@bar.com"),
    ("emails", "write to foo@bar.com.", "foo@bar.com"),
    ("emails", "foo@bar.com: hello", "foo@bar.com"),
    ("emails", "a@163.com", "a@163.com"),
    ("emails", "mailto:foo@bar.de?subject=x", "foo@bar.de"),
    ("emails", "ask foo@bar.com.Then wait", "foo@bar.com"),
    ("emails", "写信foo@bar.com谢谢", "foo@bar.com"),
    ("emails", "https://x.org/a?e=foo@bar.com", "foo@bar.com"),
    ("emails", "git@vger.kernel.org", "git@vger.kernel.org"),
    ("ip_addresses", "host 93.184.216.34 up", "93.184.216.34"),
    ("ip_addresses", "http://93.184.216.34/x", "93.184.216.34"),
    ("ip_addresses", "at 8.8.4.104:53.", "8.8.4.104"),
    ("ip_addresses", "at 2001:4860:4860::8888, ok", "2001:4860:4860::8888"),
    ("ip_addresses", "2a00:1450:4001:81b::200e.", "2a00:1450:4001:81b::200e"),
    ("phone_numbers", "+49 30 1234567", "+49 30 1234567"),
    ("phone_numbers", "ring +1 (212) 456-7890!", "+1 (212) 456-7890"),
    ("phone_numbers", "call 212-456-7890 now", "212-456-7890"),
    ("phone_numbers", "Fax: (212) 456-7890", "(212) 456-7890"),
    ("phone_numbers", "tél. 01 23 45 67 89", "01 23 45 67 89"),
    ("phone_numbers", "London 020 7946 0958", "020 7946 0958"),
    ("phone_numbers", "Berlin 030/1234567", "030/1234567"),
    ("phone_numbers", "+44 20 7946 0958 2020 was a year", "+44 20 7946 0958"),
    ("phone_numbers", "tel:+4930123456789", "+4930123456789"),
    ("phone_numbers", "Tel: +86 138 0013 8000", "+86 138 0013 8000"),
    ("card_numbers", "4111 1111 1111 1111 12/25", "4111 1111 1111 1111"),
    ("card_numbers", "5500-0000-0000-0004", "5500-0000-0000-0004"),
    ("card_numbers", "card 340000000000009.", "340000000000009"),
    ("card_numbers", "3782 822463 10005", "3782 822463 10005"),
    ("ibans", "DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
    ("ibans", "to GB82WEST12345698765432", "GB82WEST12345698765432"),
    ("ibans", "FR14 2004 1010 0505 0001 3M02 606,", "FR14 2004 1010 0505 0001 3M02 606"),
]

NOT_FOUND = [
    # what looks like an e-mail address
    "user@1.2.3", "@scope/pkg@1.0", "npm i react@16.0.0", "lib@2.0.beta.1", "icon@2x.png", "getty@tty1.service",
    "git@github.com:a/b.git", "git clone user@host.com:proj.git", "ssh://user@host.com/x", "@app.route('/x')",
    "x@self.weight", "root@localhost", "me@example.com", "me@mail.example.org", "a@b.c", "@", "@@", "a@", "@a.com",
    # versions, sections, dates, private and reserved addresses
    "version 1.2.3.104", "Chrome/91.0.4472.124", "v1.2.3.4", "1.2.3.4", "Section 3.1.4.100", "2.6.32.27",
    "pip==1.2.3.104", "foo-1.2.3.104.tar.gz", "5.10.0.200-generic", "256.184.216.34", "93.184.216.34.5",
    "192.168.1.100", "10.0.0.255", "203.0.113.200", "127.0.0.1", "255.255.255.0", "224.0.0.251", "093.184.216.134",
    "2001:db8::1", "std::cout", "12:34:56:78:9a:bc", "2024:01:02", "fe80::1", "2001::cafe::1",
    # numbers
    "2024-11-12", "12.11.2020 12:34:56", "2000-2003-2004-2005", "1 2 3 4 5 6 7 8 9 10 11 12", "10 20 30 40 50 60 70",
    "1000000000", "+100000000000", "a+4930123456789", "+1 212 555 0100", "555-0100", "x = 1 +4930",
    "ISBN 978-3-16-148410-0", "0x4111111111111111", "04 03 02 01 08 07 06 05", "3f 01 02 03 04 05",
    "4111 1111 1111 1112", "3.1415926535897932384", "1234 5678 9012 3456 7890", "0000 0000 0000 0000",
    "9999 9999 9999 9995", "4111 1111 1111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 01", "DE89 3704 0044 0532 0130", "XX00 0000 0000 0000 0000 00", "DE893704004405320130001",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "expected"), FOUND)
def test_found(kind: str, text: str, expected: str) -> None:
    content = text.encode()
    assert [(f.kind, content[f.start : f.end].decode()) for f in find_personal_data([text])] == [(kind, expected)]
    placeholder = IPV6_PLACEHOLDER if ":" in expected and kind == "ip_addresses" else PLACEHOLDERS[kind]
    assert replace_personal_data(text, ALL) == (text.replace(expected, placeholder), {kind: 1})


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert find_personal_data([text, f"see {text} there", f"({text})\n"]) == []


def test_texts_do_not_run_into_each_other() -> None:
    column = pa.chunked_array([pa.array(["foo@bar", ".com is 4111 1111", " 1111 1111", "a@b.de"], pa.large_string())])
    assert [(f.text, f.start, f.end, f.kind) for f in find_personal_data(column)] == [(3, 0, 6, "emails")]
    assert [(f.text, f.start) for f in find_personal_data(column.slice(3))] == [(0, 0)]
    assert find_personal_data([]) == [] and find_personal_data(["", ""]) == []


def test_signals_have_the_columns_of_the_schema() -> None:
    signals = personal_data_signals(["a@b.de, c@d.de, +49 30 1234567", "nothing"])
    assert list(signals) == [name for name, _ in PERSONAL_DATA_SIGNALS] == list(KINDS)
    assert {name: column.tolist() for name, column in signals.items() if column.any()} == {
        "emails": [2, 0],
        "phone_numbers": [1, 0],
    }


def test_only_the_kinds_that_are_asked_for_are_replaced() -> None:
    text = "a@b.de or +49 30 1234567"
    assert replace_personal_data(text, ReplacePersonalData()) == ("email@example.com or +49 30 1234567", {"emails": 1})
    assert replace_personal_data(text, ReplacePersonalData(emails=False)) == (text, {})


def _check_digit(digits: str) -> str:
    """Luhn's digit, by the textbook: double every second digit from the right, sum the digits of the products."""
    total = sum(sum(map(int, str(2 * int(d)))) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(digits)))
    return str(-total % 10)


@settings(deadline=None)
@given(
    st.sampled_from(["4", "51", "2221", "6011", "35281", "62"]),
    st.text("0123456789", min_size=15, max_size=15),
    st.sampled_from(["", " ", "-"]),
    st.integers(0, 15),
)
def test_every_card_with_a_right_checksum_and_none_with_a_wrong_digit(
    network: str, digits: str, separator: str, position: int
) -> None:
    body = (network + digits)[:15]
    number = body + _check_digit(body)
    shown = separator.join(number[i : i + 4] for i in range(0, 16, 4))
    assert [f.kind for f in find_personal_data([f"card {shown}, thanks"])] == ["card_numbers"]
    wrong = number[:position] + str((int(number[position]) + 1) % 10) + number[position + 1 :]
    shown = separator.join(wrong[i : i + 4] for i in range(0, 16, 4))
    assert "card_numbers" not in [f.kind for f in find_personal_data([f"card {shown}, thanks"])]


@settings(deadline=None)
@given(st.sampled_from(sorted(IBAN_LENGTHS)), st.randoms(use_true_random=False), st.booleans())
def test_every_account_number_with_a_right_checksum(country: str, chance: random.Random, spaced: bool) -> None:
    account = "".join(chance.choices(string.digits + string.ascii_uppercase, k=IBAN_LENGTHS[country] - 4))
    as_number = "".join(str(int(character, 36)) for character in f"{account}{country}00")
    iban = f"{country}{98 - int(as_number) % 97:02d}{account}"
    shown = " ".join(iban[i : i + 4] for i in range(0, len(iban), 4)) if spaced else iban
    assert ("ibans", shown) in [(f.kind, shown[f.start : f.end]) for f in find_personal_data([shown])]
    swapped = f"{country}{(98 - int(as_number) % 97) % 97 + 2:02d}{account}"
    assert "ibans" not in [f.kind for f in find_personal_data([swapped])] or swapped == iban


pieces = st.lists(
    st.sampled_from(
        [text for _, text, _ in FOUND] + NOT_FOUND + list(" \n.,:@+-()/é漢0123456789ab") + list(PLACEHOLDERS.values())
    ),
    max_size=12,
).map("".join)


@settings(deadline=None)
@given(st.lists(st.sampled_from([text for _, text, _ in FOUND] + NOT_FOUND + list(PLACEHOLDERS.values()))))
def test_doing_it_twice_changes_nothing_more(texts: list[str]) -> None:
    once, _ = replace_personal_data("\n".join(texts), ALL)
    assert replace_personal_data(once, ALL) == (once, {})


@settings(deadline=None)
@given(st.text(max_size=200) | pieces)
def test_spans_are_in_order_apart_and_whole_characters(text: str) -> None:
    content, end = text.encode(), 0
    for found in find_personal_data([text]):
        assert end <= found.start < found.end <= len(content)
        content[found.start : found.end].decode("ascii")
        end = found.end


@pytest.mark.parametrize("placeholder", [*PLACEHOLDERS.values(), IPV6_PLACEHOLDER])
def test_placeholders_are_nobodys(placeholder: str) -> None:
    assert find_personal_data([placeholder, f"a {placeholder}, b {placeholder}.", placeholder * 2]) == []


@pytest.mark.parametrize(
    "unit",
    [
        "@",
        "a@",
        "a@b.",
        "a.",
        "1 ",
        "12-",
        "(1",
        "+1",
        "1.1.1.",
        "2001:",
        "DE12 ",
        "1111 ",
        "0",
        "0a ",
        "A1",
        "a@a.de,",
    ],
)
def test_long_runs_end_in_time(unit: str) -> None:
    """300 kB of what each search begins with: one that looked back or ahead without bound would take minutes."""
    text = unit * (300_000 // len(unit))
    assert len(find_personal_data([text])) <= len(text)
