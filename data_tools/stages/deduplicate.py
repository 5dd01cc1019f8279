"""Exact copies by hash, then near copies by MinHash, each removal verified on exact shingles.

Memory: 0.6 kB a document (id, signature, band keys), and the shingles of those documents that met another in a band
(8 bytes a word). Texts themselves are only held a row group at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from data_tools.dedup.shingles import Shingles
    from data_tools.dedup.verify import Removal

Counters = dict[str, int | float | str]


@dataclass
class _Corpus:
    """What is known of every document, in corpus order (file by file, row by row)."""

    doc_ids: list[str]
    lengths: list[int]
    signatures: npt.NDArray[np.uint32]  # (documents, permutations); no columns without MinHash
    has_shingles: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Verdicts:
    """Position to how it was removed, and the positions that went as exact copies."""

    removals: dict[int, Removal]
    exact: frozenset[int]


def run(
    config: DeduplicateConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``documents/`` (what stays) and ``duplicates/`` (a row for each that goes, with its representative).

    Raises:
        DataError: there are no documents.
    """
    from data_tools.parallel import map_shards
    from data_tools.parquet import count_rows, shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    sizes = [path.stat().st_size for path in paths]
    if not any(map(count_rows, paths)):
        raise DataError("no documents came in", where=str(inputs["documents"]), fix="Loosen the filters in select.")
    described = map_shards(
        partial(_describe_shard, config),
        paths,
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="hashing",
    )
    corpus = _join(described)
    starts = [0]
    for part in described:
        starts.append(starts[-1] + len(part.doc_ids))
    verdicts = _decide(config, corpus, paths, starts, progress, runtime)

    for table in ("documents", "duplicates"):
        (out / table).mkdir(parents=True, exist_ok=True)
    total = _write(paths, starts, corpus, verdicts, out, progress)
    total["duplicates_exact"] = len(verdicts.exact)
    total["duplicates_near"] = len(verdicts.removals) - len(verdicts.exact)
    total["removed"] = len(verdicts.removals)
    total["removed.exact-duplicate"], total["removed.near-duplicate"] = (
        total["duplicates_exact"],
        total["duplicates_near"],
    )
    sizes_of_clusters = Counter(removal.representative for removal in verdicts.removals.values())
    total["clusters"] = len(sizes_of_clusters)
    total["largest_cluster"] = 1 + max(sizes_of_clusters.values(), default=0)
    return {name: total[name] for name in sorted(total)}


def _describe_shard(config: DeduplicateConfig, path: Path) -> _Corpus:
    import numpy as np

    from data_tools.dedup.minhash import MinHasher
    from data_tools.parquet import read_row_groups

    hasher = MinHasher(config.bands * config.rows if config.minhash else 0, config.seed, config.shingle_words)
    ids: list[str] = []
    lengths: list[int] = []
    signatures, has_shingles = [], []
    for table in read_row_groups(path, ["doc_id", "n_bytes", *(["text"] if config.minhash else [])]):
        ids += table["doc_id"].to_pylist()
        lengths += table["n_bytes"].to_pylist()
        if config.minhash:
            found, counts = hasher.signatures(table["text"])
            signatures.extend(found)
            has_shingles.extend(counts > 0)
    width = config.bands * config.rows if config.minhash else 0
    matrix = np.stack(signatures) if signatures else np.zeros((len(ids), width), dtype=np.uint32)
    return _Corpus(ids, lengths, matrix, np.array(has_shingles, dtype=bool))


def _join(parts: list[_Corpus]) -> _Corpus:
    import numpy as np

    return _Corpus(
        [doc_id for part in parts for doc_id in part.doc_ids],
        [length for part in parts for length in part.lengths],
        np.concatenate([part.signatures for part in parts]),
        np.concatenate([part.has_shingles for part in parts]),
    )


