"""What `groundup doctor` looks at: each check says how things are and, where they aren't right, what to do about it.

A check fails only where a run could not work. What merely makes it slower, or switches a comfort off, is a warning.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from flows.passwords import without_password

GIB = 1024**3
Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    level: Level
    finding: str
    fix: str = ""


#: (status, body) of a request; an OSError where nobody answers.
Ask = Callable[[str, bytes | None], tuple[int, str]]


def ask(url: str, body: bytes | None = None, timeout: float = 5.0) -> tuple[int, str]:
    """GET (or POST, with a JSON body) and return status and text, also of an error page.

    Raises:
        OSError: no answer.
    """
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"} if body else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return int(response.status), response.read(2000).decode("utf-8", errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(2000).decode("utf-8", errors="replace")
    except ValueError as error:  # not an address at all
        raise OSError(str(error)) from error


# ------------------------------------------------------------------------------------------------------ the machine


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    shown = ".".join(map(str, version))
    if version < (3, 11):
        return Check("Python", "failure", f"{shown} is too old", "install Python 3.11 or newer")
    return Check("Python", "ok", f"{shown} ({platform.system()} {platform.machine()})")


def check_versions(
    requirements: Iterable[str] | None = None, installed: Callable[[str], str] = metadata.version
) -> list[Check]:
    """Every dependency against the range that our own package metadata gives it (the caps have reasons: see
    pyproject.toml)."""
    from packaging.requirements import Requirement

    if requirements is None:
        try:
            requirements = metadata.requires("groundup") or []
        except metadata.PackageNotFoundError:
            return [Check("Packages", "warning", "groundup itself is not installed", "pip install -e .")]
    wrong: list[Check] = []
    good = 0
    for line in requirements:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        fix = f"pip install '{wanted.name}{wanted.specifier}'"
        try:
            version = installed(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(Check(wanted.name, "failure", "is not installed", fix))
            continue
        if wanted.specifier.contains(version, prereleases=True):
            good += 1
        else:
            wrong.append(Check(wanted.name, "failure", f"{version} is outside of {wanted.specifier}", fix))
    return [Check("Packages", "ok" if not wrong else "warning", f"{good} within their pins, {len(wrong)} not"), *wrong]


def nearest_folder(path: Path) -> Path:
    """``path``, or the nearest parent that exists."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def check_disk(workspace: Path, free: int | None = None) -> Check:
    free = shutil.disk_usage(nearest_folder(workspace)).free if free is None else free
    shown = f"{free / GIB:.1f} GiB free"
    if free < GIB // 2:
        return Check("Disk", "failure", shown, "make room, or name a workspace on another disk (--workspace)")
    if free < 3 * GIB:
        return Check("Disk", "warning", shown, "enough for the quickstart; a larger run needs more")
    return Check("Disk", "ok", shown)


def check_memory(total: int | None = None, available: int | None = None) -> Check:
    if total is None or available is None:
        import psutil

        seen = psutil.virtual_memory()
        total, available = int(seen.total), int(seen.available)
    shown = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available"
    if available < GIB:
        return Check("Memory", "warning", shown, "close something; the quickstart needs about 2 GiB")
    return Check("Memory", "ok", shown)


def check_write(workspace: Path) -> Check:
    """Make a file there (in the nearest existing parent, where there is no workspace yet)."""
    folder = nearest_folder(workspace)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return Check(
            "Workspace", "failure", f"{folder} can't be written: {error.strerror}", "name another: --workspace"
        )
    return Check("Workspace", "ok", f"{workspace.absolute()} can be written")


#: Runs in a process of its own: the conductor doesn't import torch, and a torch that crashes doesn't take us along.
_DEVICE_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
mps = hasattr(torch.backends, "mps") and torch.backends.mps.is_available()
native = [n for n in ("_is_avx512_bf16_supported", "_is_amx_tile_supported") if getattr(torch.cpu, n, bool)()]
print(json.dumps({
    "torch": torch.__version__,
    "device": torch.cuda.get_device_name(0) if cuda else "CPU (or runtime.llm.device=mps)" if mps else "CPU",
    "count": torch.cuda.device_count() if cuda else 1,
    "memory": torch.cuda.get_device_properties(0).total_memory if cuda else 0,
    "threads": torch.get_num_threads(),
    "bf16": torch.cuda.is_bf16_supported() if cuda else bool(native) or mps,
    "cuda_build": torch.version.cuda or "",
}))
"""


def probe_device(timeout: float = 90.0) -> dict[str, object]:
    """What torch says about the device.

    Raises:
        RuntimeError: torch can't be imported, or doesn't answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DEVICE_PROBE], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"torch didn't answer within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def check_device(probe: Callable[[], Mapping[str, object]] = probe_device) -> list[Check]:
    try:
        found = probe()
    except RuntimeError as error:
        return [
            Check("Device", "failure", f"torch doesn't work: {error}", "reinstall it: pip install 'torch>=2.11,<2.14'")
        ]
    on_cpu = found["device"] == "CPU"
    finding = f"{found['device']}, torch {found['torch']}"
    if on_cpu:
        finding += f", {found['threads']} threads"
    elif found["memory"]:
        finding += f", {found['count']} x {int(str(found['memory'])) / GIB:.0f} GiB"
    checks = [Check("Device", "ok", finding)]
    if on_cpu and shutil.which("nvidia-smi"):
        build = "has no CUDA" if not found["cuda_build"] else "can't use it (is the driver old?)"
        fix = "install the CUDA build of torch from pytorch.org"
        checks.append(Check("GPU", "warning", f"there is an NVIDIA GPU, but this torch {build}", fix))
    if found["bf16"]:
        checks.append(Check("bf16", "ok", "fast on this device"))
    else:
        checks.append(Check("bf16", "warning", "works, but slowly on this device", "precision: fp32 is faster here"))
    return checks


