"""Which files a path means (a file, a folder or a glob; here or behind a URL), and what identifies their content."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources.open import filesystem, is_remote, local_path, open_raw
from data_tools.sources.protocol import SourceFile, text_sha256

#: Extensions that a folder is searched for, each also with one of PACKED behind it (but for Parquet, packed inside).
EXTENSIONS = {
    "text": (".txt", ".text", ".md", ".markdown", ".rst"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "csv": (".csv", ".tsv", ".tab"),
    "parquet": (".parquet", ".pq"),
    "html": (".html", ".htm", ".xhtml"),
    "warc": (".warc", ".wet"),
    "wikipedia": (".xml",),
}
PACKED = (".gz", ".zst", ".xz", ".bz2")

#: Fields of fsspec's ``info`` that change when the content does, in the words of the various stores.
_VERSION_FIELDS = (
    ("ETag", "etag", "md5Hash", "crc32c", "content_md5", "Content-MD5", "Digest", "checksum"),
    ("VersionId", "version_id", "generation"),
    ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created"),
)


@dataclass(frozen=True)
class FileSource:
    """What the sources that read files have in common (see :class:`data_tools.sources.protocol.Source`)."""

    config: SourceConfig
    max_document_bytes: int
    runtime: DataRuntime

    def files(self) -> list[SourceFile]:
        return list_files(self.config, EXTENSIONS[self.config.kind])

    def digests(self) -> dict[str, str]:
        return {file.name: content_digest(file) for file in self.files()}

    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        """Files of this kind can't be cut."""
        return [file]


def content_digest(file: SourceFile) -> str:
    """What identifies the content of a file.

    Of a file on this machine the sha256 of its bytes, packed or not. Hashing a remote one would mean to download it
    all for asking whether anything changed, so it is identified by its URL, size and what its store says of the
    version: ETag or checksum where there is one, else version number, else time of change. Promised is: another
    version of an object gives another digest, in stores that keep such a mark (S3, GCS and Azure do). Not promised:
    that equal bytes at two places have one digest, or that a plain web server which sends neither ETag nor
    Last-Modified shows a change that keeps the size.

    What can't be read has a digest as well: it will be quarantined, and once it can be read the digest is another.
    """
    if is_remote(file.path):
        return text_sha256(f"{file.path}\n{file.size}\n{file.version}")
    try:
        with open_raw(file.path) as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        return text_sha256(f"unreadable: {error.strerror}")