def _decide(
    config: DeduplicateConfig,
    corpus: _Corpus,
    paths: list[Path],
    starts: list[int],
    progress: Progress,
    runtime: DataRuntime,
) -> _Verdicts:
    from data_tools.dedup.components import candidate_groups
    from data_tools.dedup.exact import exact_copies
    from data_tools.dedup.minhash import band_keys
    from data_tools.dedup.verify import Removal, verified_removals
    from data_tools.parallel import map_shards

    copies = exact_copies(corpus.doc_ids) if config.exact else {}
    near: dict[int, Removal] = {}
    if config.minhash:
        keys = band_keys(corpus.signatures, config.bands, config.rows)
        taking_part = corpus.has_shingles.copy()
        taking_part[list(copies)] = False
        groups = candidate_groups(keys, taking_part)
        # The shingles of the candidates are computed a second time rather than kept for all documents.
        wanted: dict[int, list[int]] = defaultdict(list)
        for position in sorted(position for group in groups for position in group):
            shard = bisect_right(starts, position) - 1
            wanted[shard].append(position - starts[shard])
        shards = sorted(wanted)
        shingles: dict[int, Shingles] = {}
        for shard, found in zip(
            shards,
            map_shards(
                partial(_shingles_of_rows, config.shingle_words),
                [(paths[shard], wanted[shard]) for shard in shards],
                runtime=runtime,
                sizes=[paths[shard].stat().st_size for shard in shards],
                progress=progress,
                message="verifying",
            ),
            strict=True,
        ):
            shingles |= {starts[shard] + row: value for row, value in found.items()}
        for group in groups:
            for removal in verified_removals(
                group,
                shingles=shingles,
                signatures=corpus.signatures,
                keys=keys,
                lengths=corpus.lengths,
                doc_ids=corpus.doc_ids,
                min_similarity=config.min_similarity,
            ):
                near[removal.document] = removal
    removals = dict(near)
    exact = set()
    for copy, original in copies.items():
        if original in near:
            # The text of which this is a copy went itself, for a representative that it was verified against.
            removals[copy] = replace(near[original], document=copy)
        else:
            removals[copy] = Removal(copy, original, 1.0, 1.0)
            exact.add(copy)
    return _Verdicts(removals, frozenset(exact))


def _shingles_of_rows(shingle_words: int, task: tuple[Path, list[int]]) -> dict[int, Shingles]:
    from data_tools.dedup.shingles import shingle_sets
    from data_tools.parquet import read_row_groups

    path, rows = task
    found: dict[int, Shingles] = {}
    remaining = iter(rows)
    row = next(remaining, None)
    first = 0
    for table in read_row_groups(path, ["text"]):
        column = table["text"]
        while row is not None and row < first + table.num_rows:
            found[row] = shingle_sets(column.slice(row - first, 1), shingle_words)[0]
            row = next(remaining, None)
        first += table.num_rows
    return found


def _write(
    paths: list[Path], starts: list[int], corpus: _Corpus, verdicts: _Verdicts, out: Path, progress: Progress
) -> Counter[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.parquet import ShardFile, ShardWriter, read_row_groups
    from data_tools.schema import DOCUMENTS, DUPLICATES

    cluster_sizes = Counter(removal.representative for removal in verdicts.removals.values())
    counts: Counter[str] = Counter()
    with ShardWriter(out / "duplicates", DUPLICATES) as duplicates:
        for shard, path in enumerate(paths):
            position = starts[shard]
            with ShardFile(out / "documents" / path.name, DOCUMENTS, keep_empty=False) as documents:
                for table in read_row_groups(path):
                    removed = [row in verdicts.removals for row in range(position, position + table.num_rows)]
                    gone = table.filter(pa.array(removed, pa.bool_())).select(["doc_id", "source", "source_id"])
                    gone_positions = [position + row for row, flag in enumerate(removed) if flag]
                    for found, row in zip(gone_positions, gone.to_pylist(), strict=True):
                        removal = verdicts.removals[found]
                        representative = corpus.doc_ids[removal.representative]
                        entry = row | {
                            "representative": representative,
                            "cluster": representative,
                            "cluster_size": 1 + cluster_sizes[removal.representative],
                            "estimated_similarity": removal.estimated_similarity,
                            "exact_similarity": removal.exact_similarity,
                            "reason": "exact" if found in verdicts.exact else "near",
                        }
                        duplicates.add(entry, 200)
                    kept = table.filter(pa.array([not flag for flag in removed], pa.bool_()))
                    documents.write(kept)
                    position += table.num_rows
                    counts["documents_in"] += table.num_rows
                    counts["documents_out"] += kept.num_rows
                    counts["bytes_in"] += pc.sum(table["n_bytes"]).as_py() or 0
                    counts["bytes_out"] += pc.sum(kept["n_bytes"]).as_py() or 0
                    for count in pc.value_counts(kept["source"]).to_pylist():
                        counts[f"source.{count['values']}.documents_out"] += count["counts"]
            progress(shard + 1, len(paths), "writing")
    if not duplicates.paths:
        with ShardFile(out / "duplicates" / "part-00000.parquet", DUPLICATES):
            pass
    return counts
