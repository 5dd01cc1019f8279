"""`groundup ui`: both web interfaces over the workspace, until Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.workspace import WorkspaceOption, open_workspace


def ui(
    workspace: WorkspaceOption = None,
    prefect_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: 4200, or the next free one.")
    ] = None,
    mlflow_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: 5000, or the next free one.")
    ] = None,
) -> None:
    """Look at the runs in Prefect's and MLflow's web pages, on this machine only."""
    folder = open_workspace(workspace)
    from flows.environment import prepare_environment
    from flows.ui import serve_uis

    prepare_environment(folder)
    serve_uis(folder, prefect_port=prefect_port, mlflow_port=mlflow_port, say=lambda line: print(line, flush=True))
    print("Both servers have stopped.")
