"""The rules that the compose stack keeps, read from its files. Nothing here needs a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECRETS = (
    "GROUNDUP_POSTGRES_PASSWORD",
    "GROUNDUP_PREFECT_PASSWORD",
    "GROUNDUP_MLFLOW_PASSWORD",
    "GROUNDUP_MLFLOW_SECRET",
)
ONE_SHOT = {"bootstrap"}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return read("docker-compose.yml")["services"]


@pytest.fixture(scope="module")
def deployments() -> list[dict[str, Any]]:
    return read("prefect.yaml")["deployments"]


def test_everything_that_the_promise_needs_is_there(services: dict[str, dict[str, Any]]) -> None:
    assert {"postgres", "prefect", "mlflow", "bootstrap", "worker", "worker-gpu"} <= set(services)
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    assert "profiles" not in services["worker"]


def test_ports_are_published_on_localhost_only(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service.get("ports", []) for name, service in services.items() if service.get("ports")}
    assert set(published) == {"prefect", "mlflow"}
    for name, ports in published.items():
        assert all(str(port).startswith("127.0.0.1:") for port in ports), name
    assert not any(service.get("network_mode") == "host" for service in services.values())


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(GROUNDUP_\w*(?:PASSWORD|SECRET))", text))
    assert used == set(SECRETS)
    for name in SECRETS:
        for occurrence in re.findall(r"\$\{" + name + r"[^}]*\}", text):
            assert occurrence.startswith("${" + name + ":?"), occurrence
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name in SECRETS:
        assert re.search(rf"^{name}=$", example, re.MULTILINE), f"{name} must be empty in .env.example"


def test_every_long_lived_service_says_how_it_is(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        if name in ONE_SHOT:
            assert check == {"disable": True}
            assert service["restart"] == "no"
        else:
            assert check["test"][0] == "CMD", name
            assert service["restart"] == "unless-stopped", name
        assert service["init"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name


def test_images_name_a_version(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert tag not in {"", "latest", service["image"]}, name
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11-slim$", dockerfile, re.MULTILINE)
    assert dockerfile.count("USER groundup") == 2  # both final images
    assert "constraints.txt" in dockerfile


def test_mlflow_knows_its_own_name_and_is_asked_by_it(services: dict[str, dict[str, Any]]) -> None:
    mlflow = services["mlflow"]
    allowed = mlflow["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "mlflow:5000" in allowed
    assert "*" not in allowed
    *_, url, host = mlflow["healthcheck"]["test"]
    assert "/api/2.0/mlflow/" in url  # /health answers 200 even where every client gets 403
    assert host == "mlflow:5000"
    assert services["worker"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert mlflow["environment"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert "--app-name=basic-auth" in mlflow["command"]


def test_prefect_asks_for_a_password_and_tells_nobody(services: dict[str, dict[str, Any]]) -> None:
    prefect = services["prefect"]
    assert "GROUNDUP_PREFECT_PASSWORD" in prefect["environment"]["PREFECT_SERVER_API_AUTH_STRING"]
    assert prefect["environment"]["PREFECT_SERVER_UI_V2_ENABLED"] == "false"  # that design asks a statistics service
    assert prefect["healthcheck"]["test"][-1].endswith("/api/ready")
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    for setting in ("PREFECT_SERVER_ANALYTICS_ENABLED=false", "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=1"):
        assert setting in dockerfile


def test_a_worker_has_time_to_save(services: dict[str, dict[str, Any]]) -> None:
    for name in ("worker", "worker-gpu"):
        seconds = int(services[name]["stop_grace_period"].removesuffix("s"))
        assert seconds >= 60, name


def test_the_servers_install_what_the_package_pins() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {line.strip() for line in project["dependencies"] + project["optional-dependencies"]["postgres"]}
    lines = [line.strip() for line in (ROOT / "docker/servers.txt").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        name = re.match(r"[A-Za-z0-9_-]+", line)
        if name and name.group().lower() in {
            "prefect",
            "fastapi",
            "sqlalchemy",
            "mlflow",
            "asyncpg",
            "psycopg2-binary",
        }:
            assert line.replace("[auth]", "") in ours, f"docker/servers.txt and pyproject.toml disagree: {line}"


def test_every_deployment_has_a_flow_and_a_form_that_its_schema_accepts(
    deployments: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools.validation import is_valid, preprocess_schema

    from flows.deployments import form

    monkeypatch.chdir(ROOT)
    for deployment in deployments:
        flow = load_flow_from_entrypoint(deployment["entrypoint"])
        schema = preprocess_schema(parameter_schema(flow).model_dump())
        (step,) = deployment["build"]
        filled = form(**step["flows.deployments.form"])
        assert deployment["parameters"] == {"config": "{{ config }}"}
        assert is_valid(filled, schema), deployment["name"]

        wrong = {"config": {**filled["config"], "no_such_key": 1}}
        assert not is_valid(wrong, schema), "an unknown key has to be refused before the run starts"
        wrong = {"config": {**filled["config"], "model": {**filled["config"]["model"], "layers": -1}}}
        assert not is_valid(wrong, schema), "an impossible number has to be refused before the run starts"


def test_deployments_are_named_once_and_never_start_by_themselves(deployments: list[dict[str, Any]]) -> None:
    names = [(deployment["entrypoint"], deployment["name"]) for deployment in deployments]
    assert len(set(names)) == len(names)
    for deployment in deployments:
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
        assert deployment["work_pool"]["name"] in {"cpu", "gpu"}
        for schedule in deployment.get("schedules", []):
            assert schedule["active"] is False
    assert read("prefect.yaml")["pull"], "without a pull step the deploying machine's folder is baked in"


def test_new_env_writes_fresh_passwords_once(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    shutil.copy(ROOT / "docker/new-env.sh", tmp_path / "docker")
    shutil.copy(ROOT / ".env.example", tmp_path)
    command = ["sh", "docker/new-env.sh"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    written = (tmp_path / ".env").read_text(encoding="utf-8")
    values = [re.search(rf"^{name}=(.*)$", written, re.MULTILINE) for name in SECRETS]
    assert all(value and len(value[1]) >= 32 for value in values)
    assert len({value[1] for value in values if value}) == len(SECRETS)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / ".env").read_text(encoding="utf-8") == written


def docker_compose_is_there() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not docker_compose_is_there(), reason="docker compose is not installed")
def test_compose_reads_its_file_and_refuses_to_start_without_passwords(tmp_path: Path) -> None:
    def config(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        empty = tmp_path / "empty.env"  # not the .env of whoever runs the tests
        empty.touch()
        command = ["docker", "compose", "--env-file", str(empty), "--profile", "gpu", "config", "-q"]
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDUP_", "COMPOSE_"))}
        return subprocess.run(
            command, cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, check=False
        )

    passed = config(dict.fromkeys(SECRETS, "for-a-test-only"))
    assert passed.returncode == 0, passed.stderr
    for name in SECRETS:
        refused = config({other: "for-a-test-only" for other in SECRETS if other != name})
        assert refused.returncode != 0
        assert name in refused.stderr
