"""What would change under other thresholds: verdicts from the signals alone, some texts from both sides of the line.

Documents are judged twice, by an old and by a new configuration, without their texts. Only the texts of the samples
are read (and with each the rest of its row group's text column).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.config import DataRuntime, SelectConfig
from data_tools.progress import Progress, no_progress

if TYPE_CHECKING:
    from data_tools.filters.rules import Threshold

EXCERPT_CHARS = 400
DROPPED, RESCUED = "dropped", "rescued"


@dataclass(frozen=True)
class Amount:
    documents: int = 0
    n_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.documents + other.documents, self.n_bytes + other.n_bytes)


@dataclass(frozen=True)
class Sample:
    """One document near the line."""

    doc_id: str
    source: str
    source_id: str
    url: str | None
    reasons_before: tuple[str, ...]
    """Why it went under the old configuration; empty if it stayed."""
    reasons_after: tuple[str, ...]
    signals: dict[str, float | str | None]
    """Those that a moved threshold reads."""
    excerpt: str = ""
    """The beginning of the text, at most ``EXCERPT_CHARS`` characters."""


@dataclass(frozen=True)
class Knob:
    """A number that differs."""

    path: str
    """As in the configuration: ``select.gopher_quality.min_words``. A rule set that is off has only nulls."""
    before: object
    after: object


@dataclass(frozen=True)
class Retuned:
    """What :func:`retune` found."""

    knobs: list[Knob]
    kept_before: Amount
    kept_after: Amount
    dropped: Amount
    """Kept before, dropped now."""
    rescued: Amount
    """Dropped before, kept now."""
    reasons: dict[str, tuple[int, int]]
    """Reason to how many documents it applied to, before and after (several can apply to one)."""
    sources: dict[str, tuple[Amount, Amount]]
    """Source to what of it was dropped and what was rescued."""
    dropped_by: dict[str, Amount]
    """New reason to the dropped documents that it applies to."""
    rescued_from: dict[str, Amount]
    """Old reason to the rescued documents that it applied to."""
    dropped_samples: list[Sample] = field(default_factory=list)
    rescued_samples: list[Sample] = field(default_factory=list)
    near: dict[str, list[Sample]] = field(default_factory=dict)
    """Path of a moved knob to the documents next to its new threshold that fall by it and those that don't, the
    nearest first: ``samples`` of each."""


@dataclass
class _Part:
    """What one part of the corpus has to say."""

    amounts: dict[tuple[str, str], Amount] = field(default_factory=dict)
    """What is counted, such as ``reason before``, and of which reason or source."""
    changed: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    """``dropped`` or ``rescued`` to (id, part, row), the smallest ids."""
    near: dict[tuple[str, str], list[tuple[float, str, int, int]]] = field(default_factory=dict)
    """Knob and side to (distance, id, part, row), the smallest distances."""
    rows: dict[tuple[int, int], Sample] = field(default_factory=dict)
    """(part, row) to the document, without its text."""


@dataclass(frozen=True)
class _Task:
    old: SelectConfig
    new: SelectConfig
    old_score: float | None
    new_score: float | None
    signals: Path
    samples: int


def retune(
    inputs: Mapping[str, Path],
    old: SelectConfig,
    new: SelectConfig,
    samples: int = 5,
    runtime: DataRuntime | None = None,
    progress: Progress = no_progress,
) -> Retuned:
    """Compare two configurations of ``select`` on the same documents and signals.

    Args:
        inputs: the artifact folders that ``select`` reads: ``documents`` and ``signals``.
        samples: how many documents are shown of each kind.

    Raises:
        DataError: a rule needs signals that were not measured; a blocklist can't be read.
    """
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    runtime = runtime or DataRuntime(workers=1)
    paths = shard_paths(inputs["documents"] / "documents")
    signals = inputs["signals"] / "signals"
    scores = [_score_threshold(config, signals, paths, runtime) for config in (old, new)]
    task = _Task(old, new, scores[0], scores[1], signals, samples)
    parts: list[_Part] = map_shards(
        partial(_compare_part, task),
        list(enumerate(paths)),
        runtime=runtime,
        sizes=[path.stat().st_size for path in paths],
        progress=progress,
        message="judging again",
    )
    return _joined(parts, moved_knobs(old, new), samples, paths)


def preset_diff(
    inputs: Mapping[str, Path],
    first: str,
    second: str,
    samples: int = 5,
    runtime: DataRuntime | None = None,
    progress: Progress = no_progress,
) -> Retuned:
    """:func:`retune` from one preset (data_tools.filters.presets) to another."""
    old, new = (SelectConfig.model_validate({"presets": [name]}) for name in (first, second))
    return retune(inputs, old, new, samples, runtime, progress)


def moved_knobs(old: SelectConfig, new: SelectConfig) -> list[Knob]:
    """Every number and list in which two configurations differ, in the order of the configuration."""

    def flat(value: Any, path: str) -> dict[str, object]:
        if isinstance(value, dict):
            found: dict[str, object] = {}
            for name, item in value.items():
                found |= flat(item, f"{path}.{name}")
            return found
        return {path: value}

    before, after = (flat(config.model_dump(exclude={"presets"}), "select") for config in (old, new))
    names = dict.fromkeys([*before, *after])
    sections = [name for name in names if any(other.startswith(f"{name}.") for other in names)]
    return [
        Knob(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name) and name not in sections
    ]


def _score_threshold(config: SelectConfig, signals: Path, paths: list[Path], runtime: DataRuntime) -> float | None:
    import numpy as np

    from data_tools.parallel import map_shards
    from data_tools.stages.select import lowest_kept, passing_scores

    if config.quality is None or config.quality.keep_fraction is None:
        return None
    scores = map_shards(partial(passing_scores, config, signals), paths, runtime=runtime)
    return lowest_kept(np.concatenate(scores), config.quality.keep_fraction)


def _moved_tests(task: _Task) -> dict[str, tuple[Threshold, float]]:
    """Path of a moved knob to its test and its new threshold, where the new configuration has one."""
    from data_tools.filters.rules import Threshold
    from data_tools.filters.verdicts import RULE_SETS, tests_of

    found: dict[str, tuple[Threshold, float]] = {}
    sections: list[tuple[str, Iterable[Any]]] = [(section, tests_of(section)) for section in RULE_SETS]
    language = Threshold("language/low-confidence", "min_confidence", "language_confidence", "below")
    for section, tests in [("language", (language,)), *sections]:
        old, new = getattr(task.old, section), getattr(task.new, section)
        for test in tests:
            if not isinstance(test, Threshold) or new is None:
                continue
            before, after = getattr(old, test.knob, None), getattr(new, test.knob)
            name = test.knob
            if section == "quality" and new.keep_fraction is not None:
                before, after, name = task.old_score, task.new_score, "keep_fraction"
            if after is not None and before != after:
                found[f"select.{section}.{name}"] = (test, float(after))
    return found


def _compare_part(task: _Task, numbered: tuple[int, Path]) -> _Part:
    import numpy as np

    from data_tools.filters.verdicts import DOCUMENT_COLUMNS, Judge
    from data_tools.stages.select import as_lists, side_by_side

    number, path = numbered
    judges = Judge(task.old, task.old_score), Judge(task.new, task.new_score)
    moved = _moved_tests(task)
    part = _Part()
    begin = 0
    for table, signals in side_by_side(path, task.signals / path.name, (*DOCUMENT_COLUMNS, "source_id")):
        where = str(task.signals / path.name)
        before, after = (judge.failures(table, signals, where) for judge in judges)
        (old_reasons, old_keep), (new_reasons, new_keep) = (as_lists(found, len(table)) for found in (before, after))
        sizes = table["n_bytes"].to_numpy()
        sources, ids = np.array(table["source"].to_pylist(), dtype=object), table["doc_id"].to_pylist()

        def add(what: str, rows: Any, which: str = "", sizes: Any = sizes) -> None:
            found = Amount(int(rows.sum()), int(sizes[rows].sum()))
            part.amounts[what, which] = part.amounts.get((what, which), Amount()) + found

        kept_old, kept_new = np.asarray(old_keep), np.asarray(new_keep)
        add("kept before", kept_old)
        add("kept after", kept_new)
        for when, found in (("before", before), ("after", after)):
            for reason, failed in found.items():
                add(f"reason {when}", np.asarray(failed), reason)
        wanted: set[int] = set()
        for kind, rows, why in ((DROPPED, kept_old & ~kept_new, after), (RESCUED, ~kept_old & kept_new, before)):
            add(kind, rows)
            for source in sorted(set(sources[rows])):
                add(f"{kind} source", rows & (sources == source), source)
            for reason, failed in why.items():
                add(f"{kind} reason", rows & np.asarray(failed), reason)
            # Ids are hashes, so the smallest ones are a fair sample, and the same one every time.
            chosen = heapq.nsmallest(task.samples, ((ids[row], int(row)) for row in np.flatnonzero(rows)))
            part.changed.setdefault(kind, []).extend((doc_id, number, begin + row) for doc_id, row in chosen)
            wanted |= {row for _, row in chosen}
        for name, (test, line) in moved.items():
            failed = np.asarray(after[test.reason]) if test.reason in after else np.zeros(len(table), dtype=bool)
            values = np.asarray(signals[test.signal].to_numpy(), dtype=float)
            distance = np.abs(values - line)
            for side, rows in (("falls", failed), ("stays", ~failed)):
                rows = np.flatnonzero(rows & np.isfinite(distance))
                chosen_near = heapq.nsmallest(task.samples, ((float(distance[r]), ids[r], int(r)) for r in rows))
                part.near.setdefault((name, side), []).extend((d, i, number, begin + r) for d, i, r in chosen_near)
                wanted |= {row for _, _, row in chosen_near}
        columns = sorted({test.signal for test, _ in moved.values()})
        for row in wanted:
            document = table.slice(row, 1).to_pylist()[0]
            part.rows[number, begin + row] = Sample(
                document["doc_id"],
                document["source"],
                document["source_id"],
                document["url"],
                tuple(old_reasons[row].as_py()),
                tuple(new_reasons[row].as_py()),
                {name: signals[name][row].as_py() for name in columns},
            )
        begin += len(table)
    return part


def _joined(parts: list[_Part], knobs: list[Knob], samples: int, paths: list[Path]) -> Retuned:
    amounts: dict[tuple[str, str], Amount] = {}
    for part in parts:
        for key, amount in part.amounts.items():
            amounts[key] = amounts.get(key, Amount()) + amount

    def of(what: str) -> dict[str, Amount]:
        return {which: amount for (name, which), amount in amounts.items() if name == what and amount.documents}

    changed = {
        kind: heapq.nsmallest(samples, (one for part in parts for one in part.changed.get(kind, ())))
        for kind in (DROPPED, RESCUED)
    }
    near: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, side in dict.fromkeys(key for part in parts for key in part.near):
        closest = heapq.nsmallest(samples, (one for part in parts for one in part.near.get((name, side), ())))
        near[name] += [(number, row) for _, _, number, row in closest]
    places = {(number, row) for found in changed.values() for _, number, row in found}
    places |= {place for found in near.values() for place in found}
    shown = _with_texts(
        {place: sample for part in parts for place, sample in part.rows.items() if place in places}, paths
    )
    before, after = of("reason before"), of("reason after")
    dropped, rescued = of(f"{DROPPED} source"), of(f"{RESCUED} source")
    none = Amount()
    return Retuned(
        knobs=knobs,
        kept_before=amounts.get(("kept before", ""), none),
        kept_after=amounts.get(("kept after", ""), none),
        dropped=amounts.get((DROPPED, ""), none),
        rescued=amounts.get((RESCUED, ""), none),
        reasons={
            reason: (before.get(reason, none).documents, after.get(reason, none).documents)
            for reason in dict.fromkeys([*before, *after])
        },
        sources={name: (dropped.get(name, none), rescued.get(name, none)) for name in sorted({*dropped, *rescued})},
        dropped_by=of(f"{DROPPED} reason"),
        rescued_from=of(f"{RESCUED} reason"),
        dropped_samples=[shown[number, row] for _, number, row in changed[DROPPED]],
        rescued_samples=[shown[number, row] for _, number, row in changed[RESCUED]],
        near={name: [shown[place] for place in found] for name, found in near.items()},
    )


def _with_texts(rows: dict[tuple[int, int], Sample], paths: list[Path]) -> dict[tuple[int, int], Sample]:
    """The samples with their excerpts: of each part only the row groups that they stand in are read."""
    from dataclasses import replace

    from data_tools.parquet import open_shard

    shown: dict[tuple[int, int], Sample] = {}
    for number in sorted({number for number, _ in rows}):
        wanted = sorted(row for part, row in rows if part == number)
        with open_shard(paths[number]) as file:
            begin = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                here = [row for row in wanted if begin <= row < begin + size]
                if here:
                    texts = file.read_row_group(group, columns=["text"])["text"]
                    for row in here:
                        excerpt = texts[row - begin].as_py()[:EXCERPT_CHARS]
                        shown[number, row] = replace(rows[number, row], excerpt=excerpt)
                begin += size
    return shown
