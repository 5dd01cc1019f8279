"""What a person reads in Prefect: the data funnel, the data card, duplicates, the training summary, the scorecard.

Reports are a courtesy. Whatever goes wrong here is logged, and the run goes on.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from data_tools.funnel import STAGES, by_source

if TYPE_CHECKING:
    from flows.lineage.manifest import Manifest
    from flows.runner import Run

P = ParamSpec("P")
T = TypeVar("T")

#: Of a table in Prefect; a corpus of a thousand sources has more, and `groundup funnel --by-source` shows them.
MOST_ROWS = 500

TRAINED = ("pretrain", "classifier", "classifier_from_scratch", "assistant")

_log = logging.getLogger(__name__)


def courtesy(function: Callable[P, T]) -> Callable[P, T | None]:
    """The function, but an exception becomes a line in the log and None."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            _log.warning("%s failed: %s", function.__name__, error, exc_info=True)
            return None

    return guarded


@courtesy
def name_flow_run(name: str) -> str | None:
    """Give the current flow run its name; returns its id."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    try:
        context.client.set_flow_run_name(flow_run_id=context.flow_run.id, name=name)
        context.flow_run.name = name
    except Exception as error:
        _log.warning("the flow run keeps its name %s: %s", context.flow_run.name, error)
    return str(context.flow_run.id)


@courtesy
def after_stage(run: Run, name: str) -> None:
    """The report that is due once stage ``name`` is there, if any."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    last_trained = [stage for stage in TRAINED if stage in run.planned][-1:]
    if name == "mix":
        rows = funnel_rows(run.manifests)
        create_table_artifact(key="data-funnel", table=rows, description="How many documents and bytes each step left.")
        create_table_artifact(
            key="data-reasons",
            table=reason_rows(run.manifests)[:MOST_ROWS],
            description="Why documents left, source by source. Several reasons can apply to one.",
        )
        create_table_artifact(
            key="data-counters",
            table=counter_rows(run.manifests)[:MOST_ROWS],
            description="Everything that the data stages counted.",
        )
    if name == "data_card":
        folder = run.planned[name].path
        text = (folder / "data_card.md").read_text(encoding="utf-8")
        create_markdown_artifact(key="data-card", markdown=text, description="The corpus, and how it came about.")
        pairs = duplicate_rows(json.loads((folder / "data_card.json").read_text(encoding="utf-8")))
        if pairs:
            create_table_artifact(
                key="duplicates", table=pairs, description="Removed documents beside those that stay in their place."
            )
    if name == "tokenizer":
        folder = run.planned[name].path
        text = (folder / "report.md").read_text(encoding="utf-8")
        create_markdown_artifact(key="tokenizer", markdown=text, description="How text is cut, and how others cut it.")
        rows = tokenizer_rows(json.loads((folder / "report.json").read_text(encoding="utf-8")))
        create_table_artifact(
            key="tokenizers", table=rows, description="Ours beside other tokenizers of as many entries, by language."
        )
    if [name] == last_trained:
        create_markdown_artifact(
            key="training-summary", markdown=training_summary(run), description="What was trained, and how it went."
        )
    if name == "evaluate":
        text = (run.planned[name].path / "scorecard.md").read_text(encoding="utf-8")
        create_markdown_artifact(key="scorecard", markdown=text, description="The model against its baselines.")


def funnel_rows(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """A row a stage: documents and bytes in and out, and the share that stayed."""
    rows: list[dict[str, Any]] = []
    for stage in STAGES:
        counters = manifests[stage].counters if stage in manifests else {}
        before, after = counters.get("documents_in"), counters.get("documents_out")
        if after is None:
            continue
        kept = f"{after / before:.1%}" if isinstance(before, int) and isinstance(after, int) and before else ""
        rows.append(
            {
                "stage": stage,
                "documents in": before if before is not None else "",
                "documents out": after,
                "kept": kept,
                "bytes out": counters.get("bytes_out", ""),
            }
        )
    return rows


def reason_rows(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """A row for each reason of each source, in the chain's order, the most frequent first."""
    rows = [
        {"stage": stage, "reason": reason, "source": source, "documents": n}
        for source, stages in by_source({name: manifest.counters for name, manifest in manifests.items()}).items()
        for stage, counts in stages.items()
        for reason, n in counts.removed.items()
    ]
    order = list(STAGES)
    return sorted(rows, key=lambda row: (order.index(row["stage"]), -row["documents"], row["reason"], row["source"]))


def duplicate_rows(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs of ``data_card.json``, each once: those of the lowest similarity, then those drawn at random."""
    found = card.get("duplicates", {})
    pairs = {
        (pair["source"], pair["source_id"]): {
            "similarity": round(pair["similarity"], 3),
            "removed": f"{pair['source']}/{pair['source_id']}",
            "kept": pair["representative_source"] or pair["representative"],
            "removed begins": pair["beginning"],
            "kept begins": pair["representative_beginning"],
        }
        for pair in [*found.get("closest_calls", ()), *found.get("drawn", ())]
    }
    return list(pairs.values())


def tokenizer_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each tokenizer and language of the tokenizer's ``report.json``."""
    return [
        {
            "tokenizer": row["tokenizer"],
            "entries": row["vocab_size"],
            "language": row["language"],
            "bytes per token": round(row["bytes_per_token"], 2),
            "tokens per word": round(row["tokens_per_word"], 2),
            "unknown": f"{row['unknown_share']:.2%}",
            "MB/s": row.get("megabytes_per_second", ""),
        }
        for row in report["comparison"]["rows"]
    ]


def counter_rows(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """A row a counter, for all stages before training. What is counted by source has a table of its own."""
    return [
        {"stage": stage, "counter": counter.replace("_", " "), "value": value}
        for stage, manifest in manifests.items()
        if stage not in TRAINED
        for counter, value in manifest.counters.items()
        if not counter.startswith("source.")
    ]


def training_summary(run: Run) -> str:
    """Markdown: a section for every trained model."""
    parts = []
    for stage in TRAINED:
        manifest = run.manifests.get(stage)
        if manifest is None:
            continue
        seconds = (manifest.finished - manifest.started).total_seconds()
        lines = [f"## {run.planned[stage].title}", "", f"`{stage}/{manifest.fingerprint[:12]}`, {seconds:,.0f} s", ""]
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in manifest.counters.items()]
        curve = validation_curve(run.planned[stage].path / "metrics.jsonl")
        if curve:
            names = list(dict.fromkeys(key for row in curve for key in row if key.startswith("val/")))
            lines += ["", "| step | " + " | ".join(name.removeprefix("val/") for name in names) + " |"]
            lines += ["| ---: |" + " ---: |" * len(names)]
            lines += [
                f"| {row.get('step', ''):,} | " + " | ".join(_cell(row.get(name, "")) for name in names) + " |"
                for row in curve
            ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def validation_curve(path: Path, most: int = 20) -> list[dict[str, Any]]:
    """The validation measurements of a training log, at most ``most`` of them, the last one always among them."""
    if not path.is_file():
        return []
    rows = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if '"val/' in line:
                rows.append(json.loads(line))
    step = max(1, -(-len(rows) // most))
    return rows[::-1][::step][::-1]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")
