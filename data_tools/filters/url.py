"""What a URL gives away: blocked domains and addresses, banned words.

The kinds of rules are those of RefinedWeb (Penedo et al. 2023, arXiv:2306.01116); the lists are the user's own.

Everything is compared in one spelling: the scheme, ``www.``, user and port are left out, the host is in lower case and
in its ASCII form (punycode), percent signs are decoded once. So ``HTTPS://www.Bücher.example:443/A`` is
``xn--bcher-kva.example/a``.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from data_tools.config import UrlRule
from data_tools.errors import DataError

#: Longer URLs are cut: what decides stands at the beginning, and nothing may take long.
MAX_URL_CHARS = 4_096

_SCHEME = re.compile(r"^[a-z][a-z0-9+.\-]{0,20}://", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")

BLOCKLIST, BANNED_WORD, SOFT_WORDS, SUBSTRING = (
    "url/blocklist",
    "url/banned-word",
    "url/soft-banned-words",
    "url/banned-substring",
)
#: Reason to the fields of ``select.url`` that it hangs on.
KNOBS = {
    BLOCKLIST: "blocklists",
    BANNED_WORD: "banned_words",
    SOFT_WORDS: "soft_banned_words",
    SUBSTRING: "banned_substrings",
}


@lru_cache(maxsize=4_096)
def ascii_host(host: str) -> str:
    """The host in lower case and punycode, without ``www.`` and a last dot. What IDNA refuses stays as it is."""
    host = host.lower().strip(".").removeprefix("www.")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def split_url(url: str) -> tuple[str, str]:
    """``(host, path)``, both in lower case; the path (query included) begins with ``/`` or is empty."""
    rest = _SCHEME.sub("", url.strip()[:MAX_URL_CHARS]).removeprefix("//")
    end = min((found for mark in "/?#" if (found := rest.find(mark)) >= 0), default=len(rest))
    host, path = rest[:end], rest[end:].partition("#")[0]
    host = host.rpartition("@")[2]
    # An IPv6 address stands in brackets and holds colons of its own.
    host = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    path = urllib.parse.unquote(path).lower()
    return ascii_host(urllib.parse.unquote(host)), "" if path == "/" else path


class UrlMatcher:
    """All rules of ``select.url``, ready to be asked.

    Raises:
        DataError: a blocklist isn't there or isn't text.
    """

    def __init__(self, rule: UrlRule) -> None:
        self._hosts: set[str] = set()
        self._paths: dict[str, list[str]] = {}
        for name in rule.blocklists:
            for entry in read_blocklist(Path(name)):
                host, path = split_url(entry)
                if path:
                    self._paths.setdefault(host, []).append(path)
                elif host:
                    self._hosts.add(host)
        self._banned = _folded(rule.banned_words)
        self._soft = _folded(rule.soft_banned_words)
        self._substrings = tuple(sorted(text.lower() for text in rule.banned_substrings if text))

    def reasons(self, url: str) -> list[str]:
        """Every reason that applies to one URL."""
        host, path = split_url(url)
        found = []
        if self._blocked(host, path):
            found.append(BLOCKLIST)
        if self._banned or self._soft:
            words = set(_WORD.findall(f"{host} {path}"))
            if words & self._banned:
                found.append(BANNED_WORD)
            if len(words & self._soft) >= 2:
                found.append(SOFT_WORDS)
        if self._substrings:
            whole = host + path
            if any(text in whole for text in self._substrings):
                found.append(SUBSTRING)
        return found

    def _blocked(self, host: str, path: str) -> bool:
        parent = host
        while parent:
            if parent in self._hosts:
                return True
            parent = parent.partition(".")[2]
        for prefix in self._paths.get(host, ()):
            if path.startswith(prefix) and (
                prefix[-1] in "/?&=" or path[len(prefix) : len(prefix) + 1] in ("", *"/?&")
            ):
                return True
        return False


def _folded(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in words if word.strip())


def read_blocklist(path: Path) -> list[str]:
    """The entries of a list: one domain or URL a line, ``#`` begins a comment; a hosts file's address is left out.

    Raises:
        DataError: it isn't there or isn't UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"this blocklist can't be read ({error.__class__.__name__}: {error})",
            where=f"select.url.blocklists, {str(path)!r}",
            fix="It has to be a text file in UTF-8; paths are relative to where the command runs.",
        ) from error
    entries = []
    for line in lines:
        # In a URL, # only begins a comment after a blank: what stands behind it in a URL never reaches a server anyway.
        entry = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].split()
        if len(entry) == 2 and entry[0] in ("0.0.0.0", "127.0.0.1"):
            entry = entry[1:]
        if entry:
            entries.append(entry[0].removeprefix("*.").removeprefix("."))
    return entries
