"""Raw files to documents: every record is read, normalized and named by its content, or quarantined with its reason.

Memory is bounded by a row group (and by one file where its form demands it: a JSON file in a wheel).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.config import DataRuntime, IngestConfig, SourceConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    from data_tools.sources.protocol import Quarantined, Record, SourceFile

Counters = dict[str, int | float | str]


@dataclass(frozen=True)
class _Group:
    """Neighbouring files of one source that are read together, so that many small files don't make many small parts.

    Groups are made by size and never by workers: the parts are the same for any number of these.
    """

    index: int
    source: SourceConfig
    files: tuple[SourceFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def source_digests(config: IngestConfig, runtime: DataRuntime) -> dict[str, str]:
    """``source name/relative file name`` to sha256 of everything that ingest would read.

    For a wheel that is its pinned digest, so nothing is downloaded for asking.

    Raises:
        DataError: a source has no files.
    """
    from data_tools.sources import open_source

    digests: dict[str, str] = {}
    for source in config.sources:
        opened = open_source(source, runtime, config.max_document_bytes)
        digests |= {f"{source.name}/{name}": digest for name, digest in opened.digests().items()}
    return digests


def run(config: IngestConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime) -> Counters:
    """Write ``documents/``, ``quarantine/`` and ``counters.json`` into ``out``.

    Raises:
        DataError: a source can't be had, or not one document came out of all of them.
    """
    from data_tools.atomic_file import write_json
    from data_tools.parallel import map_shards

    progress(0, None, "finding the sources")
    groups = list(_group_files(config, runtime))
    unfinished = out / "unfinished.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    results = map_shards(
        partial(_ingest_group, config, runtime, unfinished),
        groups,
        runtime=runtime,
        sizes=[group.size for group in groups],
        progress=progress,
        message="reading",
    )
    _number_parts(unfinished, "documents", out)
    _number_parts(unfinished, "quarantine", out)
    shutil.rmtree(unfinished)

    total: Counter[str] = Counter(files=sum(len(group.files) for group in groups))
    for result in results:
        total.update(result)
    counters: Counters = {name: total[name] for name in sorted(total)}
    write_json(out / "counters.json", counters)
    if total["documents_out"] == 0:
        raise _nothing_came_out(total, out / "quarantine")
    return counters


def _group_files(config: IngestConfig, runtime: DataRuntime) -> Iterator[_Group]:
    from data_tools.sources import open_source

    index = 0
    for source in config.sources:
        group: list[SourceFile] = []
        size = 0
        for file in open_source(source, runtime, config.max_document_bytes).files():
            group.append(file)
            size += file.size
            if size >= config.shard_bytes:
                yield _Group(index, source, tuple(group))
                index, group, size = index + 1, [], 0
        if group:
            yield _Group(index, source, tuple(group))
            index += 1


def _ingest_group(config: IngestConfig, runtime: DataRuntime, unfinished: Path, group: _Group) -> Counter[str]:
    from data_tools.parquet import ShardWriter
    from data_tools.schema import DOCUMENTS, QUARANTINE
    from data_tools.sources import open_source
    from data_tools.sources.protocol import Quarantined

    name = group.source.name
    source = open_source(group.source, runtime, config.max_document_bytes)
    counts: Counter[str] = Counter()
    folder = unfinished / f"{group.index:06d}"
    with (
        ShardWriter(folder / "documents", DOCUMENTS, shard_bytes=config.shard_bytes) as documents,
        ShardWriter(folder / "quarantine", QUARANTINE, shard_bytes=config.shard_bytes) as quarantine,
    ):
        for file in group.files:
            counts["bytes_in"] += file.size
            for item in _accepted(source.read(file), config, group.source):
                counts["documents_in"] += 1
                if isinstance(item, Quarantined):
                    counts["quarantined"] += 1
                    counts[f"removed.{item.reason}"] += 1
                    counts[f"source.{name}.quarantined"] += 1
                    row = {
                        "source": name,
                        "file": file.name,
                        "position": item.position,
                        "reason": item.reason,
                        "detail": item.detail,
                        "excerpt": item.excerpt,
                    }
                    quarantine.add(row, len(item.excerpt) + len(item.detail))
                else:
                    counts["documents_out"] += 1
                    counts["bytes_out"] += item["n_bytes"]
                    counts[f"source.{name}.documents_out"] += 1
                    counts[f"source.{name}.bytes_out"] += item["n_bytes"]
                    documents.add(item, item["n_bytes"])
    return counts


def _accepted(
    items: Iterable[Record | Quarantined], config: IngestConfig, source: SourceConfig
) -> Iterator[dict[str, Any] | Quarantined]:
    """Records to rows of the documents table; what can't be one is quarantined."""
    from data_tools.sources.protocol import Quarantined, Record, excerpt
    from data_tools.text import document_id, normalize

    for item in items:
        if not isinstance(item, Record):
            yield item
            continue
        if "\x00" in item.text:
            detail = f"character {item.text.index(chr(0))}; is this a text file?"
            yield Quarantined(item.position, "nul-character", detail, excerpt(item.text))
            continue
        text = normalize(item.text, config.normalization)
        try:
            n_bytes = len(text.encode())
            "".join([item.source_id, item.url or "", *item.metadata.values()]).encode()
        except UnicodeEncodeError as error:
            # JSON may spell half of a surrogate pair (\ud800), which is no character.
            yield Quarantined(item.position, "lone-surrogate", f"character {error.start}", excerpt(item.text))
            continue
        if not text.strip():
            yield Quarantined(item.position, "empty-text", "", excerpt(item.text))
            continue
        if n_bytes > config.max_document_bytes:
            detail = f"{n_bytes:,} bytes; ingest.max_document_bytes is {config.max_document_bytes:,}"
            yield Quarantined(item.position, "too-long", detail, excerpt(item.text))
            continue
        yield {
            "doc_id": document_id(text),
            "text": text,
            "source": source.name,
            "source_id": item.source_id,
            "url": item.url,
            "language": None,
            "license": source.license,
            "n_bytes": n_bytes,
            "metadata": list(item.metadata.items()),
            "cluster_size": None,
        }


