"""Addresses and command lines as they may be written down or shown: without the passwords in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

#: `://user:password@`. The password ends at the last `@` of its word, for it may hold one itself.
_PASSWORD = re.compile(r"(://[^/\s:@\"']*):[^/\s\"']+@")


def without_password(uri: str) -> str:
    """`postgresql://user:secret@host/db` -> `postgresql://host/db`: one address, without whoever signs in."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def hide_passwords(text: str) -> str:
    """`postgresql://user:secret@host` -> `postgresql://user:***@host`, wherever it stands in ``text``."""
    return _PASSWORD.sub(r"\1:***@", text)
