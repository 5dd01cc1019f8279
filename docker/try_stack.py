"""Tries the stack for real: `python3 docker/try_stack.py`. Needs Docker and nothing else; takes some minutes.

Starts it, looks at what listens where and who gets in, has a wrong form refused, runs a small experiment through its
deployment, restarts the worker in the middle of training, and sees that the same run goes on to its end and that MLflow
shows it. It leaves the stack running. The parts that need no container engine are tests (tests/system).
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEPLOYMENT = "build-language-model/quickstart"
PATIENCE = 1800.0


def compose(*arguments: str) -> str:
    done = subprocess.run(["docker", "compose", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


class Server:
    """A server of the stack, asked from this machine as its user `admin`."""

    def __init__(self, port: str, password: str) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.key = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()

    def ask(self, path: str, body: Any = None, *, host: str = "", signed: bool = True) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if signed:
            headers["Authorization"] = self.key
        if host:
            headers["Host"] = host
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.address + path, data, headers), timeout=60
            ) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")


def check(what: str, holds: object, found: object = "") -> None:
    print(f"{'ok  ' if holds else 'FAIL'}  {what}" + (f": {found}" if found != "" else ""), flush=True)
    if not holds:
        sys.exit(1)


def small(config: dict[str, Any]) -> dict[str, Any]:
    """The quickstart's experiment without its second half, and short enough to wait for."""
    return {
        **config,
        "name": f"try-stack-{int(time.time())}",
        "classification_set": None,
        "instruction_set": None,
        "classifier": None,
        "assistant": None,
        "compare_from_scratch": False,
        "model": {**config["model"], "layers": 2, "dim": 96, "heads": 3, "ffn_dim": 256},
        "pretrain": {**config["pretrain"], "steps": 150, "seed": int(time.time()) % 1_000_000},
    }


def main() -> int:
    settings = dict(
        line.strip().split("=", 1)
        for line in (ROOT / ".env").read_text(encoding="utf-8").splitlines()
        if "=" in line and not line.startswith("#")
    )
    prefect = Server(settings.get("GROUNDUP_PREFECT_PORT", "4200"), settings["GROUNDUP_PREFECT_PASSWORD"])
    mlflow = Server(settings.get("GROUNDUP_MLFLOW_PORT", "5000"), settings["GROUNDUP_MLFLOW_PASSWORD"])

    began = time.monotonic()
    compose("up", "--detach", "--wait")
    check("the stack is healthy", True, f"{time.monotonic() - began:.0f} s")

    ports = [line for line in compose("ps", "--format", "{{.Ports}}").splitlines() if "->" in line]
    check("ports are published on 127.0.0.1 only", all(line.startswith("127.0.0.1:") for line in ports), ports)

    search = "/api/2.0/mlflow/experiments/search?max_results=1"
    for what, server, path in (("Prefect", prefect, "/api/admin/version"), ("MLflow", mlflow, search)):
        check(f"{what} lets nobody in without the password", server.ask(path, signed=False)[0] == 401)
        check(f"{what} lets the password in", server.ask(path)[0] == 200)
    check("MLflow answers its service name", mlflow.ask(search, host="mlflow:5000")[0] == 200)
    check("MLflow refuses a foreign host", mlflow.ask(search, host="example.com")[0] == 403)

    deployment = prefect.ask(f"/api/deployments/name/{DEPLOYMENT}")[1]
    config = deployment["parameters"]["config"]
    create = f"/api/deployments/{deployment['id']}/create_flow_run"
    wrong = {**config, "model": {**config["model"], "layers": 0}}
    status, answer = prefect.ask(create, {"parameters": {"config": wrong}})
    check("a wrong number is refused before anything starts", status == 409, answer)

    config = small(config)
    status, run = prefect.ask(create, {"parameters": {"config": config}, "state": {"type": "SCHEDULED"}})
    check("a run is accepted", status == 201, run["id"] if status == 201 else run)
    began = time.monotonic()
    restarted = False
    while time.monotonic() - began < PATIENCE:
        time.sleep(3)
        now = prefect.ask(f"/api/flow_runs/{run['id']}")[1]
        if now["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            break
        if not restarted and is_training(prefect, run["id"]):
            time.sleep(5)
            compose("restart", "worker")
            restarted = True
            print("      worker restarted in the middle of training", flush=True)
    check("the run came to its end", now["state_type"] == "COMPLETED", f"{time.monotonic() - began:.0f} s")
    check("in two starts", restarted and now["run_count"] == 2, now["run_count"])

    _, experiment = mlflow.ask(f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={experiment_of(config)}")
    query = {"experiment_ids": [experiment["experiment"]["experiment_id"]], "max_results": 200}
    runs = mlflow.ask("/api/2.0/mlflow/runs/search", query)[1]["runs"]
    parents = [one for one in runs if "mlflow.parentRunId" not in tags(one)]
    ids = {one["info"]["run_id"] for one in parents}
    children = [one for one in runs if tags(one).get("mlflow.parentRunId") in ids]
    names = {metric["key"] for one in children for metric in one["data"].get("metrics", [])}
    check("MLflow shows the run and its stages", parents and len(children) >= 8, len(children))
    check("with the losses of the training", "train/loss" in names, f"{len(names)} metrics")
    subprocess.run(["docker", "stats", "--no-stream", "--format", "      {{.Name}} {{.MemUsage}}"], check=True)
    return 0


def is_training(prefect: Server, run: str) -> bool:
    query = {"flow_runs": {"id": {"any_": [run]}}, "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    tasks = prefect.ask("/api/task_runs/filter", query)[1]
    return any(task["name"].startswith("Pretrain") for task in tasks)


def experiment_of(config: dict[str, Any]) -> str:
    return str(config["runtime"]["tracking"]["experiment"] or config["name"])


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


if __name__ == "__main__":
    sys.exit(main())
