"""The end of `groundup run`: what came out, beside its baselines; how long it took; where it is; what to type next."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.run_record import RunRecord, StageRecord


def closing_summary(record: RunRecord, *, seconds: float) -> list[str]:
    """Its lines. ``seconds`` is how long the whole command took, its own start included."""
    from flows.wording import show_seconds

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


#: What the scorecard's baselines are called in one line.
BASELINES = {
    "xz_validation": "xz",
    "zstd_validation": "zstd",
    "xz_after_train": "xz after the training text",
    "xz_train_and_validation": "xz of both in one file",
    "token_unigram": "token frequencies",
    "byte_unigram": "byte frequencies",
    "from_scratch": "from scratch",
    "multinomial": "naive Bayes",
    "complement": "naive Bayes on TF-IDF",
}


def score_lines(record: RunRecord) -> Iterator[str]:
    """The headline numbers of the scorecard, each with what it is compared with."""
    evaluate = stage_of(record, "evaluate")
    if evaluate is None:
        return
    try:
        card = json.loads((Path(evaluate.path) / "scorecard.json").read_text(encoding="utf-8"))
        rows = list(headlines(card))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # a scorecard of another version: the page itself is named below
    width = max((len(what) for what, _, _ in rows), default=0)
    for what, number, beside in rows:
        yield f"{what:<{width}}  {number:6.3f}  {beside}".rstrip()


def headlines(card: Mapping[str, Any]) -> Iterator[tuple[str, float, str]]:
    """(what, the model's number, the baselines' numbers)."""

    def named(numbers: Mapping[str, float]) -> str:
        return ", ".join(
            f"{BASELINES.get(name, name.replace('_', ' '))} {value:.3f}" for name, value in numbers.items()
        )

    language = card.get("language_model")
    if language:
        beside = dict(sorted(language["baselines"].items(), key=lambda item: float(item[1])))
        yield "bits per byte (less is better)", language["bits_per_byte"], named(beside)
    scores = dict(card.get("classification", {}).get("scores", {}))
    ours = scores.pop("pretrained", None) or scores.pop("from_scratch", None)
    for key, what in (("accuracy", "accuracy (more is better)"), ("macro_f1", "macro-F1")):
        if ours:
            yield what, ours[key], named({name: score[key] for name, score in scores.items()})
    assistant = card.get("assistant")
    if assistant:
        yield "loss of the right answers", assistant["loss_after"], f"before tuning {assistant['loss_before']:.3f}"


def times_line(stages: list[StageRecord]) -> str:
    """The longest stages of this run, longest first."""
    from flows.wording import show_seconds

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
        ("data card", "data_card", "data_card.html"),
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
    me = shlex.quote(program())
    commands = (
        ("pretrain", f"{me} generate --prompt {json.dumps(prompts[0], ensure_ascii=False)}", "continue a text"),
        ("assistant", f"{me} chat", "talk with the assistant"),
        ("classifier", f'{me} classify "A text of yours."', "label a text"),
        ("data_card", f"{me} data sample", "what was removed, and why"),
        ("pretrain", f"{me} lineage", "from the model down to the source files"),
        ("pretrain", f"{me} ui", "the run in Prefect and MLflow, on localhost"),
    )
    shown = [(f"{command}{where}", what) for stage, command, what in commands if stage_of(record, stage)]
    width = max((len(command) for command, _ in shown), default=0)
    for command, what in shown:
        yield f"{command:<{width}}   # {what}"


def program() -> str:
    """How this command can be called again: by its name if the shell finds it, else by its place."""
    called = Path(sys.argv[0])
    found = shutil.which("groundup")
    if called.name != "groundup" or (found and Path(found).resolve() == called.resolve()):
        return "groundup"
    return shorter(called.absolute())
