"""An experiment that trains in seconds, the real command line on it, and what it leaves on disk and in the system."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

_PLACES = ["harbour", "river", "mountain", "village", "castle", "valley", "island", "forest", "bridge", "market"]
_MAKERS = ["potter", "weaver", "sailor", "painter", "teacher", "farmer", "builder", "writer", "singer", "baker"]
_TIMES = ["spring", "summer", "autumn", "winter", "morning", "evening", "night", "century", "decade", "year"]


def corpus_lines(n: int = 240, seed: int = 1) -> list[str]:
    """JSON lines of short English texts about places and people, no two alike, with ``title`` and ``topic``."""
    draw = random.Random(seed)
    lines = []
    for i in range(n):
        topic = ("places", "people")[i % 2]
        place, maker, when = draw.choice(_PLACES), draw.choice(_MAKERS), draw.choice(_TIMES)
        other, number = draw.choice(_PLACES), draw.randrange(1000, 2000)
        if topic == "places":
            text = f"The {place} number {i} is a quiet {place} near the {other}, built in the {when} of {number}"
        else:
            text = f"The {maker} number {i} was a famous {maker} who lived by the {place} in the {when} of {number}"
        text += f". It is known for the {draw.choice(_MAKERS)} and the {draw.choice(_PLACES)} that are seen with it."
        lines.append(json.dumps({"text": text, "title": f"Number {i}", "topic": topic}))
    return lines


def experiment(corpus: Path, workspace: Path, **sections: Any) -> dict[str, Any]:
    """The configuration, with whole sections replaced."""
    fields = ["title", "topic"]
    source = {"kind": "jsonl", "name": "tiny", "path": str(corpus), "metadata_fields": fields}
    training = {"seed": 3, "schedule": {"warmup_steps": 2}, "eval_rows": 8}
    made: dict[str, Any] = {
        "name": "tiny",
        "ingest": {"sources": [source]},
        # The language model is loaded for every run otherwise, and these texts are English.
        "annotate": {"language": False},
        "select": {"language": None, "gopher_quality": {"min_words": 5}},
        "deduplicate": {"minhash": False},
        "mix": {"validation_fraction": 0.1, "test_fraction": 0.1},
        "tokenizer": {"vocab_size": 320},
        "model": {"layers": 1, "dim": 16, "heads": 2, "ffn_dim": 32, "context_length": 32},
        "pretrain": {**training, "steps": 12, "batch_tokens": 64, "eval_every": 6},
        "evaluate": {"prompts": ["The "], "sample_tokens": 4},
        "runtime": {
            "workspace": str(workspace),
            "data": {"workers": 1},
            "llm": {"device": "cpu", "threads": 1, "log_every": 2},
            "tracking": {"enabled": False},
        },
    }
    return {**made, **sections}


def fine_tuning() -> dict[str, Any]:
    """The sections that add a classifier and an assistant."""
    training = {"seed": 3, "epochs": 0.2, "batch_examples": 8, "max_tokens": 32, "eval_rows": 8}
    template = {"user": "What is {title}?", "assistant": "{first_sentence}"}
    return {
        "classification_set": {"label_field": "topic"},
        "instruction_set": {"templates": [template], "per_document": 1},
        "classifier": training,
        "assistant": training,
    }


def write_config(folder: Path, config: dict[str, Any], name: str = "tiny.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def environment(**added: str) -> dict[str, str]:
    """Ours without settings that point to servers or workspaces; one thread, as these models need no more."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "GROUNDUP_"))}
    return {**ours, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", **added}


def start(*arguments: object, before: Callable[[], None] | None = None, **added: str) -> subprocess.Popen[str]:
    """`groundup ARGUMENTS` as a process in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(**added),
        start_new_session=True,
        preexec_fn=before,
    )


class Ended:
    """Exit code and output of a command that ended."""

    def __init__(self, process: subprocess.Popen[str], timeout: float = 120) -> None:
        self.stdout, self.stderr = process.communicate(timeout=timeout)
        self.code = process.returncode

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.stdout}\n{self.stderr}"

    def refused(self, code: int, *said: str) -> None:
        """It ended with ``code`` and a message for people that holds every one of ``said``, and no traceback."""
        assert self.code == code, str(self)
        assert "Traceback" not in self.stdout + self.stderr, str(self)
        assert "should not have" not in self.stderr, str(self)
        for words in said:
            assert words in self.stderr, f"{words!r} isn't said\n{self}"


def groundup(*arguments: object, before: Callable[[], None] | None = None, **added: str) -> Ended:
    """Run `groundup ARGUMENTS` to its end."""
    return Ended(start(*arguments, before=before, **added))


def artifact(workspace: Path, stage: str) -> Path:
    """The folder of the only artifact of ``stage``."""
    folders = (workspace / "artifacts" / stage).iterdir()
    (found,) = [path for path in folders if path.is_dir() and not path.is_symlink()]
    return found


def finished(workspace: Path) -> set[str]:
    """The stages that have an artifact: a folder with a manifest."""
    return {path.parent.parent.name for path in (workspace / "artifacts").glob("*/[0-9a-f]*/manifest.json")}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 90) -> None:
    """Wait until ``condition`` holds.

    Raises:
        AssertionError: ``process`` ended before.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, str(Ended(process))
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The process's children and theirs, now."""
    return psutil.Process(process.pid).children(recursive=True)


def survivors(processes: Sequence[psutil.Process], seconds: float = 15) -> list[psutil.Process]:
    """Those that still live some seconds later."""
    return psutil.wait_procs(list(processes), timeout=seconds)[1]


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C on a terminal: the signal goes to the whole group in the foreground."""
    os.killpg(process.pid, signal.SIGINT)
