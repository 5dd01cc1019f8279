"""`groundup run` and `groundup plan`: build everything that a configuration asks for, or say what would be built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.config import ConfigArgument, SetOption
from flows.commands.workspace import VARIABLE, WorkspaceOption, use_workspace

if TYPE_CHECKING:
    from flows.config import PipelineConfig
    from flows.lineage.plan import PlannedStage


def load_for(
    config: Path, overrides: list[str] | None, workspace: Path | None, *, offline: bool = False
) -> PipelineConfig:
    """The configuration, with the workspace that was asked for (its own, unless an option or variable names one)."""
    import os

    from flows.config import load_config

    said = list(overrides or ())
    chosen = str(workspace) if workspace is not None else os.environ.get(VARIABLE)
    loaded = load_config(config, said)
    runtime = loaded.runtime
    # Not by way of an override: a path may hold what YAML would read as something else.
    folder = use_workspace(chosen or runtime.workspace)
    data = runtime.data.model_copy(update={"offline": True}) if offline else runtime.data
    return loaded.model_copy(update={"runtime": runtime.model_copy(update={"workspace": str(folder), "data": data})})


def run(
    config: ConfigArgument,
    overrides: SetOption = None,
    workspace: WorkspaceOption = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines instead of the live list.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file of what is reused.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask the network; use the cache.")] = False,
    force: Annotated[
        list[str] | None, typer.Option("--force", metavar="STAGE", help="Run this stage again (repeatable).")
    ] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            "--until", metavar="STAGE", help="Stop after this stage: data_card for the data alone (repeatable)."
        ),
    ] = None,
) -> None:
    """Build everything that CONFIG asks for. What is there already is reused; what was interrupted is resumed."""
    import os
    import sys
    import time

    began = time.monotonic()
    from flows.commands.summary import closing_summary
    from flows.display import choose_display, use_display
    from flows.embedded import embedded_prefect
    from flows.environment import prepare_environment
    from flows.lineage.plan import needed
    from flows.lineage.store import Store
    from flows.prefect_logs import send_prefect_logs_to
    from flows.run_record import RunRecord

    loaded = load_for(config, overrides, workspace, offline=offline)
    folder = loaded.workspace
    prepare_environment(folder)
    send_prefect_logs_to(folder / "logs" / "prefect.log")
    print(f"groundup run {config} in {folder}", flush=True)
    embedded = not os.environ.get("PREFECT_API_URL")
    with embedded_prefect(folder) as wait_for_prefect:
        # While the server comes up: what is going to run, and first of all whether it can.
        store = Store(folder)
        planned = store.plan(loaded)
        know_stages(planned, force, "--force")
        know_stages(planned, until, "--until")
        if force:
            forget(planned, force)
            planned = store.plan(loaded)
        shown = list(needed(planned, until or ()).values())
        with use_display(choose_display(shown, plain=plain)) as display:
            if embedded:
                display.log("starting Prefect inside this run (the first time in a workspace takes longer)")
            from flows.pipeline import build_language_model

            wait_for_prefect()
            made = build_language_model(loaded, verify=verify, until=until)
    sys.stdout.flush()
    record = RunRecord.load(made["record"])  # not the newest: another run may have begun here meanwhile
    print("\n".join(["", *closing_summary(record, seconds=time.monotonic() - began)]))


def know_stages(planned: Sequence[PlannedStage], stages: Sequence[str] | None, option: str) -> None:
    """Raises UserError where ``option`` names a stage that this configuration doesn't have."""
    from flows.errors import UserError

    names = [one.name for one in planned]
    for stage in stages or ():
        if stage not in names:
            raise UserError(f"this configuration has no stage {stage!r}", option, f"stages: {', '.join(names)}")


def forget(planned: Sequence[PlannedStage], stages: Sequence[str]) -> None:
    """Drop the artifacts of ``stages``, so that they are made again.

    Raises:
        ArtifactLocked: another run is writing one of them.
    """
    import shutil

    from flows.lineage.lock import ArtifactLock
    from flows.lineage.manifest import LOCK, MANIFEST

    paths = {one.name: one.path for one in planned}
    for folder in (paths[stage] for stage in stages):
        if not folder.is_dir():
            continue
        lock = ArtifactLock(folder)
        lock.acquire()
        try:
            (folder / MANIFEST).unlink(missing_ok=True)  # it stops being an artifact before it is taken apart
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
        finally:
            lock.release()


def plan(config: ConfigArgument, overrides: SetOption = None, workspace: WorkspaceOption = None) -> None:
    """Say what `run` would do: each stage, its fingerprint, reuse, resume or run, and why; and what the model costs."""
    from rich.table import Table
    from rich.text import Text

    from flows.display import wide_console
    from flows.lineage.store import Store
    from flows.model_plan import model_lines

    loaded = load_for(config, overrides, workspace)
    planned = Store(loaded.workspace).plan(loaded)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("stage", "fingerprint", "action"):
        table.add_column(column, no_wrap=True)
    table.add_column("why")
    styles = {"reuse": "blue", "resume": "yellow", "run": "green"}
    for one in planned:
        action = Text(one.action, style=styles.get(one.action, ""))
        table.add_row(one.stage.name, one.fingerprint[:12], action, Text(one.why, style="dim"))
    console = wide_console()
    console.print(table)
    left = sum(one.action != "reuse" for one in planned)
    console.print(f"\n{len(planned)} stages, {left} to run, in {loaded.workspace}\n")
    for heading, said in model_lines(loaded):
        console.print(Text(f"{heading:<13}", style="dim") + Text(said))
