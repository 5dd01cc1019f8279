"""`groundup track`: bring MLflow up to date with what the runs wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.workspace import WorkspaceOption, open_workspace

app = typer.Typer(no_args_is_help=True, help="Bring MLflow up to date with the workspace.")


@app.callback()
def _group() -> None:
    """Bring MLflow up to date with the workspace."""


@app.command()
def sync(
    workspace: WorkspaceOption = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="Where to. Default: $MLFLOW_TRACKING_URI, or the workspace's own database.")
    ] = None,
) -> None:
    """Replay every run of the workspace into MLflow. Runs already there are completed, never doubled."""
    folder = open_workspace(workspace)
    from flows.environment import prepare_environment
    from flows.errors import EXIT_UNAVAILABLE

    prepare_environment(folder)
    from flows.tracking import sync as replay

    report = replay(folder, tracking_uri, log=print)
    print(report.summary())
    if not report.complete:
        raise typer.Exit(EXIT_UNAVAILABLE)
