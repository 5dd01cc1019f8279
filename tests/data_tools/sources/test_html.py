"""Pages of folders and archives."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_tools.errors import DataError
from data_tools.sources.protocol import Record
from tests.data_tools.sources.crawls import SENTENCES, page
from tests.data_tools.sources.reading import read_all, records, told


def test_a_folder_of_pages_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.html").write_bytes(page(1))
    (tmp_path / "deep" / "b.HTM.gz").write_bytes(gzip.compress(page(2)))
    (tmp_path / "c.xhtml").write_bytes(
        page(3).replace(b"</title>", b"</title><link rel=canonical href=https://a.example/>")
    )
    (tmp_path / "style.css").write_text("p {}")
    items = read_all("html", tmp_path)
    assert told(items) == ["a.html", "c.xhtml", "deep/b.HTM.gz"]
    first, second, _ = records(items)
    assert first.text == f"Page 1. {SENTENCES}" and first.url is None
    assert first.metadata == {"title": "Page 1", "language": "en"}
    assert second.url == "https://a.example/"


def test_pages_that_are_none(tmp_path: Path) -> None:
    pages = {
        "binary.html": b"\x89PNG\r\n" + bytes(range(256)) * 40,
        "empty.html": b"",
        "long.html": b"<p>" + b"x" * 2_000_000,
        "script.html": b"<script>var x = 1;</script>",
        "whole.html": page(1),
    }
    for name, raw in pages.items():
        (tmp_path / name).write_bytes(raw)
    items = read_all("html", tmp_path, extract={"max_html_bytes": 1_000_000})
    assert told(items) == ["invalid-encoding", "no-text", "too-long", "no-text", "whole.html"]


def test_a_page_that_takes_too_long_costs_itself_only(tmp_path: Path) -> None:
    # Resiliparse takes time in the square of the depth of nested divisions.
    (tmp_path / "a.html").write_bytes(b"<div>" * 100_000 + SENTENCES.encode())
    (tmp_path / "b.html").write_bytes(page(2))
    assert told(read_all("html", tmp_path, extract={"timeout_seconds": 0.5})) == ["extraction-timeout", "b.html"]


def _tar(members: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.html")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return raw.getvalue()


def test_pages_in_archives(tmp_path: Path) -> None:
    members = {"x/1.html": page(1), "x/logo.png": b"\x89PNG", "../2.html": page(2)}
    (tmp_path / "a.tar.gz").write_bytes(_tar(members))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    expected = ["x/1.html", "not-a-page", "../2.html"]
    items = read_all("html", tmp_path)
    assert told(items) == [
        name if name == "not-a-page" else f"{archive}/{name}" for archive in ("a.tar.gz", "b.zip") for name in expected
    ]
    assert [record.metadata["title"] for record in records(items)] == ["Page 1", "Page 2"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "b.zip"]  # nothing was unpacked


def test_damaged_archives_give_what_stands_before(tmp_path: Path) -> None:
    whole = _tar({f"{number}.html": page(number) * 200 for number in range(20)})
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "c.html").write_bytes(page(1))
    items = read_all("html", tmp_path)
    assert isinstance(items[0], Record)
    assert told(items)[-3:] == ["truncated-file", "unreadable-file", "c.html"]


def test_a_declared_encoding_is_believed(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(f"<meta charset=utf-8><p>Привет. {SENTENCES}".encode("cp1251"))
    assert "Привет" in records(read_all("html", tmp_path, encoding="windows-1251"))[0].text


def test_missing_packages_and_encodings_are_found_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.html").write_bytes(page(1))
    with pytest.raises(DataError, match="no encoding is called 'nonesuch'"):
        read_all("html", tmp_path, encoding="nonesuch")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for kind in ("html", "warc"):
        with pytest.raises(DataError, match=r"groundup\[web\]"):
            read_all(kind, tmp_path)
