"""Raw files to documents: every record is read, normalized and named by its content, or quarantined with its reason.

Memory is bounded by a row group (and by one file where its form demands it: a JSON file in a wheel).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.config import DataRuntime, IngestConfig, SourceConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.sources.protocol import Quarantined, Record, Records, Skipped, SourceFile

    Item = Record | Records | Quarantined | Skipped

Counters = dict[str, int | float | str]


@dataclass(frozen=True)
class _Group:
    """Neighbouring files of one source, or parts of them, that are read together: many small files don't make many
    small parts, and a large file doesn't keep one worker busy while the others wait.

    Groups are made by size and never by workers: the parts are the same for any number of these.
    """

    index: int
    source: SourceConfig
    files: tuple[SourceFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def source_digests(config: IngestConfig, runtime: DataRuntime) -> dict[str, str]:
    """``source name/relative file name`` to a digest of everything that ingest would read: the sha256 of the content,
    or of what a remote store says of its version (:func:`data_tools.sources.files.content_digest`).

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

    Of ``documents_in`` records, ``documents_out`` became documents and ``quarantined`` did not. What a source names as
    sound but no document (a redirect) is no record; it is counted as ``skipped``.

    Raises:
        DataError: a source can't be had, or not one document came out of all of them.
    """
    from data_tools.atomic_file import write_json
    from data_tools.parallel import map_shards

    progress(0, None, "finding the sources")
    groups = list(_group_files(config, runtime))
    ledger = out / "finished.tmp"
    unfinished = out / "unfinished.tmp"
    _begin_or_go_on(groups, ledger, unfinished, out)
    results = map_shards(
        partial(_ingest_group, config, runtime, unfinished),
        groups,
        runtime=runtime,
        sizes=[group.size for group in groups],
        progress=progress,
        message="reading",
        ledger=ledger / "ingest",
    )
    _number_parts(unfinished, "documents", [result["documents"] for result in results], out)
    _number_parts(unfinished, "quarantine", [result["quarantine"] for result in results], out)

    total: Counter[str] = Counter(
        files=len({(group.source.name, file.name) for group in groups for file in group.files})
    )
    for result in results:
        total.update(result["counters"])
    counters: Counters = {name: total[name] for name in sorted(total)}
    write_json(out / "counters.json", counters)
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(ledger)
    if total["documents_out"] == 0:
        raise _nothing_came_out(total, out / "quarantine")
    return counters


def _group_files(config: IngestConfig, runtime: DataRuntime) -> Iterator[_Group]:
    from data_tools.sources import open_source

    index = 0
    for source in config.sources:
        group: list[SourceFile] = []
        size = 0
        opened = open_source(source, runtime, config.max_document_bytes)
        for file in opened.files():
            for part in opened.parts(file, config.shard_bytes):
                group.append(part)
                size += part.size
                if size >= config.shard_bytes:
                    yield _Group(index, source, tuple(group))
                    index, group, size = index + 1, [], 0
        if group:
            yield _Group(index, source, tuple(group))
            index += 1


def _begin_or_go_on(groups: list[_Group], ledger: Path, unfinished: Path, out: Path) -> None:
    """Keep what an interrupted run has finished, if it was about the very same groups; else clear the place."""
    from data_tools.atomic_file import write_json

    described = [(group.source.name, [list(vars(file).values()) for file in group.files]) for group in groups]
    plan = {"groups": hashlib.sha256(json.dumps(described).encode()).hexdigest()}
    path = ledger / "plan.json"
    if path.exists() and json.loads(path.read_bytes()) == plan:
        return
    for folder in (ledger, unfinished, out / "documents", out / "quarantine"):
        shutil.rmtree(folder, ignore_errors=True)
    write_json(path, plan)


def _ingest_group(config: IngestConfig, runtime: DataRuntime, unfinished: Path, group: _Group) -> dict[str, Any]:
    """Read one group. Returns its counters, and how many parts of each table it wrote."""
    import numpy as np

    from data_tools.parquet import ShardWriter
    from data_tools.schema import DOCUMENTS, QUARANTINE
    from data_tools.sources import open_source
    from data_tools.sources.protocol import ColumnarSource, Quarantined, Records, Skipped, storable

    name = group.source.name
    source = open_source(group.source, runtime, config.max_document_bytes)
    read: Callable[[SourceFile], Iterator[Item]] = source.read
    if isinstance(source, ColumnarSource) and config.normalization != "ftfy":
        read = partial(source.read_columns, find_clean=partial(_find_clean, config.max_document_bytes))
    counts: Counter[str] = Counter()
    documents_in = documents_out = bytes_out = 0
    # What a killed worker left here is overwritten, part by part; how many count is in the result.
    folder = unfinished / f"{group.index:06d}"
    with (
        ShardWriter(folder / "documents", DOCUMENTS, shard_bytes=config.shard_bytes) as documents,
        ShardWriter(folder / "quarantine", QUARANTINE, shard_bytes=config.shard_bytes) as quarantine,
    ):
        for file in group.files:
            counts["bytes_in"] += file.size
            counts[f"source.{name}.bytes_in"] += file.size
            for item in _guarded(read(file)):
                if isinstance(item, Records):
                    table = _documents(item, group.source)
                    sizes = np.asarray(table["n_bytes"])
                    documents_in += len(table)
                    documents_out += len(table)
                    bytes_out += int(sizes.sum())
                    documents.add_table(table, sizes + _metadata_sizes(item.metadata))
                    continue
                if isinstance(item, Skipped):
                    counts["skipped"] += 1
                    counts[f"skipped.{item.reason}"] += 1
                    counts[f"source.{name}.skipped.{item.reason}"] += 1
                    continue
                documents_in += 1
                accepted = item if isinstance(item, Quarantined) else _accepted(item, config, group.source)
                if isinstance(accepted, Quarantined):
                    counts["quarantined"] += 1
                    counts[f"removed.{accepted.reason}"] += 1
                    counts[f"source.{name}.quarantined"] += 1
                    counts[f"source.{name}.removed.{accepted.reason}"] += 1
                    row = {
                        "source": name,
                        "file": file.name,
                        "position": accepted.position,
                        "reason": accepted.reason,
                        "detail": storable(accepted.detail),
                        "excerpt": storable(accepted.excerpt),
                    }
                    quarantine.add(row, len(row["excerpt"]) + len(row["detail"]))
                else:
                    n_bytes = accepted["n_bytes"]
                    documents_out += 1
                    bytes_out += n_bytes
                    documents.add(accepted, n_bytes + sum(len(value) for _, value in accepted["metadata"]))
    for key, count in (("documents_in", documents_in), ("documents_out", documents_out), ("bytes_out", bytes_out)):
        if count:
            counts[key] = counts[f"source.{name}.{key}"] = count
    return {"counters": dict(counts), "documents": len(documents.paths), "quarantine": len(quarantine.paths)}


def _guarded(items: Iterable[Item]) -> Iterator[Item]:
    """Whatever a reader raises for what stands in a file costs the rest of that file only.

    Readers handle what they know of. Behind them are a dozen parsers, and hostile files find their bugs.
    """
    from data_tools.sources.protocol import Quarantined

    try:
        yield from items
    except DataError:
        raise
    except Exception as error:
        yield Quarantined("file", "reader-error", f"the rest can't be read: {type(error).__name__}: {error}")


def _accepted(record: Record, config: IngestConfig, source: SourceConfig) -> dict[str, Any] | Quarantined:
    """A record as a row of the documents table (its text in UTF-8), or why it can't be one."""
    from data_tools.sources.protocol import Quarantined, excerpt
    from data_tools.text import document_id, normalize_utf8

    raw = record.utf8
    try:
        if raw is None:
            raw = record.text.encode()
        "".join([record.source_id, record.url or "", *record.metadata.values()]).encode()
        nul = raw.find(b"\0")
    except UnicodeEncodeError as error:
        # JSON may spell half of a surrogate pair (\ud800), which is no character.
        nul = record.text.find("\0")
        if nul < 0:
            detail = f"character {error.start}"
            return Quarantined(record.position, "lone-surrogate", detail, excerpt(record.text))
    if raw is None or nul >= 0:
        detail = f"character {record.text.index(chr(0))}; is this a text file?"
        return Quarantined(record.position, "nul-character", detail, excerpt(record.text))
    text = normalize_utf8(record.text, raw, config.normalization)
    if _is_blank(text):
        return Quarantined(record.position, "empty-text", "", excerpt(record.text))
    if len(text) > config.max_document_bytes:
        detail = f"{len(text):,} bytes; ingest.max_document_bytes is {config.max_document_bytes:,}"
        return Quarantined(record.position, "too-long", detail, excerpt(record.text))
    return {
        "doc_id": document_id(text),
        "text": text,
        "source": source.name,
        "source_id": record.source_id,
        "url": record.url,
        "language": record.language,
        "license": record.license if record.license is not None else source.license,
        "n_bytes": len(text),
        "metadata": list(record.metadata.items()),
        "cluster_size": None,
    }