def _number_parts(unfinished: Path, table: str, out: Path) -> None:
    """Move every group's parts into one folder, numbered in the groups' order. An empty table is one empty part."""
    from data_tools.atomic_file import sync_folder
    from data_tools.parquet import ShardFile
    from data_tools.schema import DOCUMENTS, QUARANTINE

    folder = out / table
    folder.mkdir(parents=True, exist_ok=True)
    parts = sorted(unfinished.glob(f"*/{table}/*.parquet"))
    for number, part in enumerate(parts):
        part.replace(folder / f"part-{number:05d}.parquet")
    if not parts:
        with ShardFile(folder / "part-00000.parquet", DOCUMENTS if table == "documents" else QUARANTINE):
            pass
    unfinished.mkdir(exist_ok=True)
    sync_folder(folder)


def _nothing_came_out(total: Counter[str], quarantine: Path) -> DataError:
    if total["documents_in"] == 0:
        return DataError(
            f"the corpus is empty: {total['files']} file(s) read, no record in them",
            where="ingest.sources",
            fix="Check that the paths are the ones that you mean.",
        )
    reasons = ", ".join(
        f"{count:,} {name.removeprefix('removed.')}"
        for name, count in total.most_common()
        if name.startswith("removed.")
    )
    return DataError(
        f"the corpus is empty: all {total['documents_in']:,} records were quarantined ({reasons}), "
        f"such as {'; '.join(_first_quarantined(quarantine))}",
        where="ingest.sources",
        fix="Check the files, and that kind, text_field and member_format say what is in them.",
    )


def _first_quarantined(folder: Path, limit: int = 3) -> list[str]:
    """The first few with their place. A stage that fails leaves no files that one could look them up in."""
    from data_tools.parquet import read_row_groups, shard_paths

    for path in shard_paths(folder):
        for table in read_row_groups(path, ["file", "position", "reason", "detail"]):
            rows = table.slice(0, limit).to_pylist()
            if rows:
                return [f"{row['file']}, {row['position']}: {row['detail'] or row['reason']}" for row in rows]
    return []
