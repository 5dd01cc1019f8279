"""The environment is prepared without taking anything over from the person, and keeps the terminal clean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.environment import check_tracking_uri, mlflow_uri, prepare_environment, settings
from flows.errors import UserError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours is set before a test, none stays after it."""
    for name in {*settings(tmp_path), "MLFLOW_RUN_ID", "PREFECT_API_URL"}:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)


def test_gaps_are_filled_and_choices_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("MLFLOW_RUN_ID", "somebody else's")
    added = prepare_environment(tmp_path / "work space")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://mlflow:5000" and "MLFLOW_TRACKING_URI" not in added
    assert "MLFLOW_RUN_ID" not in os.environ
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "work space" / "prefect")
    assert (tmp_path / "work space" / "mlflow").is_dir()
    assert prepare_environment(tmp_path) == {}  # the first call decided


def test_telemetry_is_off(tmp_path: Path) -> None:
    prepare_environment(tmp_path)
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_with_a_server_prefect_starts_none_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    assert "PREFECT_SERVER_EPHEMERAL_ENABLED" not in prepare_environment(tmp_path)


@pytest.mark.parametrize("uri", ["./mlruns", "/data/mlruns", "file:///data/mlruns", "mlruns"])
def test_the_file_store_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="file store") as caught:
        check_tracking_uri(uri)
    assert caught.value.fix


@pytest.mark.parametrize(
    "uri", [None, "", "sqlite:///a.db", "postgresql://h/d", "http://h:5000", "https://h", "databricks"]
)
def test_databases_and_servers_are_taken(uri: str | None) -> None:
    check_tracking_uri(uri)


def test_a_workspace_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="workspace"):
        prepare_environment(tmp_path / "file" / "workspace")


@pytest.mark.slow
def test_nothing_is_printed_and_nothing_is_made_in_the_current_folder(tmp_path: Path) -> None:
    """The first use of a workspace: imports, and MLflow's database from nothing."""
    workspace, elsewhere = tmp_path / "workspace", tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = f"""
import sys
from flows.environment import prepare_environment
assert "mlflow" not in sys.modules and "prefect" not in sys.modules
prepare_environment({str(workspace)!r})
import prefect
from mlflow import MlflowClient
experiment = MlflowClient().create_experiment("x")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(elsewhere.iterdir()) == []
    assert mlflow_uri(workspace) == f"sqlite:///{workspace}/mlflow/mlflow.db"
    assert (workspace / "mlflow" / "mlflow.db").stat().st_size > 0