def file_sha256(path: Path) -> str:
    """sha256 of a file that has to be there.

    Raises:
        DataError: it can't be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", where=str(path), fix="Check its permissions.") from error


def list_files(config: SourceConfig, extensions: tuple[str, ...] | None) -> list[SourceFile]:
    """The files that ``config.path`` means, sorted by their name. Hidden ones are left out of folders and globs.

    Args:
        extensions: those that a folder is searched for (also packed); None takes every file.

    Raises:
        DataError: there is no such file, or the folder or glob holds none of this kind, or a store can't be asked.
    """
    pattern = config.path or ""
    where = f"source {config.name!r}, path {pattern!r}"
    if is_remote(pattern):
        files, looked_for = _list_remote(pattern, extensions, where)
    else:
        files, looked_for = _list_local(local_path(pattern), extensions, where)
    if not files:
        raise DataError(f"no {looked_for}", where=where, fix="Check the path and the source's kind.")
    return sorted(files, key=lambda file: file.name)


def has_extension(name: str, extensions: tuple[str, ...] | None) -> bool:
    """Whether a file name ends in one of ``extensions``, or in one with a packing behind it."""
    if extensions is None:
        return True
    name = name.lower()
    for packed in PACKED if ".parquet" not in extensions else ():
        name = name.removesuffix(packed)
    return name.endswith(extensions)


def _looked_for(extensions: tuple[str, ...] | None) -> str:
    return "files" if extensions is None else f"files ending in {', '.join(extensions)} (or packed)"


def _list_local(pattern: str, extensions: tuple[str, ...] | None, where: str) -> tuple[list[SourceFile], str]:
    path = Path(pattern)
    if path.is_dir():
        found = [_local_file(item, path) for item in _walk(path) if has_extension(item.name, extensions)]
        return found + [_local_file(item, path) for item in _closed_folders(path)], _looked_for(extensions)
    if os.path.lexists(path):
        return [_local_file(path, path.parent)], ""
    if glob.has_magic(pattern):
        root = _root_of(pattern)
        matches = root.glob(Path(pattern).relative_to(root).as_posix())
        kept = [item for item in matches if not item.is_dir() and not _hidden(item.relative_to(root).parts)]
        return [_local_file(item, root) for item in kept], "matching files"
    raise DataError("no such file or folder", where=where, fix="Paths are relative to where the command runs.")


def _local_file(path: Path, root: Path) -> SourceFile:
    # Names are bytes on Linux; tables and digests want UTF-8.
    name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
    try:
        size = path.stat().st_size
    except OSError:  # a link that leads nowhere or in a circle: the reader says so
        size = 0
    return SourceFile(name, str(path), size)


def _walk(root: Path) -> Iterator[Path]:
    """Everything below ``root`` that is no folder. Linked folders are entered after all others, each real one once, so
    that circles of links end."""
    visited: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        linked: list[Path] = []
        for start in waiting:
            for folder, names, files in os.walk(start):
                status = Path(folder).stat()
                if (status.st_dev, status.st_ino) in visited:
                    names.clear()
                    continue
                visited.add((status.st_dev, status.st_ino))
                names[:] = sorted(name for name in names if not name.startswith("."))
                linked += [Path(folder, name) for name in names if Path(folder, name).is_symlink()]
                yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        waiting = linked


def _closed_folders(root: Path) -> list[Path]:
    """Folders that may not be looked into. They stand in the list as files, so that somebody hears of them."""
    closed: list[Path] = []
    for _ in os.walk(root, onerror=lambda error: closed.append(Path(error.filename))):
        pass
    return [folder for folder in closed if folder != root and not _hidden(folder.relative_to(root).parts)]


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _root_of(pattern: str) -> Path:
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _list_remote(url: str, extensions: tuple[str, ...] | None, where: str) -> tuple[list[SourceFile], str]:
    fs, path = filesystem(url)
    fs.invalidate_cache()  # a process may live for weeks, and listings are kept
    web = url.startswith(("http://", "https://"))
    magic = "*" in path if web else glob.has_magic(path)  # in web addresses ? begins the query
    try:
        if magic:
            found, looked_for = fs.glob(path, detail=True), "matching files"
            root = str(_root_of(path)).replace(":/", "://", 1) if web else str(_root_of(path))
        elif web and not path.endswith("/"):
            found, root, looked_for = {path: fs.info(path)}, path.rsplit("/", 1)[0], ""
        else:
            info = {"type": "directory"} if web else fs.info(path)
            if info["type"] == "directory":
                found, root, looked_for = fs.find(path, detail=True), path, _looked_for(extensions)
            else:
                found, root, looked_for = {path: info}, str(PurePosixPath(path).parent), ""
    except FileNotFoundError as error:
        # A web server that can't be reached looks the same to fsspec; the cause tells.
        what = f"no such file or folder ({error.__cause__ or error})"
        raise DataError(what, where=where, fix="Check the URL.") from error
    except DataError:
        raise
    except Exception as error:  # every backend has errors of its own
        what = f"the files can't be listed ({type(error).__name__}: {error})"
        raise DataError(what, where=where, fix="Check the URL, and the credentials in the environment.") from error
    single = looked_for == ""
    files = []
    for name, info in found.items():
        relative = name.removeprefix(root).lstrip("/") or PurePosixPath(name).name
        if info.get("type", "file") != "file" or _hidden(PurePosixPath(relative).parts):
            continue
        if not single and not magic and not has_extension(relative, extensions):
            continue
        if web and not single:
            info = fs.info(name)  # a listing of links says nothing of sizes and versions
        files.append(SourceFile(relative, _url_of(fs, url, name), int(info.get("size") or 0), version=_version(info)))
    return files, looked_for


def _url_of(fs: Any, url: str, name: str) -> str:
    """The URL of a file that was listed for ``url``."""
    if "::" in url:  # a chain: zip://inner::s3://outer
        inner, outer = url.split("::", 1)
        return f"{inner.split('://')[0]}://{name}::{outer}"
    return name if "://" in name else str(fs.unstrip_protocol(name))


def _version(info: dict[str, Any]) -> str:
    """The strongest mark of a version that a store gives."""
    for names in _VERSION_FIELDS:
        marks = [f"{name}={info[name]}" for name in names if info.get(name) is not None]
        if marks:
            return " ".join(marks)
    return ""
