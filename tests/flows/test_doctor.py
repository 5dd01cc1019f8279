"""Every check says how things are, and what to do where they aren't right."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import doctor
from flows.cli import app
from flows.doctor import GIB, Check

CUDA = {
    "torch": "2.13.0",
    "device": "H",
    "count": 1,
    "memory": 140 * GIB,
    "threads": 8,
    "bf16": True,
    "cuda_build": "13",
}
CPU = {**CUDA, "device": "CPU", "memory": 0, "bf16": False, "cuda_build": ""}


def test_python() -> None:
    assert doctor.check_python((3, 11, 0)).level == "ok"
    assert doctor.check_python((3, 10, 9)).level == "failure"


def test_versions_against_their_pins() -> None:
    installed = {"here": "1.5", "toonew": "3.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    pins = ["here>=1,<2", "toonew>=1,<2", "missing>=4", 'only-dev; extra == "dev"', 'other; python_version < "3"']
    summary, too_new, missing = doctor.check_versions(pins, version)
    assert "1 within their pins, 2 not" in summary.finding
    assert too_new.level == "failure" and "3.0" in too_new.finding and too_new.fix == "pip install 'toonew<2,>=1'"
    assert missing.level == "failure" and "not installed" in missing.finding


def test_the_installed_packages_are_within_the_pins() -> None:
    assert [check for check in doctor.check_versions() if check.level == "failure"] == []


@pytest.mark.parametrize(("free", "level"), [(GIB // 4, "failure"), (GIB, "warning"), (50 * GIB, "ok")])
def test_disk(tmp_path: Path, free: int, level: str) -> None:
    check = doctor.check_disk(tmp_path / "not" / "yet", free)
    assert check.level == level
    assert bool(check.fix) == (level != "ok")


def test_memory() -> None:
    assert doctor.check_memory(8 * GIB, 4 * GIB).level == "ok"
    assert doctor.check_memory(8 * GIB, GIB // 2).level == "warning"


def test_write_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_write(tmp_path / "not" / "yet").level == "ok"
    assert list(tmp_path.iterdir()) == []

    def refused(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refused)
    check = doctor.check_write(tmp_path)
    assert check.level == "failure" and "Permission denied" in check.finding


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    device, bf16 = doctor.check_device(lambda: CPU)
    assert "CPU" in device.finding and device.level == "ok"
    assert bf16.level == "warning" and "fp32" in bf16.fix
    device, bf16 = doctor.check_device(lambda: CUDA)
    assert "140 GiB" in device.finding and bf16.level == "ok"


def test_a_gpu_that_torch_cannot_use_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")
    assert [check.level for check in doctor.check_device(lambda: CPU)] == ["ok", "warning", "warning"]


def test_a_torch_that_does_not_work_is_a_failure() -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("libcudart.so is missing")

    (check,) = doctor.check_device(broken)
    assert check.level == "failure" and "libcudart" in check.finding and check.fix


def test_telemetry() -> None:
    off = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    assert doctor.check_telemetry(off).level == "ok"
    on = doctor.check_telemetry({**off, "MLFLOW_DISABLE_TELEMETRY": "false"})
    assert on.level == "warning" and "MLFLOW_DISABLE_TELEMETRY" in on.fix and "DO_NOT_TRACK" not in on.fix


class Server:
    """Answers each path with a status and a text; None: nobody there."""

    def __init__(self, answers: dict[str, tuple[int, str]] | None) -> None:
        self.answers = answers

    def __call__(self, url: str, body: bytes | None) -> tuple[int, str]:
        if self.answers is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return next(answer for path, answer in self.answers.items() if url.endswith(path))


def test_embedded_services_need_nothing() -> None:
    assert doctor.check_prefect(None).level == "ok"
    assert doctor.check_mlflow(None).level == "ok"
    assert doctor.check_mlflow("sqlite:////x/mlflow.db").level == "ok"


@pytest.mark.parametrize(
    ("answers", "level", "words"),
    [
        ({"/health": (200, ""), "/flow_runs/count": (200, "3")}, "ok", "answers"),
        ({"/health": (200, ""), "/flow_runs/count": (401, "")}, "failure", "PREFECT_API_AUTH_STRING"),
        ({"/health": (404, "")}, "failure", "/api"),
        (None, "failure", "unset PREFECT_API_URL"),
    ],
)
def test_prefect(answers: dict[str, tuple[int, str]] | None, level: str, words: str) -> None:
    check = doctor.check_prefect("http://user:secret@prefect:4200/api", Server(answers))
    assert check.level == level
    assert words in check.finding + check.fix
    assert "secret" not in check.finding + check.fix


@pytest.mark.parametrize(
    ("answers", "level", "words"),
    [
        ({"search": (200, "{}")}, "ok", "answers"),
        ({"search": (403, "Invalid Host header")}, "failure", "MLFLOW_SERVER_ALLOWED_HOSTS=mlflow:5000"),
        ({"search": (401, "")}, "failure", "MLFLOW_TRACKING_USERNAME"),
        ({"search": (500, "")}, "failure", "track sync"),
        (None, "failure", "track sync"),
    ],
)
def test_mlflow(answers: dict[str, tuple[int, str]] | None, level: str, words: str) -> None:
    check = doctor.check_mlflow("http://user:secret@mlflow:5000", Server(answers))
    assert check.level == level
    assert words in check.finding + check.fix
    assert "secret" not in check.finding + check.fix


def test_mlflow_file_store_is_refused() -> None:
    assert doctor.check_mlflow("file:///x/mlruns").level == "failure"
    assert doctor.check_mlflow("./mlruns").level == "failure"


def test_package_index_is_a_hint_only() -> None:
    assert doctor.check_package_index(lambda: (True, "")).level == "ok"
    assert doctor.check_package_index(lambda: (False, "ERROR: no network")).level == "warning"
    assert "ensurepip" in doctor.check_package_index(lambda: (False, "x: No module named pip")).fix


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("failure", 1)])
def test_only_a_failure_ends_with_1(monkeypatch: pytest.MonkeyPatch, level: str, code: int) -> None:
    check = Check("Thing", level, "as it is", "do this")  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "run_checks", lambda workspace, environment: [[check]])
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == code
    assert "as it is" in result.output
    assert ("do this" in result.output) == (level != "ok")
