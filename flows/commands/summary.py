"""The end of `groundup run`: what came out, beside its baselines; how long it took; where it is; what to type next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.run_record import RunRecord, StageRecord


def closing_summary(record: RunRecord, *, seconds: float) -> list[str]:
    """Its lines. ``seconds`` is how long the whole command took, its own start included."""
    from flows.display import show_seconds

    reused = [stage for stage in record.stages if stage.status == "reused"]
    built = [stage for stage in record.stages if stage.status == "completed"]
    took = show_seconds(seconds)
    if record.stages and not built:
        lines = [f"{record.name}: all {len(reused)} stages reused, in {took}"]
    else:
        lines = [f"{record.name}: done in {took}" + (f" ({len(reused)} stages reused)" if reused else "")]
    sections = {
        "Scores": list(score_lines(record)),
        "Times": [times_line(built)] if built else [],
        "Where": list(places(record)),
        "Next": list(next_commands(record)),
    }
    for title, told in sections.items():
        if told:
            lines += ["", title, *(f"  {line}" for line in told)]
    return lines


def stage_of(record: RunRecord, name: str) -> StageRecord | None:
    """The stage, if the run has it finished."""
    found = next((stage for stage in record.stages if stage.name == name), None)
    return found if found is not None and found.status in ("completed", "reused") else None


def score_lines(record: RunRecord) -> Iterator[str]:
    """The headline numbers of the scorecard, each with what it is compared with."""
    evaluate = stage_of(record, "evaluate")
    if evaluate is None:
        return
    try:
        card = json.loads((Path(evaluate.path) / "scorecard.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    rows = [*_table(card)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)] if rows else []
    for row in rows:
        yield f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]}".rstrip()


def _table(card: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(what, the model's number, the baselines') of every headline."""
    yield from ()


def times_line(stages: list[StageRecord]) -> str:
    """The longest stages of this run, longest first."""
    from flows.display import show_seconds

    spans = [
        ((stage.finished - stage.started).total_seconds(), stage.name)
        for stage in stages
        if stage.started is not None and stage.finished is not None
    ]
    spans.sort(reverse=True)
    shown = [f"{name} {show_seconds(span)}" for span, name in spans if span >= 1.0][:6]
    return ", ".join(shown) if shown else f"{len(stages)} stages, each under a second"


def places(record: RunRecord) -> Iterator[str]:
    """Where the things are that a person wants to open, from here where that is shorter."""
    wanted = (
        ("model", "pretrain", "model"),
        ("classifier", "classifier", "model"),
        ("assistant", "assistant", "model"),
        ("documents", "mix", "documents"),
        ("scorecard", "evaluate", "scorecard.md"),
        ("samples", "evaluate", "samples.md"),
    )
    for what, stage, inside in wanted:
        found = stage_of(record, stage)
        if found is not None and (Path(found.path) / inside).exists():
            yield f"{what:<10}  {shorter(Path(found.path) / inside)}"
    yield f"{'this run':<10}  {shorter(record.path)}"


def shorter(path: Path) -> str:
    """Relative to the working directory, if it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def next_commands(record: RunRecord) -> Iterator[str]:
    """What to type next, ready to be copied."""
    from flows.commands.workspace import default_workspace

    workspace = record.path.parent.parent.parent
    at_home = workspace == default_workspace().absolute()
    where = "" if at_home else f" --workspace {shlex.quote(shorter(workspace))}"
    prompts = (record.config.get("evaluate") or {}).get("prompts") or ["The "]
    commands = (
        ("pretrain", f"groundup generate --prompt {json.dumps(prompts[0], ensure_ascii=False)}", "continue a text"),
        ("assistant", "groundup chat", "talk with the assistant"),
        ("classifier", 'groundup classify "A text of yours."', "label a text"),
        ("pretrain", "groundup lineage", "from the model down to the source files"),
        ("pretrain", "groundup ui", "the run in Prefect and MLflow, on localhost"),
    )
    shown = [(f"{command}{where}", what) for stage, command, what in commands if stage_of(record, stage)]
    width = max((len(command) for command, _ in shown), default=0)
    for command, what in shown:
        yield f"{command:<{width}}   # {what}"
