"""Ours and the peers on the same work, one after the other, each in a process of its own pinned to one core.

The table gives CPU seconds, the work done per CPU second (MB of UTF-8 text, 1 MB = 1,000,000 bytes, where nothing else
is said), and for each peer how many times faster the first row (ours) is. A peer that isn't installed, or that failed,
is reported as that and never as a win.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import peers_python

CONTENDERS = Path(__file__).parent / "contenders"
ROOT = Path(__file__).parents[1]
_LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Contender:
    """Who takes part: a function of the contest's file, what it does in a few words, and what it must import."""

    function: str
    title: str
    needs: tuple[str, ...] = ()
    megabytes: float | None = None
    """Text that it gets, where it is too slow for all."""
    repeats: int = 1

    @property
    def is_ours(self) -> bool:
        return not {"data_tools", "llm_core"}.isdisjoint(self.needs)


@dataclass(frozen=True)
class Entry:
    contender: Contender
    amount: float
    """Work: MB of text, or what the contest counts."""
    result: dict[str, Any]

    @property
    def failed(self) -> str | None:
        return self.result.get("failed")

    @property
    def rate(self) -> float:
        """Work per CPU second."""
        return self.amount / max(float(self.result["cpu_seconds"]), 1e-9)


def contend(part: str, contender: Contender, spec: dict[str, Any]) -> dict[str, Any]:
    """Run one contender of ``contenders/<part>.py`` and return what it found, or ``{"failed": why}``.

    It runs with this Python where that has all that it needs, else with that of the peers.
    """
    python = _python_with(contender.needs)
    if python is None:
        return {"failed": f"absent: {', '.join(contender.needs)} can't be imported"}
    with tempfile.TemporaryDirectory(prefix="groundup-contender-") as folder:
        spec_path, result_path = Path(folder) / "spec.json", Path(folder) / "result.json"
        spec_path.write_text(json.dumps({**spec, "repeats": contender.repeats, "scratch": folder}))
        command = [str(python), str(ROOT / "benchmarks" / "contender.py"), str(CONTENDERS / f"{part}.py")]
        command += [contender.function, str(spec_path), str(result_path)]
        environment = {**_environment(), **({"PYTHONPATH": str(ROOT)} if str(python) == sys.executable else {})}
        try:
            ended = subprocess.run(command, env=environment, capture_output=True, timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {_LIMIT_SECONDS} s"}
        if ended.returncode or not result_path.exists():
            lines = ended.stderr.decode(errors="replace").strip().splitlines()
            return {"failed": lines[-1] if lines else f"exit code {ended.returncode}", "stderr": lines[-30:]}
        found: dict[str, Any] = json.loads(result_path.read_bytes())
        return found


def contest(part: str, tasks: list[tuple[Contender, dict[str, Any], float]], unit: str = "MB") -> list[Entry]:
    """Run (contender, its spec, the work in ``unit``) in their order; print a row for each.

    The first is ours.
    """
    width = max(len(contender.title) for contender, _, _ in tasks)
    print(f"{'':{width}}  {unit:>9} {'CPU s':>8} {unit + '/s':>12} {'ours is':>8}")
    entries: list[Entry] = []
    for contender, spec, amount in tasks:
        entry = Entry(contender, amount, contend(part, contender, spec))
        entries.append(entry)
        if entry.failed:
            print(f"{contender.title:{width}}  {entry.failed}", flush=True)
            continue
        ratio = "" if contender.is_ours or entries[0].failed else f"{entries[0].rate / entry.rate:7.1f}x"
        seconds = entry.result["cpu_seconds"]
        print(f"{contender.title:{width}}  {amount:9,.1f} {seconds:8.2f} {entry.rate:12,.2f} {ratio:>8}", flush=True)
    return entries


def bar(what: str, value: float | None, least: float, unit: str = "x") -> dict[str, Any]:
    """Print whether ``value`` reaches ``least``. None: it couldn't be measured."""
    if value is None:
        print(f"  {what}: not measured (bar {least:,g}{unit})")
        return {"what": what, "value": None, "bar": least, "met": None}
    met = value >= least
    print(f"  {what}: {value:,.1f}{unit}, bar {least:,g}{unit}: {'met' if met else 'MISSED'}", flush=True)
    return {"what": what, "value": value, "bar": least, "met": met}


def ceiling(what: str, value: float | None, most: float, unit: str) -> dict[str, Any]:
    """The same for what must stay below ``most``."""
    if value is None:
        print(f"  {what}: not measured (bar {most:,g}{unit})")
        return {"what": what, "value": None, "bar": most, "met": None}
    met = value <= most
    print(f"  {what}: {value:,.2f}{unit}, at most {most:,g}{unit}: {'met' if met else 'MISSED'}", flush=True)
    return {"what": what, "value": value, "bar": most, "met": met}


def times_faster(entries: list[Entry], *functions: str) -> float | None:
    """How many times faster the first entry is than the fastest of ``functions``; None where one is missing."""
    peers = [entry for entry in entries if entry.contender.function in functions]
    if entries[0].failed or not peers or any(entry.failed for entry in peers):
        return None
    return entries[0].rate / max(entry.rate for entry in peers)


def as_json(entries: list[Entry], unit: str = "MB") -> list[dict[str, Any]]:
    """For the result's file; without what is there for each document."""
    return [
        {
            "contender": entry.contender.title,
            unit: entry.amount,
            f"{unit}_per_cpu_second": None if entry.failed else round(entry.rate, 3),
            **{name: value for name, value in entry.result.items() if name not in ("kept", "reasons")},
        }
        for entry in entries
    ]


_pythons: dict[tuple[str, ...], Path | None] = {}


def _python_with(needs: tuple[str, ...]) -> Path | None:
    if needs not in _pythons:
        # The peers' environment is only made where ours can't do.
        here = Path(sys.executable)
        python = here if _has(here, needs) else peers_python()
        _pythons[needs] = python if python is not None and _has(python, needs) else None
    return _pythons[needs]


def _has(python: Path, modules: tuple[str, ...]) -> bool:
    if not modules:
        return True
    look = "import importlib.util, sys; sys.exit(any(importlib.util.find_spec(m) is None for m in sys.argv[1:]))"
    return subprocess.run([str(python), "-c", look, *modules], capture_output=True).returncode == 0


def _environment() -> dict[str, str]:
    import os

    from benchmarks.contender import ONE_THREAD

    return {**os.environ, **ONE_THREAD, "PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "false"}
