"""Git repositories: the source files of HEAD, read from the object store.

Nothing is checked out, so no hook, filter or attribute of a repository runs, and a bare repository does as well. What
is a document and what is skipped is decided as for source trees (``code``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO

from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources.code import check_code_config, code_item, is_wanted, skip_reason
from data_tools.sources.licenses import is_license_file, license_of_text
from data_tools.sources.open import is_remote, local_path
from data_tools.sources.protocol import Quarantined, Record, Skipped, SourceFile, excerpt, text_sha256

#: Folders deeper than this are not searched for repositories.
_MAX_DEPTH = 4
_LICENSE_BYTES = 100_000
_SETTINGS = ["core.fsmonitor=false", f"core.hooksPath={os.devnull}", "protocol.allow=never"]
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone is read as it is
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}


@dataclass(frozen=True)
class _Entry:
    """A file of a commit."""

    path: str
    object_id: str
    size: int


@dataclass(frozen=True)
class GitSource:
    """A repository (bare or with a work tree), or the repositories in a folder. ``source_id`` is
    ``repository/path``; the file of a record is its repository, whose version is the commit.

    Raises:
        DataError: when made: no ``git`` command, an unknown programming language or encoding.
    """

    config: SourceConfig
    max_document_bytes: int
    runtime: DataRuntime

    def __post_init__(self) -> None:
        check_code_config(self.config)
        if shutil.which("git") is None:
            what = "the program git isn't installed"
            raise DataError(what, where=self._where, fix="Install git, or use kind 'code' on a checked-out tree.")

    def files(self) -> list[SourceFile]:
        files = []
        for name, path in self._repositories():
            commit = self._commit(path)
            size = sum(entry.size for entry in self._entries(path, commit)) if commit else 0
            files.append(SourceFile(name, str(path), size, version=commit))
        return files

    def digests(self) -> dict[str, str]:
        return {name: text_sha256(self._commit(path)) for name, path in self._repositories()}

    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        """By files of the commit: ``start`` and ``stop`` count them."""
        if file.size < 2 * target_bytes or not file.version:
            return [file]
        parts, start, size = [], 0, 0
        entries = self._entries(Path(file.path), file.version)
        for index, entry in enumerate(entries, 1):
            size += entry.size
            if size >= target_bytes or index == len(entries):
                parts.append(replace(file, start=start, stop=index, size=size, first_line=start + 1))
                start, size = index, 0
        return parts or [file]

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined | Skipped]:
        path = Path(file.path)
        if not file.version:
            yield Quarantined("HEAD", "no-commit", "the repository has no commit")
            return
        try:
            everything = self._tree(path, file.version)
        except _GitError as error:
            yield Quarantined("HEAD", "unreadable-repository", str(error))
            return
        entries = [entry for entry in everything if is_wanted(entry.path, self.config)][file.start : file.stop]
        with _Objects(_command(path, "cat-file", "--batch")) as objects:
            licenses = _Licenses(everything, objects)
            for entry in entries:
                yield self._item(entry, file, objects, licenses)

    def _item(
        self, entry: _Entry, file: SourceFile, objects: _Objects, licenses: _Licenses
    ) -> Record | Quarantined | Skipped:
        reason = skip_reason(entry.path, self.config)
        if reason is not None:
            return Skipped(entry.path, reason)
        if entry.size > self.max_document_bytes:
            return Quarantined(entry.path, "too-long", f"{entry.size:,} bytes; {self.max_document_bytes:,} are allowed")
        raw = objects.read(entry.object_id, self.max_document_bytes)
        if raw is None:
            return Quarantined(entry.path, "missing-object", f"the repository doesn't have {entry.object_id}")
        license = licenses.of(entry.path)
        item = code_item(raw, entry.path, self.config, self.max_document_bytes, license=license, repository=file.name)
        if not isinstance(item, Record):
            return item
        return replace(item, source_id=f"{file.name}/{entry.path}", metadata={**item.metadata, "commit": file.version})

    @property
    def _where(self) -> str:
        return f"source {self.config.name!r}, path {self.config.path!r}"

    @cached_property
    def _found(self) -> list[tuple[str, Path]]:
        if is_remote(str(self.config.path)):
            fix = "Clone it (git clone --bare URL) and give the folder's path."
            raise DataError("repositories are read from this machine only", where=self._where, fix=fix)
        root = Path(local_path(str(self.config.path))).resolve()
        if not root.is_dir():
            raise DataError("no such folder", where=self._where, fix="Paths are relative to where the command runs.")
        if _is_repository(root):
            return [(root.name.removesuffix(".git"), root)]
        found = sorted(_below(root, _MAX_DEPTH))
        if not found:
            fix = "Give a repository, bare or not, or a folder of them; kind 'code' reads any folder."
            raise DataError("there is no git repository", where=self._where, fix=fix)
        return [(path.relative_to(root).as_posix().removesuffix(".git"), path) for path in found]

    def _repositories(self) -> list[tuple[str, Path]]:
        return self._found

    def _commit(self, path: Path) -> str:
        """The commit of HEAD; empty where there is none.

        Raises:
            DataError: git refuses to look into a repository of another user.
        """
        try:
            return _output(path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()
        except _GitError as error:
            if "dubious ownership" in str(error):
                raise DataError(
                    "git refuses to read it: it belongs to another user",
                    where=f"{self._where}, {path}",
                    fix=f"If you trust it: git config --global --add safe.directory {path}",
                ) from error
            return ""

    def _entries(self, path: Path, commit: str) -> list[_Entry]:
        try:
            return [entry for entry in self._tree(path, commit) if is_wanted(entry.path, self.config)]
        except _GitError:
            return []  # reading it will tell why

    def _tree(self, path: Path, commit: str) -> list[_Entry]:
        """All files of a commit. Links and submodules are none."""
        entries = []
        for line in _output(path, "ls-tree", "-r", "-z", "-l", "--full-tree", commit).split(b"\x00"):
            about, tab, name = line.partition(b"\t")
            fields = about.split()
            if not tab or len(fields) != 4 or fields[1] != b"blob" or fields[0] == b"120000":
                continue
            size = int(fields[3]) if fields[3].isdigit() else 0  # "-": a partial clone doesn't have it
            entries.append(_Entry(name.decode("utf-8", "backslashreplace"), fields[2].decode(), size))
        return entries


class _GitError(Exception):
    pass


def _command(path: Path, *arguments: str) -> list[str]:
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    return ["git", "--no-pager", *settings, "-C", str(path), *arguments]


def _environment() -> dict[str, str]:
    # GIT_DIR and its like (set while a hook runs) would lead to another repository.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, **_ENVIRONMENT}


def _output(path: Path, *arguments: str) -> bytes:
    result = subprocess.run(
        _command(path, *arguments), capture_output=True, env=_environment(), stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        raise _GitError(excerpt(result.stderr.strip() or f"git {arguments[0]} ended with {result.returncode}".encode()))
    return result.stdout


class _Objects:
    """``git cat-file --batch``: object after object from one process."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
        )

    def __enter__(self) -> _Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self, object_id: str, limit: int) -> bytes | None:
        """The bytes of an object, at most ``limit`` and one; None if it is missing or damaged."""
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None and answers is not None
        try:
            questions.write(object_id.encode() + b"\n")
            questions.flush()
        except BrokenPipeError:
            return None
        head = answers.readline().split()
        if len(head) != 3 or not head[2].isdigit():
            return None
        size = int(head[2])
        raw = answers.read(min(size, limit + 1))
        _skip(answers, size + 1 - len(raw))
        return raw if len(raw) == min(size, limit + 1) else None


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0 and (data := stream.read(min(size, 1 << 20))):
        size -= len(data)


