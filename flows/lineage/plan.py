"""What a run would do before it does anything: stage by stage reuse, resume or run, and why."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.lineage.manifest import SOURCE, InputRecord, Manifest
from flows.lineage.store import Action, Store
from flows.stages import Stage, stages_of

if TYPE_CHECKING:
    from flows.config import PipelineConfig


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan. ``inputs`` is input name -> fingerprint (for files: content digest)."""

    stage: Stage
    fingerprint: str
    action: Action
    why: str
    path: Path
    inputs: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    """Those of ``inputs`` that are files outside of the workspace's artifacts."""

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def title(self) -> str:
        return self.stage.title


def source_digests(stage: Stage, config: PipelineConfig) -> dict[str, str]:
    """File that the stage's config names -> sha256 of its content: what the fingerprint stands on beside its inputs."""
    if not stage.reads_files:
        return {}
    door = importlib.import_module(stage.door)
    return dict(door.source_digests(stage.config, config.data_runtime()))


def source_records(digests: Mapping[str, str]) -> list[InputRecord]:
    """The sources as inputs of a manifest."""
    return [InputRecord(name=n, stage=SOURCE, fingerprint=d, digest=d) for n, d in sorted(digests.items())]


def plan(store: Store, config: PipelineConfig, verify: bool = False) -> list[PlannedStage]:
    """All fingerprints and decisions, in order. Nothing is computed or written.

    A stage's fingerprint is made from the *fingerprints* of what it reads, so the whole plan is known at once.

    Raises:
        DataError: a source is missing.
    """
    planned: dict[str, PlannedStage] = {}
    for stage in stages_of(config):
        before = {name: planned[producer] for name, producer in stage.inputs.items()}
        files = source_digests(stage, config)
        inputs = {name: p.fingerprint for name, p in before.items()} | files
        name = stage.fingerprint(inputs)
        # The content of what will be made anew isn't known yet; the rest can be compared.
        known = {key: p for key, p in before.items() if p.action == "reuse"}
        digests = {key: m.digest for key, p in known.items() if (m := store.manifest(p.name, p.fingerprint))}
        judged = store.judge(stage, name, digests, verify=verify)
        why = judged.why
        waiting = [p.name for p in before.values() if p.action != "reuse"]
        if judged.action == "reuse" and waiting:
            why = f"if {' and '.join(dict.fromkeys(waiting))} comes out the same as before"
        elif judged.action == "run" and store.manifest(stage.name, name) is None and "interrupted" not in why:
            latest = store.latest(stage.name)
            why = why_new(stage, inputs, before, latest[1]) if latest else "the first time in this workspace"
        planned[stage.name] = PlannedStage(
            stage, name, judged.action, why, store.artifact_dir(stage.name, name), inputs, files
        )
    return list(planned.values())


def needed(plan: Sequence[PlannedStage], until: Sequence[str]) -> dict[str, PlannedStage]:
    """The stages of ``plan`` that ``until`` needs, in order; all if ``until`` is empty.

    Names that the plan doesn't have are passed over: a flow of a part names every stage that there may be.
    """
    planned = {one.name: one for one in plan}
    if not until:
        return planned
    wanted, waiting = set(), [name for name in until if name in planned]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += planned[name].stage.inputs.values()
    return {name: one for name, one in planned.items() if name in wanted}


def why_new(stage: Stage, inputs: Mapping[str, str], before: Mapping[str, PlannedStage], latest: Manifest) -> str:
    """What differs from the stage's latest artifact, so that a person sees why it isn't reused."""
    reasons = []
    if latest.version != stage.version:
        reasons.append(f"the stage itself changed (version {latest.version} to {stage.version})")
    reasons += [
        f"{stage.key_in_file(path)} changed from {_show(old)} to {_show(new)}"
        for path, old, new in differences(latest.config, stage.identity)
    ]
    recorded = {record.name: record.fingerprint for record in latest.inputs}
    files = {n for n in inputs if n not in before} | {r.name for r in latest.inputs if r.stage == SOURCE}
    changed = sorted(n for n in files if inputs.get(n) != recorded.get(n))
    what = "source" if stage.name == "ingest" else "file"
    reasons += [f"{what} {name} changed{_became(name, recorded, inputs)}" for name in changed[:3]]
    if len(changed) > 3:
        reasons.append(f"and {len(changed) - 3} more {what}s")
    if not reasons:
        changed = [n for n in {**inputs, **recorded} if n not in files and inputs.get(n) != recorded.get(n)]
        made_by = {record.name: record.stage for record in latest.inputs} | {n: p.name for n, p in before.items()}
        if changed:
            told = ", ".join(made_by[n] + _became(n, recorded, inputs) for n in changed)
            reasons.append(f"{'an input' if len(changed) == 1 else 'inputs'} changed: {told},")
    if not reasons:
        return "never made with these settings"
    shown = "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
    return f"{shown} since {latest.fingerprint[:12]}"


def _became(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    if name not in old:
        return " (new)"
    return "" if name in new else " (gone)"


def differences(old: Any, new: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """(path, old, new) of every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in {**new, **old}
            for found in differences(old.get(key), new.get(key), f"{at}.{key}".lstrip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [f for i, (a, b) in enumerate(zip(old, new, strict=True)) for f in differences(a, b, f"{at}.{i}")]
    return [] if old == new and type(old) is type(new) else [(at, old, new)]


def _show(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{len(value)} items" if isinstance(value, list) else "another section"
    text = "nothing" if value is None else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
