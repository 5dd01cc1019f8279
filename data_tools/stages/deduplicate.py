"""Exact copies by hash, then near copies by MinHash, then parts of longer documents; each removal verified on exact
shingles.

The order of things: what an index of earlier documents knows goes first; then exact copies; then near copies; then
documents that stand in a longer one; then passages that stand too often, where that is asked for; and what stays makes
the next index.

Shards are worked on one by one (`data_tools.parallel`), and what is learnt of them lies in ``finished.tmp`` until the
end, so that a stage that was killed goes on where it was. Memory: in this process about 70 bytes a document, and
``runtime.memory_mb`` for band keys; in a worker a row group of texts, and a batch of components
(`data_tools.dedup.candidates`).
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.atomic_file import delete_folder
from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.dedup.candidates import Shards
    from data_tools.dedup.keep import Records
    from data_tools.dedup.removals import Removals

Counters = dict[str, int | float | str]


def source_digests(config: DeduplicateConfig, runtime: DataRuntime) -> dict[str, str]:
    """sha256 of each index that documents are checked against."""
    if not config.against:
        return {}
    from data_tools.dedup.index import index_digests

    return index_digests(config.against)


def run(
    config: DeduplicateConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``documents/`` (what stays, ``cluster_size`` filled in) and ``duplicates/`` (a row for each that goes, with
    its representative); where asked for also ``edits/`` (what was cut) and ``index/``.

    A part of which nothing stays has no documents file, one of which nothing goes no duplicates file.

    Raises:
        DataError: there are no documents, or an index can't be used.
    """
    import numpy as np

    from data_tools.dedup.candidates import Shards
    from data_tools.dedup.removals import save_by_shard
    from data_tools.parallel import map_shards
    from data_tools.parquet import count_rows, shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    sizes = [path.stat().st_size for path in paths]
    starts = np.concatenate([[0], np.cumsum([count_rows(path) for path in paths])]).astype(np.int64)
    if not starts[-1]:
        raise DataError("no documents came in", where=str(inputs["documents"]), fix="Loosen the filters in select.")
    unfinished = out / "finished.tmp"
    shards = Shards(unfinished / "work", paths, starts)
    removals, comparisons = _decide(config, shards, sizes, out.name, progress, runtime)
    save_by_shard(shards, removals)

    documents = (unfinished / "work" if config.lines is not None else out) / "documents"
    for folder in (documents, out / "documents", out / "duplicates"):
        folder.mkdir(parents=True, exist_ok=True)
    always = ["documents_out", "bytes_out", "removed", "removed.exact-duplicate", "removed.near-duplicate"]
    if config.minhash and config.min_containment is not None:
        always.append("removed.contained-duplicate")
    total = Counter(dict.fromkeys(always, 0))
    for counts in map_shards(
        partial(_write_shard, shards, documents, out / "duplicates"),
        range(len(paths)),
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="writing",
        ledger=unfinished / "writing",
    ):
        total.update(counts)
    _leave_no_table_empty(documents, out / "duplicates", paths[0].name)
    written = shard_paths(documents)
    if config.index or config.redis is not None:
        _add_to_indexes(config, written, out, progress, runtime)
    counters: Counters = {**total, **_clusters(removals), "comparisons": comparisons}
    if config.lines is not None:
        from data_tools.dedup.passages import remove_passages

        _add_passages(counters, remove_passages(config.lines, written, out, progress, runtime))
    delete_folder(unfinished)
    return {name: counters[name] for name in sorted(counters)}


