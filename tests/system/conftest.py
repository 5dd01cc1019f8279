"""One Prefect server and one finished workspace for all tests of the whole system: both take seconds to make."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.embedded import embedded_plan, free_port
from flows.environment import settings
from flows.servers import running
from tests.system.tiny_experiment import (
    Ended,
    artifact,
    corpus_lines,
    environment,
    experiment,
    fine_tuning,
    groundup,
    sha256,
    write_config,
)


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server that runs can share, so that not each of them has to start one."""
    folder = tmp_path_factory.mktemp("prefect")
    plan = embedded_plan(folder, free_port(), environment(**settings(folder)))
    with running([plan], threading.Event()):
        yield plan.url


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "good.jsonl"
    path.write_text("\n".join(corpus_lines()) + "\n", encoding="utf-8")
    return path


@dataclass
class Place:
    """A workspace of one test, and a configuration for it."""

    folder: Path
    corpus: Path
    prefect_url: str

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def config(self, **sections: Any) -> Path:
        made = experiment(self.corpus, self.workspace, **sections)
        made["runtime"] = {**made["runtime"], "workspace": str(self.workspace)}
        return write_config(self.folder, made)

    def run(self, *arguments: object, sections: dict[str, Any] | None = None, **options: Any) -> Ended:
        """`groundup run` of the configuration."""
        config = self.config(**(sections or {}))
        return groundup("run", config, "--plain", *arguments, **{"PREFECT_API_URL": self.prefect_url, **options})


@pytest.fixture
def place(tmp_path: Path, corpus: Path, prefect_url: str) -> Place:
    return Place(tmp_path, corpus, prefect_url)


@pytest.fixture(scope="session")
def finished_workspace(tmp_path_factory: pytest.TempPathFactory, corpus: Path, prefect_url: str) -> Path:
    """Where a run of the tiny experiment with a classifier and an assistant ended well. To be read only."""
    made = Place(tmp_path_factory.mktemp("finished"), corpus, prefect_url)
    done = made.run(sections=fine_tuning())
    assert done.code == 0, str(done)
    return made.workspace


@pytest.fixture
def finished_place(place: Place, finished_workspace: Path) -> Place:
    """A copy of the finished workspace that a test may damage."""
    shutil.copytree(finished_workspace, place.workspace, symlinks=True)
    return place


#: Long enough to be stopped in the middle; a checkpoint several times a second.
LONG: dict[str, Any] = {
    "pretrain": {"seed": 3, "steps": 1500, "batch_tokens": 64, "eval_every": 500, "eval_rows": 8},
    "runtime": {
        "data": {"workers": 1},
        "llm": {"device": "cpu", "threads": 1, "log_every": 10, "checkpoint_every_seconds": 0.3},
        "tracking": {"enabled": False},
    },
}


@pytest.fixture(scope="session")
def untouched_weights(tmp_path_factory: pytest.TempPathFactory, corpus: Path, prefect_url: str) -> str:
    """SHA-256 of the weights that an undisturbed run of ``LONG`` ends with."""
    made = Place(tmp_path_factory.mktemp("untouched"), corpus, prefect_url)
    done = made.run(sections=LONG)
    assert done.code == 0, str(done)
    return sha256(artifact(made.workspace, "pretrain") / "model" / "model.safetensors")


def has_checkpoint(workspace: Path) -> bool:
    """Pretraining has written one."""
    return any(workspace.glob("artifacts/pretrain/[0-9a-f]*/checkpoints/LATEST"))
