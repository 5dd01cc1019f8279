"""Bytes of a file, wherever it lies and however it is packed.

Paths of this machine are opened directly, URLs (``s3://``, ``gs://``, ``https://``, ``memory://`` ...) through fsspec,
whose backends take credentials from the environment in the way of their cloud. Packing is told by the first bytes and
not by the name, since names lie.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import time
from typing import Any

from data_tools.errors import DataError
from data_tools.sources.protocol import Quarantined
from data_tools.sources.unpack import DamagedFileError, Unpacked, packing

#: Two letters at least before the colon: ``c:`` is a drive. ``zip::s3://`` chains two.
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+(?:://|::)")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http", "hf": "huggingface"}
_READ_BYTES = 1 << 20
_REMOTE_BLOCK_BYTES = 4 << 20
_ATTEMPTS = 3


def is_remote(path: str) -> bool:
    """Whether ``path`` is a URL for fsspec. ``file://`` isn't: see :func:`local_path`."""
    return bool(_URL.match(path)) and not path.startswith("file://")


def local_path(path: str) -> str:
    return path.removeprefix("file://")


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for ``url``, and the path within it.

    Raises:
        DataError: unknown scheme, its package isn't installed, or it can't be set up.
    """
    import fsspec

    scheme = re.split("://|::", url)[0].lower()
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        fix = f"pip install 'groundup[{extra}]'" if extra else f"Install what fsspec needs for it ({error})."
        raise DataError(f"{scheme}:// needs a package that isn't installed", where=url, fix=fix) from error
    except Exception as error:  # each backend has errors of its own
        what = f"fsspec can't open {scheme}:// ({error})"
        raise DataError(what, where=url, fix="Check the URL, and the credentials in the environment.") from error
    return fs, str(path)


def open_raw(path: str, *, streaming: bool = True) -> io.BufferedReader:
    """Open a file for reading its bytes as they are stored. It can seek where the place allows it.

    Args:
        streaming: remote files are read ahead in blocks. False: exactly what is asked for, since Parquet knows that.

    Raises:
        OSError: a file of this machine can't be opened, or isn't a regular file (pipes and devices would never end).
        DataError: a remote file can't be opened; a later read raises it too.
    """
    if is_remote(path):
        return io.BufferedReader(_RemoteFile(path, streaming=streaming), _READ_BYTES)
    # Opening a pipe would wait for a writer: hence non-blocking, which means nothing for regular files.
    descriptor = os.open(local_path(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a folder" if stat.S_ISDIR(mode) else "not a regular file")
        return io.BufferedReader(io.FileIO(descriptor, "rb"), _READ_BYTES)
    except BaseException:
        os.close(descriptor)
        raise


def open_unpacked(path: str) -> io.BufferedReader:
    """Open for reading bytes; gzip, zstd, xz and bzip2 are unpacked on the way, in constant memory.

    Whole or not, a packed file is read to the point where it is damaged or turns out to be a bomb.

    Raises:
        OSError: as for :func:`open_raw`; and from any later read of a packed file that is damaged
            (:func:`unreadable` makes a quarantine entry of it).
        DataError: a remote file can't be read.
    """
    raw = open_raw(path)
    try:
        kind = packing(raw.peek(16)[:16])
        return raw if kind is None else io.BufferedReader(Unpacked(raw, kind), _READ_BYTES)
    except BaseException:
        raw.close()
        raise


def unreadable(error: OSError, position: str = "file") -> Quarantined:
    """What to say of a file that can't be opened, or not be read to its end."""
    if isinstance(error, DamagedFileError):
        return Quarantined(position, error.reason, str(error))
    return Quarantined(position, "unreadable-file", str(error.strerror or error))


class _RemoteFile(io.RawIOBase):
    """A file of fsspec. A read that fails is tried again; one that fails for good ends the stage (``DataError``)."""

    def __init__(self, url: str, *, streaming: bool) -> None:
        self._url, self._streaming = url, streaming
        self._fs: Any = None  # kept for as long as the file is open: zip:// closes its archive with it
        self._file: Any = None
        self._position = 0
        self._attempt(lambda: None)

    def _open(self) -> None:
        self._fs, path = filesystem(self._url)
        options = {"cache_type": "readahead" if self._streaming else "none"}
        self._file = self._fs.open(path, "rb", block_size=_REMOTE_BLOCK_BYTES, **options)
        if self._position:
            self._file.seek(self._position)

    def _attempt(self, action: Any) -> Any:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if self._file is None:
                    self._open()
                return action()
            except DataError:
                raise
            except Exception as error:  # every backend has errors of its own: OSError, aiohttp's, botocore's, timeouts
                self._file = None
                if attempt == _ATTEMPTS or isinstance(error, FileNotFoundError | PermissionError):
                    raise DataError(
                        f"can't be read: {type(error).__name__}: {error}",
                        where=self._url,
                        fix="Check the network, the URL and the credentials in the environment, and run again: "
                        "what is finished isn't read again.",
                    ) from error
                time.sleep(0.5 * attempt)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._attempt(lambda: self._file.seekable()))

    def readinto(self, buffer: Any) -> int:
        data = self._attempt(lambda: self._file.read(len(buffer)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = int(self._attempt(lambda: self._file.seek(offset, whence)))
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if self._file is not None and not self.closed:
            self._file.close()
        super().close()
