"""WARC records and MediaWiki dumps, made for tests."""

from __future__ import annotations

import base64
import hashlib
from xml.sax.saxutils import escape

SENTENCES = " ".join(f"Sentence {i} tells about the building of harbours and bridges." for i in range(8))


def page(number: int) -> bytes:
    return f"<html lang=en><title>Page {number}</title><body><p>Page {number}. {SENTENCES}</p></body></html>".encode()


def response(
    number: int,
    body: bytes | None = None,
    *,
    status: str = "200 OK",
    content_type: str = "text/html",
    headers: str = "",
    warc_headers: str = "",
    lie: int = 0,
    digest: str | None = None,
) -> bytes:
    """A response of ``http://a.example/NUMBER``.

    ``lie`` is added to the length that it states; ``digest`` is a value, or "right".
    """
    http = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}\r\n".encode()
    block = http + (page(number) if body is None else body)
    if digest == "right":
        digest = "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode()
    lines = [
        "WARC/1.0",
        "WARC-Type: response",
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>",
        "WARC-Date: 2024-05-06T07:08:09Z",
        f"WARC-Target-URI: http://a.example/{number}",
        "Content-Type: application/http; msgtype=response",
        *([f"WARC-Block-Digest: {digest}"] if digest else []),
        *([warc_headers] if warc_headers else []),
        f"Content-Length: {len(block) + lie}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def conversion(number: int, text: bytes) -> bytes:
    lines = [
        "WARC/1.0",
        "WARC-Type: conversion",
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>",
        f"WARC-Target-URI: http://a.example/{number}",
        "Content-Type: text/plain",
        f"Content-Length: {len(text)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text + b"\r\n\r\n"


HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""


def article(number: int, text: str, *, title: str = "", namespace: int = 0, redirect: str = "") -> str:
    return f"""  <page>
    <title>{escape(title or f"Artikel {number}")}</title>
    <ns>{namespace}</ns>
    <id>{number}</id>
    {f'<redirect title="{escape(redirect)}" />' if redirect else ""}
    <revision>
      <id>{number + 1000}</id>
      <timestamp>2024-05-06T07:08:09Z</timestamp>
      <contributor><username>X</username><id>77</id></contributor>
      <text bytes="{len(text)}" xml:space="preserve">{escape(text)}</text>
    </revision>
  </page>
"""


def dump(*pages: str, end: str = "</mediawiki>\n") -> bytes:
    return (HEAD + "".join(pages) + end).encode()