# ------------------------------------------------------------------------------------------------------ the services


def check_telemetry(environment: Mapping[str, str]) -> Check:
    """Our commands switch it off; a variable that says otherwise was set by somebody."""
    on = [
        name
        for name, off in (
            ("PREFECT_SERVER_ANALYTICS_ENABLED", ("false", "0")),
            ("MLFLOW_DISABLE_TELEMETRY", ("true", "1")),
            ("DO_NOT_TRACK", ("true", "1")),
        )
        if environment.get(name, "").lower() not in off
    ]
    if on:
        return Check("Telemetry", "warning", f"may be sent ({', '.join(on)})", f"unset {' and '.join(on)}")
    return Check("Telemetry", "ok", "off, Prefect's and MLflow's")


def check_prefect(url: str | None, request: Ask = ask) -> Check:
    if not url:
        return Check("Prefect", "ok", "embedded: no server needed, the runs are kept in the workspace")
    shown = without_password(url)
    try:
        status, _ = request(f"{url.rstrip('/')}/health", None)
        if status == 200:  # health asks for no password; this does
            status, _ = request(f"{url.rstrip('/')}/flow_runs/count", b"{}")
    except OSError as error:
        fix = "start that server, or unset PREFECT_API_URL for the embedded one"
        return Check("Prefect", "failure", f"{shown} doesn't answer: {error}", fix)
    if status == 401:
        return Check("Prefect", "failure", f"{shown} wants a password", "set PREFECT_API_AUTH_STRING=user:password")
    if status >= 400:
        return Check("Prefect", "failure", f"{shown} answers {status}", "PREFECT_API_URL should end in /api")
    return Check("Prefect", "ok", f"{shown} answers")


def check_mlflow(uri: str | None, request: Ask = ask) -> Check:
    """A real API path: `/health` answers 200 also to those whom the server refuses."""
    if not uri or uri.startswith("sqlite:"):
        return Check("MLflow", "ok", "embedded: a SQLite database in the workspace")
    shown = without_password(uri)
    if uri.startswith("file:") or "://" not in uri:
        fix = "unset MLFLOW_TRACKING_URI, or use sqlite:/// or the address of a server"
        return Check("MLflow", "failure", f"{shown} is a file store, which MLflow no longer supports", fix)
    if not uri.startswith("http"):
        return Check("MLflow", "ok", f"{shown} (not asked)")
    outage = "start that server, or unset MLFLOW_TRACKING_URI; runs go on without it (`groundup track sync` later)"
    try:
        status, text = request(f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search", b'{"max_results": 1}')
    except OSError as error:
        return Check("MLflow", "failure", f"{shown} doesn't answer: {error}", outage)
    if status == 403 and "host" in text.lower():
        host = urllib.parse.urlsplit(uri).netloc.rpartition("@")[2]
        fix = f"start the server with MLFLOW_SERVER_ALLOWED_HOSTS={host},localhost:*,127.0.0.1:*"
        return Check("MLflow", "failure", f"{shown} refuses the host name (403), though its /health is fine", fix)
    if status in (401, 403):
        fix = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return Check("MLflow", "failure", f"{shown} wants a password ({status})", fix)
    if status >= 400:
        return Check("MLflow", "failure", f"{shown} answers {status}", outage)
    return Check("MLflow", "ok", f"{shown} answers")


def ask_package_index(timeout: float = 25.0) -> tuple[bool, str]:
    """Does pip, as it is set up here, reach its index? (answer, last line of what it said)"""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--timeout", "8", "--retries", "0"]
    try:
        done = subprocess.run(
            [*command, "index", "versions", "pip"], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return False, "no answer"
    said = [line for line in done.stderr.splitlines() if "experimental" not in line]
    return done.returncode == 0, (said or [""])[-1]


def check_package_index(request: Callable[[], tuple[bool, str]] = ask_package_index) -> Check:
    reached, said = request()
    if reached:
        return Check("Package index", "ok", "pip reaches it")
    if "No module named pip" in said:
        return Check("Package index", "warning", "there is no pip here", "python -m ensurepip; `wheel` sources need it")
    fix = "only `wheel` sources (the quickstart) need it, and only once; check `pip config list`"
    return Check("Package index", "warning", f"pip doesn't reach it: {said[:120]}", fix)


def run_checks(workspace: Path, environment: Mapping[str, str] = os.environ) -> Iterable[list[Check]]:
    """All checks, the quick ones first, each group as soon as it is known."""
    yield [check_python()]
    yield check_versions()
    yield [check_write(workspace), check_disk(workspace), check_memory()]
    yield check_device()
    yield [check_telemetry(environment)]
    yield [check_prefect(environment.get("PREFECT_API_URL"))]
    yield [check_mlflow(environment.get("MLFLOW_TRACKING_URI"))]
    yield [check_package_index()]
