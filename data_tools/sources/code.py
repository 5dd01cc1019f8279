"""Source trees: one document a source file.

A file's language is told by its name, and by its first line where the name has no extension. Files of unknown
languages, pictures and the like are not looked at. Generated, minified and foreign files are skipped and counted
(``keep_generated`` keeps them). The licence is the one that the file names (``SPDX-License-Identifier``), else that of
the nearest LICENSE or COPYING above it, else the one of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from data_tools.config import SourceConfig
from data_tools.sources.files import FileSource, content_digest, list_files
from data_tools.sources.generated_code import skip_by_path, skip_by_text
from data_tools.sources.licenses import is_license_file, license_of_text, tagged_license
from data_tools.sources.open import is_remote, open_raw, unreadable
from data_tools.sources.programming_languages import (
    DATA_FORMATS,
    check_languages,
    language_of_content,
    language_of_name,
    may_be_script,
    shared_with,
)
from data_tools.sources.protocol import Quarantined, Record, Skipped, SourceFile
from data_tools.sources.text import known_encoding, text_record

#: A NUL so early is no text (Git's own rule).
_BINARY_BYTES = 8_000
_LICENSE_BYTES = 100_000


@dataclass(frozen=True)
class CodeSource(FileSource):
    """``source_id`` is the path below the source's root.

    Raises:
        DataError: when made: an unknown programming language or encoding.
    """

    def __post_init__(self) -> None:
        check_code_config(self.config)

    def files(self) -> list[SourceFile]:
        return [file for file in list_files(self.config, None) if is_wanted(file.name, self.config)]

    def digests(self) -> dict[str, str]:
        """Of what is read, and of the licence files, for they say what the documents' licence is."""
        names = {file.name for file in self.files() if skip_reason(file.name, self.config) is None}
        listed = list_files(self.config, None)
        read = [file for file in listed if file.name in names or is_license_file(file.name.rpartition("/")[2])]
        return {file.name: content_digest(file) for file in read}

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined | Skipped]:
        reason = skip_reason(file.name, self.config)
        if reason is not None:
            yield Skipped("file", reason)
            return
        try:
            with open_raw(file.path) as handle:
                raw = handle.read(self.max_document_bytes + 1)
        except OSError as error:
            yield unreadable(error)
            return
        license, repository = self._surroundings(file)
        yield code_item(raw, file.name, self.config, self.max_document_bytes, license=license, repository=repository)

    @cached_property
    def _known_licenses(self) -> dict[Path, str | None]:
        return {}

    def _surroundings(self, file: SourceFile) -> tuple[str | None, str]:
        """The licence, and the name of the repository: the nearest folder with a ``.git``, else the source's root.

        Folders behind a URL are not searched for licences.
        """
        if is_remote(file.path):
            return None, self.config.name
        above = list(Path(file.path).parents)[: file.name.count("/") + 1]
        license = next((found for folder in above if (found := self._license_of(folder)) is not None), None)
        root = next((folder for folder in above if (folder / ".git").exists()), above[-1])
        return license, root.resolve().name or self.config.name

    def _license_of(self, folder: Path) -> str | None:
        known = self._known_licenses
        if folder not in known:
            known[folder] = None
            try:
                names = sorted(item.name for item in folder.iterdir() if is_license_file(item.name))
            except OSError:
                names = []
            for name in names:
                try:
                    with open_raw(str(folder / name)) as handle:
                        known[folder] = license_of_text(handle.read(_LICENSE_BYTES).decode("utf-8", "replace"))
                except OSError:
                    continue
                if known[folder] is not None:
                    break
        return known[folder]


def check_code_config(config: SourceConfig) -> None:
    """
    Raises:
        DataError: an unknown programming language or encoding.
    """
    check_languages(config.languages, f"source {config.name!r}, languages")
    if config.encoding != "detect":
        known_encoding(config.encoding)


def is_wanted(path: str, config: SourceConfig) -> bool:
    """Whether a file can be one of the languages that are asked for, as far as its name tells."""
    language = language_of_name(path)
    if language is None:
        return may_be_script(path)
    others = shared_with(path)
    return _is_asked_for(language, config) or any(_is_asked_for(other, config) for other in others)


def skip_reason(path: str, config: SourceConfig) -> str | None:
    """Why a file isn't read, as far as its path tells."""
    return None if config.keep_generated else skip_by_path(path)


def code_item(
    raw: bytes, path: str, config: SourceConfig, max_document_bytes: int, *, license: str | None, repository: str
) -> Record | Quarantined | Skipped:
    """A source file's bytes as a document, or why it is none.

    Args:
        raw: at most one byte more than ``max_document_bytes``.
        license: the one of the folder that it is in.
    """
    language = language_of_content(path, raw)
    if language is None or not _is_asked_for(language, config):
        return Skipped(path, "unknown-language" if language is None else "other-language")
    if not raw.strip():
        return Skipped(path, "empty")
    if b"\x00" in raw[:_BINARY_BYTES] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Skipped(path, "binary")
    item = text_record(
        raw, source_id=path, max_document_bytes=max_document_bytes, position=path, encoding=config.encoding
    )
    if isinstance(item, Quarantined):
        return item
    reason = None if config.keep_generated else skip_by_text(item.text, language)
    if reason is not None:
        return Skipped(path, reason)
    return replace(
        item,
        metadata={"programming_language": language, "path": path, "repository": repository},
        license=tagged_license(item.text) or license,
    )


def _is_asked_for(language: str, config: SourceConfig) -> bool:
    if not config.languages:
        return language not in DATA_FORMATS
    return language in {name.lower() for name in config.languages}