def _find_clean(max_document_bytes: int, texts: pa.LargeBinaryArray) -> npt.NDArray[np.bool_]:
    """Those that :func:`_accepted` would take without a change, unless it is one of the few that it has to look at."""
    import numpy as np

    from data_tools.kernels.buffers import text_buffers
    from data_tools.kernels.normal_form import are_clean

    clean = are_clean(*text_buffers(texts.view("large_string")), max_document_bytes)
    return clean & np.asarray(texts.is_valid())


def _documents(records: Records, source: SourceConfig) -> pa.Table:
    """Records that need no change as rows of the documents table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.kernels.buffers import text_buffers
    from data_tools.schema import DOCUMENTS
    from data_tools.text import document_id

    data, offsets = text_buffers(records.text)
    view, bounds = data.data, offsets.tolist()
    rows = len(records.text)
    columns = {
        "doc_id": pa.array([document_id(view[start:end]) for start, end in pairwise(bounds)], pa.string()),
        "text": records.text,
        "source": pa.repeat(pa.scalar(source.name, pa.string()), rows),
        "source_id": records.source_id,
        "url": records.url,
        "language": pa.nulls(rows, pa.string()),
        "license": pa.repeat(pa.scalar(source.license, pa.string()), rows),
        "n_bytes": pc.binary_length(records.text),
        "metadata": records.metadata.cast(DOCUMENTS.field("metadata").type),
        "cluster_size": pa.nulls(rows, pa.int64()),
    }
    return pa.Table.from_arrays([columns[name] for name in DOCUMENTS.names], schema=DOCUMENTS)


def _metadata_sizes(metadata: pa.MapArray) -> npt.NDArray[np.int64]:
    """(records,) characters of all values of each."""
    import numpy as np
    import pyarrow.compute as pc

    ends = np.concatenate([[0], np.cumsum(np.asarray(pc.utf8_length(metadata.items), dtype=np.int64))])
    offsets = np.asarray(metadata.offsets)
    return ends[offsets[1:]] - ends[offsets[:-1]]


def _is_blank(raw: bytes) -> bool:
    """Nothing but white space (Unicode's). The first few bytes nearly always tell."""
    head = raw[:64]
    return not (head.isascii() and head.decode().strip()) and not raw.decode().strip()


def _number_parts(unfinished: Path, table: str, parts: list[int], out: Path) -> None:
    """Move every group's parts (so many of each) into one folder, numbered in the groups' order.

    Interrupted, it goes on where it stopped: a part is either still here or already there. An empty table is one
    empty part.
    """
    from data_tools.atomic_file import sync_folder
    from data_tools.parquet import ShardFile
    from data_tools.schema import DOCUMENTS, QUARANTINE

    folder = out / table
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for group, count in enumerate(parts):
        for index in range(count):
            part = unfinished / f"{group:06d}" / table / f"part-{index:05d}.parquet"
            target = folder / f"part-{number:05d}.parquet"
            if part.exists():
                part.replace(target)
            elif not target.exists():
                fix = "Delete this folder and run again."
                raise DataError(f"{target.name} of {table} is gone since it was finished", where=str(out), fix=fix)
            number += 1
    if not number:
        with ShardFile(folder / "part-00000.parquet", DOCUMENTS if table == "documents" else QUARANTINE):
            pass
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
