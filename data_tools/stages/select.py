"""Signals to verdicts, verdicts to a narrower corpus. Every reason that applies is kept, not only the first.

Memory is bounded by a row group.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.config import DataRuntime, SelectConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

Counters = dict[str, int | float | str]

#: Raised when a rule changes its meaning.
RULE_VERSION = "select-1"


def run(config: SelectConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime) -> Counters:
    """Write ``verdicts/`` (a row for every document) and ``documents/`` (those that stay, language filled in).

    A part of which nothing stays has verdicts and no documents file.

    Raises:
        DataError: a rule needs a signal that wasn't measured, or nothing stays (the verdicts are on disk all the same).
    """
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    for table in ("documents", "verdicts"):
        (out / table).mkdir(parents=True, exist_ok=True)
    results = map_shards(
        partial(_select_shard, config, inputs["signals"] / "signals", out),
        paths,
        runtime=runtime,
        sizes=[path.stat().st_size for path in paths],
        progress=progress,
        message="judging",
    )
    total: Counter[str] = Counter()
    for result in results:
        total.update(result)
    total["removed"] = total["documents_in"] - total["documents_out"]
    if total["documents_out"] == 0:
        raise _nothing_left(total, config)
    return {name: total[name] for name in sorted(total)}


def _select_shard(config: SelectConfig, signals_folder: Path, out: Path, path: Path) -> Counter[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.parquet import ShardFile
    from data_tools.schema import DOCUMENTS, VERDICTS

    counts: Counter[str] = Counter()
    signals_file = signals_folder / path.name
    with (
        ShardFile(out / "documents" / path.name, DOCUMENTS, keep_empty=False) as documents,
        ShardFile(out / "verdicts" / path.name, VERDICTS) as verdicts,
    ):
        for table, signals in _side_by_side(path, signals_file):
            failures = {
                reason: pc.fill_null(column, False).to_numpy()
                for reason, column in _failures(config, signals, signals_file).items()
            }
            reasons: list[list[str]] = [[] for _ in range(table.num_rows)]
            for reason, failed in failures.items():
                for row in failed.nonzero()[0]:
                    reasons[row].append(reason)
                counts[f"removed.{reason}"] += int(failed.sum())
            keep = pa.array([not found for found in reasons], pa.bool_())
            columns: dict[str, Any] = {
                "doc_id": table["doc_id"],
                "keep": keep,
                "reasons": reasons,
                "rule_version": [RULE_VERSION] * table.num_rows,
            }
            verdicts.write(pa.table(columns, schema=VERDICTS))
            if "language" in signals.column_names:
                position = table.schema.get_field_index("language")
                table = table.set_column(position, "language", signals["language"])
            kept = table.filter(keep)
            documents.write(kept)
            counts["documents_in"] += table.num_rows
            counts["documents_out"] += kept.num_rows
            counts["bytes_in"] += pc.sum(table["n_bytes"]).as_py() or 0
            counts["bytes_out"] += pc.sum(kept["n_bytes"]).as_py() or 0
            for entry in pc.value_counts(kept["source"]).to_pylist():
                counts[f"source.{entry['values']}.documents_out"] += entry["counts"]
    return counts


def _side_by_side(path: Path, signals_file: Path) -> Any:
    """Yield (documents, signals) of the same rows; the ids are compared, the order is never trusted."""
    import pyarrow as pa

    from data_tools.parquet import read_row_groups

    pending = pa.table({})
    signal_groups = read_row_groups(signals_file)
    for table in read_row_groups(path):
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
            raise DataError(
                "these signals belong to other documents",
                where=str(signals_file),
                fix="Delete the annotate artifact; it will be made again.",
            )
        yield table, signals


def _failures(config: SelectConfig, signals: pa.Table, where: Path) -> dict[str, pa.ChunkedArray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.filters.gopher import gopher_failures

    failures: dict[str, pa.ChunkedArray] = {}
    if config.language is not None:
        _need(signals, "language", "select.language", "annotate.language", where)
        failures["language"] = pc.invert(pc.is_in(signals["language"], pa.array(config.language.keep, pa.string())))
        failures["language-confidence"] = pc.less(signals["language_confidence"], config.language.min_confidence)
    if config.gopher_quality is not None:
        _need(signals, "words", "select.gopher_quality", "annotate.gopher_quality", where)
        failures |= gopher_failures(config.gopher_quality, signals)
    return failures


def _need(signals: pa.Table, column: str, rule: str, switch: str, where: Path) -> None:
    if column not in signals.column_names:
        raise DataError(
            f"{rule} needs signals that were not measured",
            where=str(where),
            fix=f"Set {switch} to true, or {rule} to null.",
        )


def _nothing_left(total: Counter[str], config: SelectConfig) -> DataError:
    from data_tools.filters.gopher import THRESHOLDS

    knobs = {test.reason: f"select.gopher_quality.{test.knob}" for test in THRESHOLDS}
    knobs |= {"language": "select.language.keep", "language-confidence": "select.language.min_confidence"}
    reasons = [(name.removeprefix("removed."), n) for name, n in total.most_common() if name.startswith("removed.")]
    reasons = [(reason, n) for reason, n in reasons if n]
    said = ", ".join(f"{n:,} by {reason}" for reason, n in reasons)
    loosen = ", ".join(knobs[reason] for reason, _ in reasons[:3])
    return DataError(
        f"the filters removed all {total['documents_in']:,} documents ({said}; several can apply to one)",
        where="select",
        fix=f"Loosen {loosen} (null turns a rule off)." if loosen else "There were no documents to begin with.",
    )
