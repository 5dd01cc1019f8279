"""The environment that Prefect and MLflow read when they are imported.

Both are configured by environment variables, and both read them at import, so :func:`prepare_environment` has to run
before the first `import prefect` or `import mlflow`. It only fills gaps: whatever is set already (by a person, by a
container, by a Prefect worker) stays as it is. Nothing here imports either of them, and it takes no measurable time.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from flows.errors import UserError


def mlflow_database(workspace: str | Path) -> Path:
    """The SQLite file that MLflow keeps in a workspace."""
    return Path(workspace).absolute() / "mlflow" / "mlflow.db"


def mlflow_uri(workspace: str | Path) -> str:
    """MLflow's address for a workspace without a server. SQLite, because MLflow 3 refuses its old file store."""
    return f"sqlite:///{mlflow_database(workspace).as_posix()}"


def mlflow_artifacts(workspace: str | Path) -> Path:
    """Where MLflow keeps the small files of a workspace (cards, scorecards, configs; never weights)."""
    return Path(workspace).absolute() / "mlflow" / "artifacts"


def settings(workspace: str | Path) -> dict[str, str]:
    """Every variable that :func:`prepare_environment` sets where it isn't set yet."""
    home = Path(workspace).absolute()
    values = {
        # Prefect: its database lies in the workspace, so `groundup ui` later shows the same runs.
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # The second page design asks a statistics service for its settings, whatever the analytics switch says.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        # The terminal shows warnings only. The level of the loggers stays at INFO, so that the UI has the full log.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # MLflow. Its server starts ten processes (2 GB) for scorers that we don't use, unless told otherwise.
        "MLFLOW_TRACKING_URI": mlflow_uri(workspace),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",  # otherwise the first run prints its database migrations
        # With MLflow's defaults one call to a dead server blocks for four minutes (7 retries, back-off up to 64 s).
        # Our mirror retries by itself, from the files, so that a call may give up soon.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.1",
        "GIT_PYTHON_REFRESH": "quiet",  # MLflow's Git library complains on machines without git
        "DO_NOT_TRACK": "1",
    }
    if not os.environ.get("PREFECT_API_URL"):
        # No server: Prefect starts its API inside our process for the time of the run. The default of 20 s is too
        # short for the first start (database migrations) on a small, busy machine.
        values["PREFECT_SERVER_EPHEMERAL_ENABLED"] = "true"
        values["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
    return values


def prepare_environment(workspace: str | Path) -> dict[str, str]:
    """Set what Prefect and MLflow need, where nothing is set yet, and make the folders that they expect.

    Call it before either of them is imported. Returns the variables that it set.

    Raises:
        UserError: the workspace can't be made, or `MLFLOW_TRACKING_URI` names MLflow's file store.
    """
    home = Path(workspace).absolute()
    # mlflow.db can't be made where its folder is missing
    for folder in (home / "prefect", mlflow_database(home).parent, mlflow_artifacts(home)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the workspace can't be made: {error.strerror or error}",
                where=str(folder),
                fix="Name a folder that you may write to, with --workspace or runtime.workspace.",
            ) from error
    check_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI"))
    added = {name: value for name, value in settings(home).items() if not os.environ.get(name)}
    os.environ.update(added)
    # An inherited run id would make every run that we create a child of that one (mlflow issue 15713).
    os.environ.pop("MLFLOW_RUN_ID", None)
    quiet_warnings()
    return added


def check_tracking_uri(uri: str | None) -> None:
    """Refuse MLflow's file store with a sentence that helps: MLflow 3 itself raises from deep inside.

    Raises:
        UserError: `uri` is a path or a `file:` address.
    """
    if not uri or uri.startswith("databricks") or ("://" in uri and not uri.startswith("file:")):
        return
    raise UserError(
        f"{uri!r} is MLflow's file store, which MLflow 3 no longer supports",
        where="MLFLOW_TRACKING_URI",
        fix="Unset it (the workspace then keeps a SQLite database), or use sqlite:///..., postgresql://... or http://...",
    )


def quiet_warnings() -> None:
    """Keep deprecation notes that libraries address to each other out of the terminal of a person who can't act on
    them. Errors, and warnings about what our own code does, are still shown."""
    if sys.warnoptions:  # somebody asked for warnings (python -W, PYTHONWARNINGS)
        return
    libraries = (
        r"(mlflow|prefect|starlette|fastapi|pydantic|pydantic_settings|alembic|sqlalchemy|pandas|websockets)(\.|$)"
    )
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=libraries)