def _decide(
    config: DeduplicateConfig,
    shards: Shards,
    sizes: list[int],
    batch: str,
    progress: Progress,
    runtime: DataRuntime,
) -> tuple[Removals, int]:
    """What goes, and how many pairs were compared to find out. ``batch`` names this run in a shared index."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from data_tools.dedup.candidates import NEAR
    from data_tools.dedup.containment import find_contained
    from data_tools.dedup.describe import EARLIER, describe_shard, open_array
    from data_tools.dedup.exact import exact_copies
    from data_tools.dedup.keep import DOCUMENT
    from data_tools.dedup.removals import all_removals, concatenated
    from data_tools.parallel import map_shards

    map_shards(
        partial(describe_shard, config, runtime, shards.folder, batch),
        list(zip(shards.paths, shards.starts[:-1].tolist(), strict=True)),
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="hashing",
        ledger=shards.folder.parent / "hashing",
    )
    everywhere = range(len(shards.paths))
    documents = concatenated([open_array(shards.file("described", shard)) for shard in everywhere], DOCUMENT)
    taking_part = ~documents["known"]
    nobody = np.zeros(0, dtype=np.int64)
    copies, originals = exact_copies(documents, taking_part, config.keep) if config.exact else (nobody, nobody)
    taking_part[copies] = False
    near, contained, comparisons = np.zeros(0, dtype=NEAR), np.zeros(0, dtype=NEAR), 0
    if config.minhash:
        near, comparisons = _near_copies(config, shards, documents, taking_part, sizes, progress, runtime)
        taking_part[near["document"]] = False
    if config.minhash and config.min_containment is not None:
        contained, more = find_contained(config, shards, documents, taking_part, near, sizes, progress, runtime)
        comparisons += more

    positions, matches = [nobody], [EARLIER.empty_table()]
    for shard in everywhere:
        path = shards.folder / "earlier" / shards.paths[shard].name
        if path.exists():
            table = pq.read_table(path)
            positions.append(table["row"].to_numpy() + shards.starts[shard])
            matches.append(table)
    earlier = np.concatenate(positions), pa.concat_tables(matches)
    return all_removals(documents, earlier, (copies, originals), near, contained), comparisons


def _near_copies(
    config: DeduplicateConfig,
    shards: Shards,
    documents: Records,
    taking_part: npt.NDArray[np.bool_],
    sizes: list[int],
    progress: Progress,
    runtime: DataRuntime,
) -> tuple[Records, int]:
    """Near copies among those that take part, and how many pairs were compared."""
    import numpy as np

    from data_tools.dedup.bands import connected
    from data_tools.dedup.candidates import BATCH_BYTES, NEAR, cut_batches, lay_down_candidates, verify_batch
    from data_tools.dedup.components import component_members
    from data_tools.dedup.describe import open_array, save_array
    from data_tools.dedup.removals import concatenated
    from data_tools.parallel import map_shards, worker_count

    unfinished = shards.folder.parent
    grouped = shards.folder / "components.npy"
    if not grouped.exists():
        progress(0, None, "grouping")
        connections = connected(
            [shards.folder / "bands" / path.name for path in shards.paths],
            len(documents),
            config.bands,
            memory_bytes=runtime.memory_mb * 1_000_000,
            threads=worker_count(runtime.workers, 1024),
            spill=shards.folder / "spill",
        )
        save_array(grouped, connections)
    parents = open_array(grouped)
    members, starts = component_members(parents, taking_part & documents["comparable"])
    candidates = np.sort(members)
    concerned = shards.want("wanted", candidates)
    map_shards(
        partial(lay_down_candidates, config, shards),
        concerned,
        runtime=runtime,
        sizes=[sizes[shard] for shard in concerned],
        progress=progress,
        message="reading candidates",
        ledger=unfinished / "candidates",
    )
    batches = []
    for number, batch in enumerate(cut_batches(members, starts, documents["n_bytes"][members])):
        batches.append(shards.folder / "batches" / f"{number:06d}.npy")
        save_array(batches[-1], np.stack([batch, parents[batch]]))
    compared = map_shards(
        partial(verify_batch, config, shards),
        batches,
        runtime=runtime,
        sizes=[BATCH_BYTES] * len(batches),
        progress=progress,
        message="verifying",
        ledger=unfinished / "verifying",
    )
    return concatenated([open_array(shards.folder / "near" / path.name) for path in batches], NEAR), sum(compared)


def _write_shard(shards: Shards, documents_folder: Path, duplicates_folder: Path, shard: int) -> dict[str, int]:
    import numpy as np
    import pyarrow as pa

    from data_tools.dedup.describe import open_array
    from data_tools.edited_documents import count_documents
    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import DOCUMENTS, DUPLICATES

    path = shards.paths[shard]
    removals = open_array(shards.file("removals", shard))
    sizes = open_array(shards.file("cluster-sizes", shard))
    rows = removals["document"] - shards.starts[shard]
    counts: Counter[str] = Counter()
    with (
        ShardFile(documents_folder / path.name, DOCUMENTS, keep_empty=False) as documents,
        ShardFile(duplicates_folder / path.name, DUPLICATES, keep_empty=False) as duplicates,
    ):
        first = 0
        for table in read_row_groups(path):
            inside = slice(np.searchsorted(rows, first), np.searchsorted(rows, first + table.num_rows))
            keep = np.ones(table.num_rows, dtype=bool)
            keep[rows[inside] - first] = False
            column = table.schema.get_field_index("cluster_size")
            table = table.set_column(column, DOCUMENTS.field(column), pa.array(sizes[first : first + table.num_rows]))
            kept = table.filter(pa.array(keep)) if not keep.all() else table
            gone = _duplicates(table.filter(pa.array(~keep)), removals[inside])
            documents.write(kept)
            duplicates.write(gone)
            first += table.num_rows
            counts.update(count_documents(table, kept))
            for source, reason in zip(gone["source"].to_pylist(), gone["reason"].to_pylist(), strict=True):
                for name in ("removed", f"removed.{reason}-duplicate", f"source.{source}.removed.{reason}-duplicate"):
                    counts[name] += 1
    return dict(counts)


def _duplicates(gone: pa.Table, removals: Records) -> pa.Table:
    import pyarrow as pa

    from data_tools.dedup.describe import id_of
    from data_tools.dedup.removals import REASONS
    from data_tools.schema import DUPLICATES

    halves = zip(removals["id_high"].tolist(), removals["id_low"].tolist(), strict=True)
    representatives = pa.array([id_of(high, low) for high, low in halves], pa.string())
    columns: dict[str, Any] = {
        "doc_id": gone["doc_id"],
        "source": gone["source"],
        "source_id": gone["source_id"],
        "representative": representatives,
        "cluster": representatives,
        "cluster_size": removals["cluster_size"],
        "estimated_similarity": removals["estimated"],
        "exact_similarity": removals["exact"],
        "reason": pa.array([REASONS[reason] for reason in removals["reason"].tolist()], pa.string()),
    }
    return pa.table(columns, schema=DUPLICATES)


def _leave_no_table_empty(documents: Path, duplicates: Path, name: str) -> None:
    """A table of no rows is one file of no rows."""
    from data_tools.parquet import ShardFile
    from data_tools.schema import DOCUMENTS, DUPLICATES

    for folder, schema in ((documents, DOCUMENTS), (duplicates, DUPLICATES)):
        if not any(folder.glob("*.parquet")):
            with ShardFile(folder / name, schema):
                pass


def _add_to_indexes(
    config: DeduplicateConfig, paths: list[Path], out: Path, progress: Progress, runtime: DataRuntime
) -> None:
    """Write what stays to ``index/`` and into the shared index, as configured. The texts are those before passages are
    cut, which is what tomorrow's copies will look like."""
    from contextlib import ExitStack

    from data_tools.dedup.index import EarlierDocuments, IndexWriter, open_indexes
    from data_tools.dedup.minhash import MinHasher
    from data_tools.dedup.shingles import shingle_sets
    from data_tools.parquet import read_row_groups

    hasher = MinHasher(config.bands * config.rows, config.seed, config.shingle_words)
    with ExitStack() as stack:
        takers: list[IndexWriter | EarlierDocuments] = []
        if config.index:
            takers.append(
                stack.enter_context(
                    IndexWriter(
                        out / "index",
                        bands=config.bands,
                        rows=config.rows,
                        shingle_words=config.shingle_words,
                        seed=config.seed,
                    )
                )
            )
        if config.redis is not None and (shared := open_indexes(config, runtime, out.name)) is not None:
            takers.append(stack.enter_context(shared))
        for number, path in enumerate(paths):
            progress(number, len(paths), "indexing")
            for table in read_row_groups(path, ["doc_id", "text"]):
                signatures, _ = hasher.signatures(table["text"])
                shingles = shingle_sets(table["text"], config.shingle_words)
                for taker in takers:
                    taker.add(table["doc_id"].to_pylist(), signatures, shingles)


def _clusters(removals: Removals) -> Counters:
    sizes = removals.cluster_sizes
    return {"clusters": int((sizes > 1).sum()), "largest_cluster": int(sizes.max())}


def _add_passages(counters: Counters, passages: Counters) -> None:
    """Passages were cut from what stayed: what they say of the documents that came out holds, the rest is added."""
    for name in [name for name in counters if name.endswith(("documents_out", "bytes_out"))]:
        del counters[name]
    for name, value in passages.items():
        if name == "removed":
            counters[name] = int(counters.get(name, 0)) + int(value)
        elif name not in ("documents_in", "bytes_in"):
            counters[name] = value
