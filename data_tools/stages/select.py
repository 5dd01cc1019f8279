"""Signals to verdicts, verdicts to a narrower corpus. Every reason that applies is kept, not only the first.

Memory is bounded by a row group; keeping a fraction of the best (``quality.keep_fraction``) takes 8 bytes a document
more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.atomic_file import delete_folder
from data_tools.config import DataRuntime, SelectConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

Counters = dict[str, int | float | str]


def source_digests(config: SelectConfig, runtime: DataRuntime) -> dict[str, str]:
    """sha256 of every blocklist, in the order of the configuration.

    Raises:
        DataError: one can't be read.
    """
    import hashlib

    from data_tools.filters.url import read_blocklist

    found = {}
    for number, name in enumerate(config.url.blocklists if config.url is not None else ()):
        read_blocklist(Path(name))  # says what is wrong with it before anything else runs
        found[f"blocklist {number} ({Path(name).name})"] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    return found


def run(config: SelectConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime) -> Counters:
    """Write ``verdicts/`` (a row for every document) and ``documents/`` (those that stay, language filled in).

    A part of which nothing stays has verdicts and no documents file. Documents without a URL pass the rules on URLs.

    Raises:
        DataError: a rule needs a signal that wasn't measured, or nothing stays (the verdicts are on disk all the same).
    """
    import numpy as np

    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    signals_folder = inputs["signals"] / "signals"
    unfinished = out / "finished.tmp"
    for table in ("documents", "verdicts"):
        (out / table).mkdir(parents=True, exist_ok=True)
    sizes = [path.stat().st_size for path in paths]
    threshold = None
    if config.quality is not None and config.quality.keep_fraction is not None:
        scores_folder = unfinished / "scores"
        map_shards(
            partial(_collect_scores, config, signals_folder, scores_folder),
            paths,
            runtime=runtime,
            sizes=sizes,
            progress=progress,
            message="ranking",
        )
        scores = [np.load(scores_folder / f"{path.stem}.npy", allow_pickle=False) for path in paths]
        threshold = lowest_kept(np.concatenate(scores), config.quality.keep_fraction)
    results = map_shards(
        partial(_select_shard, config, threshold, signals_folder, out),
        paths,
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="judging",
        ledger=unfinished / "judging",
    )
    total: Counter[str] = Counter()
    for result in results:
        total.update(result)
    total["removed"] = total["documents_in"] - total["documents_out"]
    delete_folder(unfinished)
    if total["documents_out"] == 0:
        raise _nothing_left(total, config)
    counters: Counters = {name: total[name] for name in sorted(total)}
    if threshold is not None:
        counters["quality_threshold"] = threshold
    return counters


def _collect_scores(config: SelectConfig, signals_folder: Path, folder: Path, path: Path) -> None:
    """Write the scores of a part, unless an earlier attempt has: a file that is there is whole, and needs no ledger."""
    import numpy as np

    from data_tools.atomic_file import atomic_writer

    if not (folder / f"{path.stem}.npy").is_file():
        with atomic_writer(folder / f"{path.stem}.npy") as handle:
            np.save(handle, passing_scores(config, signals_folder, path))


def passing_scores(config: SelectConfig, signals_folder: Path, path: Path) -> npt.NDArray[np.float64]:
    """The quality scores of those documents of a part that pass every other rule."""
    import numpy as np
    import pyarrow.compute as pc

    from data_tools.filters.verdicts import DOCUMENT_COLUMNS, Judge

    judge = Judge(config)
    scores = [np.zeros(0)]
    for table, signals in side_by_side(path, signals_folder / path.name, DOCUMENT_COLUMNS):
        keep = np.ones(len(table), dtype=bool)
        for failed in judge.failures(table, signals, str(signals_folder / path.name)).values():
            keep &= ~np.asarray(failed)
        scores.append(np.asarray(pc.fill_null(signals["quality"], 0.0))[keep])
    return np.concatenate(scores)


def lowest_kept(scores: npt.NDArray[np.float64], fraction: float) -> float:
    """The lowest score that stays where ``fraction`` of all are kept, the best ones (and all that are equal to it)."""
    import math

    import numpy as np

    if not len(scores):
        return 0.0
    kept = max(1, math.ceil(fraction * len(scores)))
    return float(np.partition(scores, len(scores) - kept)[len(scores) - kept])


def _select_shard(
    config: SelectConfig, quality_threshold: float | None, signals_folder: Path, out: Path, path: Path
) -> dict[str, int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.edited_documents import count_documents
    from data_tools.filters.verdicts import RULE_VERSION, Judge
    from data_tools.parquet import ShardFile
    from data_tools.schema import DOCUMENTS, VERDICTS

    judge = Judge(config, quality_threshold)
    counts: Counter[str] = Counter()
    signals_file = signals_folder / path.name
    with (
        ShardFile(out / "documents" / path.name, DOCUMENTS, keep_empty=False) as documents,
        ShardFile(out / "verdicts" / path.name, VERDICTS) as verdicts,
    ):
        for table, signals in side_by_side(path, signals_file):
            failures = judge.failures(table, signals, str(signals_file))
            for reason, failed in failures.items():
                sources = pc.value_counts(table["source"].filter(failed)).to_pylist()
                counts[f"removed.{reason}"] += sum(entry["counts"] for entry in sources)
                for entry in sources:
                    counts[f"source.{entry['values']}.removed.{reason}"] += entry["counts"]
            reasons, keep = as_lists(failures, len(table))
            columns: dict[str, Any] = {
                "doc_id": table["doc_id"],
                "keep": keep,
                "reasons": reasons,
                "rule_version": pa.repeat(pa.scalar(RULE_VERSION), len(table)),
            }
            verdicts.write(pa.table(columns))
            if "language" in signals.column_names:
                position = table.schema.get_field_index("language")
                table = table.set_column(position, "language", signals["language"])
            kept = table.filter(keep)
            documents.write(kept)
            counts.update(count_documents(table, kept))
    return dict(counts)


def as_lists(failures: dict[str, pa.ChunkedArray], rows: int) -> tuple[pa.ListArray, pa.Array]:
    """``(reasons, keep)``: for each row the reasons that apply, in their order, and whether there are none."""
    import numpy as np
    import pyarrow as pa

    failed = np.zeros((rows, len(failures)), dtype=bool)
    for column, values in enumerate(failures.values()):
        failed[:, column] = np.asarray(values)
    offsets = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(failed.sum(axis=1), out=offsets[1:])
    names = pa.array(list(failures), pa.string()).take(pa.array(failed.nonzero()[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), names), pa.array(~failed.any(axis=1))


def side_by_side(
    path: Path, signals_file: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield (documents, signals) of the same rows; the ids are compared, the order is never trusted.

    Args:
        path: of a part of ``documents/``.
        signals_file: the part of ``signals/`` of the same name.
        columns: of the documents (all of them without; ``doc_id`` has to be one).

    Raises:
        DataError: the signals are those of other documents.
    """
    import pyarrow as pa

    from data_tools.parquet import read_row_groups

    def mismatch() -> DataError:
        return DataError(
            "these signals belong to other documents",
            where=str(signals_file),
            fix="Delete the annotate artifact; it will be made again.",
        )

    if not signals_file.is_file():
        raise mismatch()
    pending = pa.table({})
    signal_groups = read_row_groups(signals_file)
    for table in read_row_groups(path, columns):
        if not table.num_rows:
            continue
        collected = [pending] if pending.num_rows else []
        rows = pending.num_rows
        while rows < table.num_rows:
            group = next(signal_groups, None)
            if group is None:
                break
            collected.append(group)
            rows += group.num_rows
        joined = pa.concat_tables(collected) if collected else pending
        signals, pending = joined.slice(0, table.num_rows), joined.slice(table.num_rows)
        if signals.num_rows != table.num_rows or not signals["doc_id"].equals(table["doc_id"]):
            raise mismatch()
        yield table, signals


def _nothing_left(total: Counter[str], config: SelectConfig) -> DataError:
    from data_tools.filters.verdicts import knobs

    hangs_on = knobs(config)
    reasons = [(name.removeprefix("removed."), n) for name, n in total.most_common() if name.startswith("removed.")]
    reasons = [(reason, n) for reason, n in reasons if n]
    said = ", ".join(f"{n:,} by {reason}" for reason, n in reasons)
    loosen = ", ".join(dict.fromkeys(knob for reason, _ in reasons[:3] for knob in hangs_on.get(reason, ())))
    return DataError(
        f"the filters removed all {total['documents_in']:,} documents ({said}; several can apply to one)",
        where="select",
        fix=f"Loosen {loosen} (null turns a rule off)." if loosen else "There were no documents to begin with.",
    )
