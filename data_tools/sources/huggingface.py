"""Datasets of the Hugging Face Hub, or of a folder in their layout, streamed row by row.

Of the Hub's datasets the commit is resolved first and is all that is read then. No code of a dataset runs: only
datasets of plain data files are read (Parquet, JSON, CSV, text, Arrow); loading scripts and formats that unpickle are
refused.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources.fields import record_from_fields
from data_tools.sources.files import content_digest
from data_tools.sources.open import is_remote, local_path
from data_tools.sources.protocol import Quarantined, Record, SourceFile, text_sha256

_SAFE_FORMATS = frozenset({"parquet", "json", "csv", "text", "arrow"})
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NETWORK = ("requests", "httpx", "aiohttp", "urllib3", "huggingface_hub", "fsspec")


@dataclass(frozen=True)
class HuggingFaceSource:
    """``dataset`` names one of the Hub; ``path`` a folder of this machine. A file is a shard of the split.

    Raises:
        DataError: when made: the package ``datasets`` is missing, or the Hub is needed and ``offline`` is set.
    """

    config: SourceConfig
    max_document_bytes: int
    runtime: DataRuntime

    def __post_init__(self) -> None:
        if find_spec("datasets") is None:
            what = "the package datasets isn't installed"
            raise DataError(what, where=self._where, fix="pip install 'groundup[huggingface]'")
        if self._folder is None and self.runtime.offline:
            raise DataError(
                "a dataset of the Hub is streamed over the network, and runtime.data.offline is set",
                where=self._where,
                fix="Download it once (hf download --repo-type dataset) and give the folder as path.",
            )

    def files(self) -> list[SourceFile]:
        split = self.config.dataset_split
        shards = self._rows.num_shards
        version = self._version
        names = [f"{split}-{index:05d}" for index in range(shards)]
        sizes = self._sizes(shards)
        return [
            SourceFile(name, self._location, size, start=index, stop=index + 1, version=version)
            for index, (name, size) in enumerate(zip(names, sizes, strict=True))
        ]

    def digests(self) -> dict[str, str]:
        """The commit of the Hub, or the content of a folder's files."""
        if self._folder is None:
            return {f"{self.config.dataset}@{self.config.dataset_split}": text_sha256(self._version)}
        files = sorted(path for path in self._folder.rglob("*") if path.is_file() and not _hidden(path, self._folder))
        names = [path.relative_to(self._folder).as_posix() for path in files]
        found = [SourceFile(name, str(path), 0) for name, path in zip(names, files, strict=True)]
        return {file.name: content_digest(file) for file in found}

    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        return [file]

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        done = 0
        try:
            rows = self._rows.shard(num_shards=self._rows.num_shards, index=file.start)
            for fields in rows:
                position, fallback_id = f"row {done}", f"{file.name}:{done}"
                done += 1
                yield record_from_fields(self.config, fields, position=position, fallback_id=fallback_id)
        except DataError:
            raise
        except Exception as error:  # every format and backend has errors of its own
            if self._folder is None and _is_of_network(error):
                raise self._unavailable(error) from error
            # The reader of datasets can't go on behind an error.
            detail = f"the rows from here on can't be read: {type(error).__name__}: {error}"
            if self._folder is not None:
                detail += " (kind 'jsonl', 'csv' or 'parquet' would lose only what is broken)"
            yield Quarantined(f"row {done}", "unreadable-rows", detail)

    @property
    def _where(self) -> str:
        return f"source {self.config.name!r}, {self._location}"

    @property
    def _location(self) -> str:
        return str(self.config.dataset or self.config.path)

    @cached_property
    def _folder(self) -> Path | None:
        """The folder of this machine, where it is one."""
        if self.config.dataset is not None and self.config.path is None:
            return None
        path = str(self.config.path)
        if is_remote(path):
            fix = "Use kind 'parquet' or 'jsonl' for files behind a URL, or name the dataset."
            raise DataError("path is a folder of this machine for this kind", where=self._where, fix=fix)
        folder = Path(local_path(path)).resolve()
        if not folder.is_dir():
            raise DataError("no such folder", where=self._where, fix="Paths are relative to where the command runs.")
        return folder

    @cached_property
    def _version(self) -> str:
        """The commit; empty for a folder."""
        if self._folder is not None:
            return ""
        revision = self.config.revision
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        from huggingface_hub import HfApi

        try:
            info = HfApi().dataset_info(str(self.config.dataset), revision=revision)
        except Exception as error:
            raise self._unavailable(error) from error
        return str(info.sha)

    @cached_property
    def _builder(self) -> Any:
        # Nobody needs to know that it was read.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
        import datasets

        options: dict[str, Any] = {"name": self.config.dataset_config}
        if self._folder is None:
            options["revision"] = self._version
        if self.runtime.cache is not None:
            options["cache_dir"] = str(Path(self.runtime.cache) / "huggingface")
        # Before datasets 4 a script would run where an environment variable allows it.
        if "trust_remote_code" in inspect.signature(datasets.load_dataset_builder).parameters:
            options["trust_remote_code"] = False
        try:
            builder = datasets.load_dataset_builder(str(self._folder or self.config.dataset), **options)
        except Exception as error:
            raise self._unavailable(error) from error
        *_, package, module = type(builder).__module__.split(".")
        if package not in _SAFE_FORMATS or module != package or not type(builder).__module__.startswith("datasets."):
            raise DataError(
                f"the dataset's format ({package}) isn't read",
                where=self._where,
                fix=f"Only plain data files are: {', '.join(sorted(_SAFE_FORMATS))}.",
            )
        return builder

    @cached_property
    def _rows(self) -> Any:
        """The split as a stream of rows, with the columns that are wanted."""
        files = self._builder.config.data_files or {}
        split = self.config.dataset_split
        if split not in files:
            fix = f"Set dataset_split to one of: {', '.join(map(str, files)) or 'none is there'}."
            raise DataError(f"there is no split {split!r}", where=self._where, fix=fix)
        try:
            rows = self._builder.as_streaming_dataset(split=split)
        except Exception as error:
            raise self._unavailable(error) from error
        config = self.config
        if rows.features is not None and config.text_field in rows.features:
            wanted = [config.text_field, config.id_field, config.url_field, *config.metadata_fields]
            rows = rows.select_columns([name for name in dict.fromkeys(wanted) if name in rows.features])
        return rows

    def _sizes(self, shards: int) -> list[int]:
        """Bytes of each shard, where they are files of this machine."""
        files = list((self._builder.config.data_files or {}).get(self.config.dataset_split, []))
        if self._folder is None or len(files) != shards:
            return [0] * shards
        return [Path(file).stat().st_size if Path(file).is_file() else 0 for file in map(str, files)]

    def _unavailable(self, error: Exception) -> DataError:
        detail = f"{type(error).__name__}: {error}".strip()
        return DataError(
            f"the dataset can't be had ({detail})",
            where=self._where,
            fix="Check its name, dataset_config, revision and the network; private ones need HF_TOKEN.",
        )


def _is_of_network(error: Exception) -> bool:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, ConnectionError | TimeoutError) or type(chain).__module__.split(".")[0] in _NETWORK:
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
