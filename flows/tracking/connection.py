"""Which MLflow, and how to reach it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import check_tracking_uri, mlflow_database, mlflow_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


def resolve_uri(uri: str | None, workspace: Path) -> str:
    """What was asked for; otherwise the environment's; otherwise the database of the workspace.

    Raises:
        UserError: it is MLflow's file store.
    """
    found = uri or os.environ.get("MLFLOW_TRACKING_URI") or mlflow_uri(workspace)
    check_tracking_uri(found)
    if found == mlflow_uri(workspace):
        mlflow_database(workspace).parent.mkdir(parents=True, exist_ok=True)
    return found


def connect(uri: str) -> MlflowClient:
    """A client for `uri`. Importing MLflow takes a second or two, the first use of a new database as long again."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def is_unknown(error: Exception) -> bool:
    """MLflow doesn't know a run or experiment that we remember: it was given another database, or an old backup."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def is_unreachable(error: Exception) -> bool:
    """The server is down or hangs. MLflow has no type for it, only these words."""
    return isinstance(error, ConnectionError | TimeoutError) or "API request to" in str(error)


def short(error: Exception) -> str:
    """The first line of an error; MLflow's can be pages long."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