class _Licenses:
    """The licence of each folder of a commit: that of the nearest LICENSE file above."""

    def __init__(self, entries: list[_Entry], objects: _Objects) -> None:
        self._objects = objects
        self._files: dict[str, list[_Entry]] = {}
        self._known: dict[str, str | None] = {}
        for entry in entries:
            folder, _, name = entry.path.rpartition("/")
            if is_license_file(name):
                self._files.setdefault(folder, []).append(entry)

    def of(self, path: str) -> str | None:
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            found = self._of_folder(folder)
            if found is not None:
                return found
        return None

    def _of_folder(self, folder: str) -> str | None:
        if folder not in self._known:
            self._known[folder] = None
            for entry in self._files.get(folder, []):
                raw = self._objects.read(entry.object_id, _LICENSE_BYTES)
                found = license_of_text(raw.decode("utf-8", "replace")) if raw is not None else None
                if found is not None:
                    self._known[folder] = found
                    break
        return self._known[folder]


def _is_repository(path: Path) -> bool:
    if (path / ".git").exists():
        return True
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def _below(root: Path, depth: int) -> Iterator[Path]:
    """Repositories in a folder. Those inside of others (submodules) are not looked for; links are not followed."""
    try:
        folders = sorted(item for item in root.iterdir() if item.is_dir() and not item.is_symlink())
    except OSError:
        return
    for folder in folders:
        if _is_repository(folder):
            yield folder
        elif depth > 1 and not folder.name.startswith("."):
            yield from _below(folder, depth - 1)
