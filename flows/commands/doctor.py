"""`groundup doctor`: is everything in place, and what to do where it isn't."""

from __future__ import annotations

import typer

from flows.commands.workspace import WorkspaceOption, use_workspace


def doctor(workspace: WorkspaceOption = None) -> None:
    """Check versions, device, disk, memory, telemetry and servers. Ends with 1 only if a run could not work."""
    import os

    from rich.text import Text

    from flows.display import wide_console
    from flows.doctor import run_checks
    from flows.environment import settings

    folder = use_workspace(workspace)
    # As `groundup run` would find it, without making anything yet.
    environment = {**settings(folder), **{name: value for name, value in os.environ.items() if value}}
    console = wide_console()
    marks = {"ok": ("ok  ", "green"), "warning": ("note", "yellow"), "failure": ("FAIL", "bold red")}
    failures = 0
    for group in run_checks(folder, environment):
        for check in group:
            failures += check.level == "failure"
            mark, style = marks[check.level]
            console.print(Text.assemble((mark, style), f"  {check.name:<14} {check.finding}"))
            if check.fix and check.level != "ok":
                console.print(Text(f"      {'':<14} -> {check.fix}", style=style))
    if failures:
        console.print(Text(f"\n{failures} thing{'s' * (failures > 1)} to put right.", style="bold red"))
        raise typer.Exit(1)
    console.print(Text("\nReady. Start with: groundup run configs/quickstart.yaml", style="green"))
