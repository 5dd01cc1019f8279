"""Which licence a text is, as an SPDX identifier: by the tag that files carry, or by the phrases of a licence file.

This notes what is written there. It is no legal opinion, and it doesn't compare texts word for word.
"""

from __future__ import annotations

import re

_LICENSE_FILE = re.compile(
    r"(?:un)?(?:licen[cs]e|copying)(?:[.\-_](?:md|txt|rst|mit|apache|bsd|gpl|lesser)[^/]*)?", re.I
)
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+()\- ]{2,120}?)[ \t]*(?:\*/|-->|[\r\n\"']|$)")
_TAG_CHARACTERS = 4_000
_READ_CHARACTERS = 60_000

#: (phrases that all occur, identifier), the first that fits. Texts are in lower case with single blanks.
_PHRASES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("gnu affero general public license", "version 3"), "AGPL-3.0"),
    (("gnu lesser general public license", "version 3"), "LGPL-3.0"),
    (("gnu lesser general public license", "version 2.1"), "LGPL-2.1"),
    (("gnu library general public license", "version 2"), "LGPL-2.0"),
    (("gnu general public license", "version 3, 29 june 2007"), "GPL-3.0"),
    (("gnu general public license", "version 2, june 1991"), "GPL-2.0"),
    (("gnu general public license", "version 3"), "GPL-3.0"),
    (("gnu general public license", "version 2"), "GPL-2.0"),
    (("gnu free documentation license",), "GFDL"),
    (("apache license", "version 2.0"), "Apache-2.0"),
    (("mozilla public license", "2.0"), "MPL-2.0"),
    (("eclipse public license", "2.0"), "EPL-2.0"),
    (("eclipse public license", "1.0"), "EPL-1.0"),
    (("boost software license", "version 1.0"), "BSL-1.0"),
    (("european union public licence", "1.2"), "EUPL-1.2"),
    (("cc0 1.0 universal",), "CC0-1.0"),
    (("attribution-sharealike 4.0 international",), "CC-BY-SA-4.0"),
    (("attribution 4.0 international",), "CC-BY-4.0"),
    (("this is free and unencumbered software released into the public domain",), "Unlicense"),
    (("do what the fuck you want to public license",), "WTFPL"),
    (("postgresql license", "permission to use, copy, modify, and distribute this software"), "PostgreSQL"),
    (("python software foundation license",), "PSF-2.0"),
    (
        (
            "permission is hereby granted, free of charge, to any person obtaining a copy",
            "the above copyright notice and this permission notice",
        ),
        "MIT",
    ),
    (("permission is hereby granted, free of charge, to any person obtaining a copy",), "MIT-0"),
    (("permission to use, copy, modify, and/or distribute this software", "above copyright notice"), "ISC"),
    (("permission to use, copy, modify, and/or distribute this software",), "0BSD"),
    (("permission to use, copy, modify, and distribute this software", "above copyright notice"), "ISC"),
    (("redistributions of source code must retain", "advertising materials mentioning"), "BSD-4-Clause"),
    (("redistributions of source code must retain", "neither the name"), "BSD-3-Clause"),
    (("redistributions of source code must retain",), "BSD-2-Clause"),
    (("provided 'as-is', without any express or implied warranty", "altered source versions"), "Zlib"),
)


def is_license_file(name: str) -> bool:
    """Whether a file of this name (without folders) holds the licence of the folder that it is in."""
    return bool(_LICENSE_FILE.fullmatch(name))


def license_of_text(text: str) -> str | None:
    """The licence that a text is (a LICENSE file), or None where it isn't a known one."""
    tag = tagged_license(text)
    if tag is not None:
        return tag
    plain = " ".join(text[:_READ_CHARACTERS].lower().replace("\u2018", "'").replace("\u2019", "'").split())
    plain = re.sub(r"(?<=\s)[*#/]+ ", "", plain)
    # The AGPL and LGPL name the GPL as well; what a text is called stands at its beginning.
    head = plain[:400]
    for phrases, identifier in _PHRASES:
        if phrases[0].startswith("gnu ") and phrases[0] not in head:
            continue
        if all(phrase in plain for phrase in phrases):
            return identifier
    return None


def tagged_license(text: str) -> str | None:
    """What ``SPDX-License-Identifier`` in a file's first lines says."""
    found = _TAG.search(text[:_TAG_CHARACTERS])
    return found[1].strip() if found else None
