"""Files behind URLs: an S3 of our own, a web server on localhost, fsspec's memory."""

from __future__ import annotations

import gzip
import io
import json
import random
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources import open_source
from data_tools.sources.parquet import read_rows
from data_tools.sources.protocol import Quarantined, Record, Source
from data_tools.sources.unpack import Unpacked


def opened(url: str, kind: str, **options: Any) -> Source:
    config = SourceConfig.model_validate({"kind": kind, "name": "s", "path": url, **options})
    return open_source(config, DataRuntime(), 1_000_000)


def read(url: str, kind: str, **options: Any) -> list[Record | Quarantined]:
    source = opened(url, kind, **options)
    return [item for file in source.files() for item in source.read(file)]  # type: ignore[misc]


def texts(items: list[Any]) -> list[str]:
    return [item.text for item in items if isinstance(item, Record)]


def jsonl(*values: str) -> bytes:
    return "".join(json.dumps({"text": value}) + "\n" for value in values).encode()


def parquet(rows: list[str], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": rows}), sink, **options)
    return sink.getvalue().to_pybytes()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        # As for every user: credentials and the endpoint come from the environment.
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        fs = s3fs.S3FileSystem(skip_instance_cache=True)
        fs.mkdir("corpus")
        yield fs
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_s3(s3: Any) -> None:
    s3.pipe("corpus/in/b.jsonl", jsonl("b1", "b2"))
    s3.pipe("corpus/in/a.jsonl.gz", gzip.compress(jsonl("a1")))
    s3.pipe("corpus/in/sub/c.jsonl", jsonl("c1"))
    s3.pipe("corpus/in/.hidden.jsonl", jsonl("no"))
    s3.pipe("corpus/in/readme.png", b"no")
    assert texts(read("s3://corpus/in", "jsonl")) == ["a1", "b1", "b2", "c1"]
    assert texts(read("s3://corpus/in/*.jsonl", "jsonl")) == ["b1", "b2"]
    assert texts(read("s3://corpus/in/sub/c.jsonl", "jsonl")) == ["c1"]
    # Lines of what is packed can only be read from the start, so they are counted; else the byte says where it is.
    items = read("s3://corpus/in", "jsonl")
    assert [item.source_id for item in items if isinstance(item, Record)] == [
        "a.jsonl.gz:1",
        "b.jsonl@0",
        "b.jsonl@15",
        "sub/c.jsonl@0",
    ]


def test_a_new_version_in_s3_has_a_new_digest(s3: Any) -> None:
    s3.pipe("corpus/v/a.txt", b"one")
    first = opened("s3://corpus/v", "text").digests()
    assert list(first) == ["a.txt"] and opened("s3://corpus/v", "text").digests() == first
    s3.pipe("corpus/v/a.txt", b"two")
    assert opened("s3://corpus/v", "text").digests() != first


def test_large_files_in_s3_are_read_in_parts(s3: Any) -> None:
    rows = [f"row {i} " + "x" * (i % 90) for i in range(2_000)]
    s3.pipe("corpus/big/a.jsonl", jsonl(*rows))
    s3.pipe("corpus/table/a.parquet", parquet(rows, row_group_size=300))
    for url, kind, fewest in [("s3://corpus/big", "jsonl", 10), ("s3://corpus/table", "parquet", 3)]:
        source = opened(url, kind)
        (file,) = source.files()
        parts = source.parts(file, 10_000)
        assert len(parts) >= fewest and sum(part.size for part in parts) == file.size
        assert [item for part in parts for item in source.read(part)] == list(source.read(file))
        assert texts(list(source.read(file))) == rows


def test_nothing_in_s3(s3: Any) -> None:
    for url in ("s3://corpus/gone", "s3://corpus/gone/*.txt", "s3://no-such-bucket/x"):
        with pytest.raises(DataError, match="source 's'"):
            read(url, "text")


def test_an_object_that_vanishes_ends_the_stage(s3: Any) -> None:
    # Were it quarantined, an outage would look like a corpus of bad files.
    s3.pipe("corpus/gone/a.jsonl", jsonl("x"))
    source = opened("s3://corpus/gone", "jsonl")
    (file,) = source.files()
    s3.rm("corpus/gone/a.jsonl")
    with pytest.raises(DataError, match="can't be read: FileNotFoundError"):
        list(source.read(file))


class _Handler(SimpleHTTPRequestHandler):
    """Python's own server: no ranges, Last-Modified."""

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "www"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_the_web(web: tuple[str, Path]) -> None:
    url, folder = web
    (folder / "in").mkdir()
    (folder / "in" / "a.jsonl").write_bytes(jsonl("a1", "a2"))
    (folder / "in" / "b.jsonl.gz").write_bytes(gzip.compress(jsonl("b1")))
    (folder / "in" / "c.txt").write_text("c")
    assert texts(read(f"{url}/in/a.jsonl", "jsonl")) == ["a1", "a2"]
    assert texts(read(f"{url}/in/", "jsonl")) == ["a1", "a2", "b1"]
    assert texts(read(f"{url}/in/*.jsonl", "jsonl")) == ["a1", "a2"]
    assert texts(read(f"{url}/in/c.txt?download=1", "text")) == ["c"]
    with pytest.raises(DataError, match="no such file"):
        read(f"{url}/in/gone.txt", "text")
    with pytest.raises(DataError, match="Cannot connect"):
        read("http://127.0.0.1:9/x.txt", "text")


def test_a_changed_page_has_a_new_digest(web: tuple[str, Path]) -> None:
    import os

    url, folder = web
    (folder / "a.txt").write_text("one")
    first = opened(f"{url}/a.txt", "text").digests()
    assert opened(f"{url}/a.txt", "text").digests() == first
    (folder / "a.txt").write_text("two")
    os.utime(folder / "a.txt", (1, 1))
    assert opened(f"{url}/a.txt", "text").digests() != first


def test_memory_and_chains(tmp_path: Path) -> None:
    import zipfile

    import fsspec

    fsspec.filesystem("memory").pipe("/m/a.csv", b"text,n\nhello,1\n")
    assert texts(read("memory://m/a.csv", "csv")) == ["hello"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("one/a.txt", "in a zip")
    assert texts(read(f"zip://one/a.txt::file://{tmp_path}/x.zip", "text")) == ["in a zip"]
    assert texts(read(f"zip://*/*.txt::{tmp_path}/x.zip", "text")) == ["in a zip"]
    (tmp_path / "plain.txt").write_text("here")
    assert texts(read(f"file://{tmp_path}/plain.txt", "text")) == ["here"]


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(url: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(DataError, match=r"pip install 'groundup\[s3\]'"):
        read("s3://bucket/x.txt", "text")


def test_an_unknown_scheme() -> None:
    with pytest.raises(DataError, match="fsspec can't open nonsense://"):
        read("nonsense://x.txt", "text")


class _Outage(io.RawIOBase):
    """A file whose store goes away."""

    def __init__(self, raw: bytes) -> None:
        self._file, self.gone = io.BytesIO(raw), False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        if self.gone:
            raise DataError("the store is gone")
        return self._file.readinto(buffer)


def test_an_outage_within_a_file_is_no_damage_of_the_file() -> None:
    # The readers turn errors of Arrow and of unpacking into quarantine entries; this one must come through them.
    rows = [f"{i} " + "x" * 1_000 for i in range(5_000)]
    table = _Outage(parquet(rows, row_group_size=1_000, use_dictionary=False, compression="none"))
    config = SourceConfig(kind="parquet", name="s", path="x")
    items = read_rows(io.BufferedReader(table, 4_096), config, "a.parquet")
    assert isinstance(next(items), Record)
    table.gone = True
    with pytest.raises(DataError, match="the store is gone"):
        assert all(isinstance(item, Record) for item in items)
    packed = _Outage(gzip.compress(random.Random(0).randbytes(1_000_000)))
    unpacked = Unpacked(io.BufferedReader(packed, 4_096), "gzip")
    assert unpacked.read(1_000)
    packed.gone = True
    with pytest.raises(DataError, match="the store is gone"):
        unpacked.readall()
